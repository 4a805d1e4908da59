"""Instances in every status that the admin has to show."""

from contextlib import suppress
from typing import Any

from sagas import Saga, SagaHandle
from tests.django_project.shop.models import Order
from tests.django_project.shop.tasks import broken, order


class _NotYet(Exception):
    pass


def run(case: Any, key: str, sku: str = "pen", breaking: str = "", saga: Saga = order, **data: Any) -> SagaHandle:
    """One that has ended. ``breaking``: what is broken in the world meanwhile."""
    Order.objects.create(pk=key, sku=sku)
    broken.update(breaking.split())
    try:
        with case.run_sagas():
            return saga.start({"order_id": key, **data}, key=key)
    finally:
        broken.clear()


def begin(case: Any, key: str) -> SagaHandle:
    """One whose first step has not run."""
    Order.objects.create(pk=key, sku="pen")
    with suppress(_NotYet), case.run_sagas():
        started = order.start({"order_id": key}, key=key)
        raise _NotYet
    return started
