"""The reason why an order is undone, or cannot be, in words for its customer.

It is made from the saga's error, its step, and how far the steps are undone. The text of an exception is for
operators.
"""

from typing import Final

from sagas import ErrorInfo, Reason, SagaStatus, Snapshot, StepStatus, StepView
from tasks.services.errors import OutOfStock

TOO_LATE: Final = "Your order has been shipped or has ended, so it cannot be cancelled any more."
_OUT_OF_STOCK: Final = f"{OutOfStock.__module__}.{OutOfStock.__qualname__}"
#: A cause for each step that may give up.
_CAUSES: Final = {
    "reserve_inventory": "We could not reserve {goods}",
    "charge_payment": "The payment for {goods} did not go through",
    "create_shipment": "We could not ship {goods}",
}
_NOTHING_DONE: Final = (StepStatus.PENDING, StepStatus.FAILED, StepStatus.SKIPPED)


def why_undone(seen: Snapshot) -> str | None:
    """Return a sentence about an order that turned back or waits for a person; None for any other."""
    if seen.status is SagaStatus.FAILED:
        return "Something went wrong with your order, and one of us is looking into it."
    if seen.error is None:
        return None
    goods = ", ".join(f"{item['quantity']} × {item['sku']}" for item in seen.data["items"])
    steps = {step.name: step for step in seen.steps}
    money = _undoing(
        steps["charge_payment"],
        never="you were not charged",
        now="your money is being refunded",
        done="your money was refunded",
    )
    shelf = _undoing(
        steps["reserve_inventory"],
        never="nothing was reserved",
        now="the goods are going back on the shelf",
        done="the goods went back on the shelf",
    )
    return f"{_cause(seen.error, goods)}, so {money} and {shelf}."


def _cause(error: ErrorInfo, goods: str) -> str:
    if error.type == Reason.CANCELLED:
        return "You cancelled the order"
    if error.type == _OUT_OF_STOCK:
        return f"We do not have {goods} in stock"
    return _CAUSES.get(error.step or "", "We could not complete your order of {goods}").format(goods=goods)


def _undoing(step: StepView, *, never: str, now: str, done: str) -> str:
    if step.status is StepStatus.COMPENSATED:
        return done
    return never if step.status in _NOTHING_DONE and not step.in_doubt else now
