"""Payment: a charge is taken once for each key and given back at most once, all of it."""

from decimal import Decimal
from typing import TypedDict

from sqlalchemy import Connection

from tasks.services import barrier
from tasks.services.barrier import Call
from tasks.services.database import execute
from tasks.services.money import in_cents


class Charged(TypedDict):
    charge_id: str


def charge(order_id: str, amount: Decimal | str, *, key: str) -> Charged:
    """Take the money for an order, at least a cent and never a float; by the same key it can be refunded.

    Raises InvalidRequest if the amount is not money.
    """
    money = in_cents(amount)

    def take(connection: Connection) -> Charged:
        statement = "INSERT INTO shop.charge (key, order_id, amount) VALUES (:key, :order, :amount) RETURNING id"
        charged = execute(connection, statement, key=key, order=order_id, amount=money)
        return Charged(charge_id=charged.scalar_one())

    return barrier.once(Call("payment", "charge", key, order_id), {"amount": str(money)}, take)


def refund(*, key: str) -> None:
    """Give back what was charged under this key, if it was, and make sure that it never will be."""

    def give_back(connection: Connection) -> None:
        statement = "INSERT INTO shop.refund (charge_id, amount) SELECT id, amount FROM shop.charge WHERE key = :key"
        execute(connection, statement, key=key)

    barrier.undo(Call("payment", "refund", key), give_back)
