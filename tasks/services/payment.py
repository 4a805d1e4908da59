"""Payment: a charge is taken once for each key and given back at most once, all of it."""

from decimal import Decimal
from typing import TypedDict

from sqlalchemy import Connection, text

from tasks.services import barrier
from tasks.services.barrier import Call
from tasks.services.money import in_cents


class Charged(TypedDict):
    """The answer to `charge`."""

    charge_id: str


class Refunded(TypedDict):
    """The answer to `refund`; None if nothing had been charged."""

    refund_id: str | None


def charge(order_id: str, amount: Decimal | str, *, key: str) -> Charged:
    """Take the money for an order, at least a cent and never a float; by the same key it can be refunded.

    Raises:
        InvalidRequest: the amount is not money.
        DoorClosed, KeyReused: see `barrier.enter`.
    """
    money = in_cents(amount)

    def take(connection: Connection) -> Charged:
        statement = text("INSERT INTO shop.charge (key, order_id, amount) VALUES (:key, :order, :amount) RETURNING id")
        given = {"key": key, "order": order_id, "amount": money}
        return Charged(charge_id=connection.execute(statement, given).scalar_one())

    return barrier.once(Call("payment", "charge", key, order_id), {"amount": str(money)}, take)


def refund(*, key: str) -> Refunded:
    """Give back what was charged under this key, if it was, and make sure that it never will be."""

    def give_back(connection: Connection) -> Refunded:
        statement = text("""
            INSERT INTO shop.refund (charge_id, amount)
            SELECT id, amount FROM shop.charge WHERE key = :key RETURNING id
        """)
        return Refunded(refund_id=connection.execute(statement, {"key": key}).scalar())

    return barrier.undo(Call("payment", "refund", key), give_back)
