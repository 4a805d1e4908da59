"""Payment: a charge is taken once for each key and given back at most once, all of it."""

from decimal import Decimal
from typing import TypedDict, cast

from sqlalchemy import text

from tasks.services import barrier, faults
from tasks.services.database import transaction
from tasks.services.money import in_cents


class Charged(TypedDict):
    """The answer to `charge`."""

    charge_id: str


class Refunded(TypedDict):
    """The answer to `refund`; None if nothing had been charged."""

    refund_id: str | None


def charge(order_id: str, amount: Decimal | str, *, key: str) -> Charged:
    """Take the money for an order.

    Args:
        order_id: the order.
        amount: at least a cent, and nothing smaller than cents; never a float.
        key: the action's idempotency key, by which it can also be refunded.

    Raises:
        InvalidRequest: the amount is not money.
        DoorClosed, KeyReused: see `barrier.enter`.
    """
    money = in_cents(amount)
    with (
        faults.around("payment", "charge", key=key, order_id=order_id) as refuse,
        transaction() as connection,
    ):
        answer = barrier.enter(connection, "payment", key, order_id=order_id, request={"amount": str(money)})
        if answer is not None:
            return cast(Charged, answer)
        refuse()
        charge_id: str = connection.execute(
            text("""
                INSERT INTO shop.charge (key, order_id, amount)
                VALUES (:key, :order_id, :amount) RETURNING id
            """),
            {"key": key, "order_id": order_id, "amount": money},
        ).scalar_one()
        charged = Charged(charge_id=charge_id)
        barrier.leave(connection, "payment", key, dict(charged))
        return charged


def refund(*, key: str) -> Refunded:
    """Give back what was charged under this key, if it was, and make sure that it never will be."""
    with faults.around("payment", "refund", key=key) as refuse, transaction() as connection:
        barrier.close(connection, "payment", key)
        charge = connection.execute(
            text("""
                SELECT c.id, c.amount, r.id AS refund_id
                  FROM shop.charge c LEFT JOIN shop.refund r ON r.charge_id = c.id WHERE c.key = :key
            """),
            {"key": key},
        ).one_or_none()
        if charge is not None and charge.refund_id is not None:
            return Refunded(refund_id=charge.refund_id)
        refuse()
        if charge is None:
            return Refunded(refund_id=None)
        # No lock is needed: two refunds of one key close the same door, one after the other.
        refund_id: str = connection.execute(
            text("INSERT INTO shop.refund (charge_id, amount) VALUES (:charge_id, :amount) RETURNING id"),
            {"charge_id": charge.id, "amount": charge.amount},
        ).scalar_one()
        return Refunded(refund_id=refund_id)
