"""The form that the shops' `POST /orders` accept, in every framework."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Self
from uuid import uuid4

#: The longest that a customer can let a step take, in seconds.
SLOWEST: Final = 5.0


class BadOrder(ValueError):
    """The form is not a valid order; the message is for its sender."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderForm:
    """An order as a customer placed it, and how it is staged (see `staging`)."""

    order_id: str
    sku: str
    quantity: int
    total: Decimal
    step_seconds: float
    shipping_fails: bool

    @classmethod
    def parse(cls, body: Any) -> Self:
        """Check the decoded JSON body.

        Raises:
            BadOrder: a field is missing or invalid.
        """
        if not isinstance(body, Mapping):
            raise BadOrder("send a JSON object with sku, quantity and total")
        order_id = body.get("order_id") or uuid4().hex
        sku, quantity = body.get("sku"), body.get("quantity", 1)
        if not isinstance(order_id, str) or len(order_id) > 64 or "\x00" in order_id:
            raise BadOrder("order_id must be text of at most 64 characters")
        if not isinstance(sku, str) or not sku or len(sku) > 64 or "\x00" in sku:
            raise BadOrder("sku must name an article")
        if not isinstance(quantity, int) or isinstance(quantity, bool) or not 0 < quantity < 10_000:
            raise BadOrder("quantity must be a whole number from 1 to 9999")
        try:
            total = Decimal(str(body.get("total")))
        except InvalidOperation:
            raise BadOrder('total must be an amount of money, as in "9.90"') from None
        if not total.is_finite() or not 0 < total < 1_000_000 or total != round(total, 2):
            raise BadOrder('total must be an amount of money, as in "9.90"')
        seconds, fails = body.get("step_seconds", 0), body.get("shipping_fails", False)
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= SLOWEST:
            raise BadOrder(f"step_seconds must be a number from 0 to {SLOWEST:g}")
        if not isinstance(fails, bool):
            raise BadOrder("shipping_fails must be true or false")
        return cls(
            order_id=order_id,
            sku=sku,
            quantity=quantity,
            total=total,
            step_seconds=seconds,
            shipping_fails=fails,
        )

    @property
    def saga_input(self) -> dict[str, Any]:
        """Return the input of `tasks.orders.order`."""
        items = [{"sku": self.sku, "quantity": self.quantity}]
        return {"order_id": self.order_id, "items": items, "total": self.total}
