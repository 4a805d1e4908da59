"""Instances in every status that the admin has to show."""

from contextlib import suppress
from typing import Any
from uuid import uuid4

from sagas import ErrorInfo, Saga, SagaHandle
from sagas.contrib.django.binding import bound_sagas
from sagas.model import Address, Claimed, Completed, Parked
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


def park(case: Any, key: str, *, at: int = 0) -> SagaHandle:
    """One that waits for a person since a step cannot be called."""
    one, loop = begin(case, key), bound_sagas().engine.loop
    for position in range(at + 1):
        token = uuid4()
        loop.handle(one.id, Claimed(address=Address(position), token=token))
        if position < at:
            loop.handle(one.id, Completed(address=Address(position), token=token, result="{}"))
    why = ErrorInfo(type="sagas.BindingError", message="it requires 'signature'")
    loop.handle(one.id, Parked(address=Address(at), token=token, error=why, for_good=True))
    return one
