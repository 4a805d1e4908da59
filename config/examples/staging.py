"""Staged orders, for people who watch: steps that take time, and a refused shipment. A real shop has no such module."""

from typing import Final

from config.demo import faults
from config.examples.order_form import OrderForm

#: The service and the operation of each step and of its undo.
_OPERATIONS: Final = (
    ("inventory", "reserve"),
    ("payment", "charge"),
    ("shipping", "create"),
    ("notification", "send"),
    ("payment", "refund"),
    ("inventory", "release"),
)


def stage(form: OrderForm) -> None:
    """Tell the services how a new order is to go, before its saga starts and in transactions of their own."""
    if form.step_seconds:
        for service, operation in _OPERATIONS:
            faults.inject(service, operation, "latency", seconds=form.step_seconds, order_id=form.order_id)
    if form.shipping_fails:
        faults.inject("shipping", "create", "refuse", order_id=form.order_id)
