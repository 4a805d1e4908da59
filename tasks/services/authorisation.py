"""Authorisation: money is set aside on a card, and later captured or voided: one of the two, and once.

A charge takes the money and a refund gives it back, which the customer sees and both parties pay for. An
authorisation that is voided never was a payment: so a saga that must first find out whether everything is available
authorises, and captures when it is certain.
"""

from decimal import Decimal
from typing import TypedDict

from sqlalchemy import Connection

from tasks.services import barrier
from tasks.services.barrier import Call
from tasks.services.database import execute
from tasks.services.errors import InvalidRequest, NotOpen
from tasks.services.money import in_cents


class Authorised(TypedDict):
    authorisation_id: str


class Captured(TypedDict):
    capture_id: str


def authorise(trip_id: str, amount: Decimal | str, *, key: str) -> Authorised:
    """Set money aside for a trip, at least a cent and never a float; by the same key it can be voided.

    Raises InvalidRequest if the amount is not money.
    """
    money = in_cents(amount)

    def set_aside(connection: Connection) -> Authorised:
        statement = """
            INSERT INTO shop.authorisation (key, trip_id, amount) VALUES (:key, :trip_id, :amount) RETURNING id
        """
        authorised = execute(connection, statement, key=key, trip_id=trip_id, amount=money)
        return Authorised(authorisation_id=authorised.scalar_one())

    return barrier.once(Call("authorisation", "authorise", key, trip_id), {"amount": str(money)}, set_aside)


def void(*, key: str) -> None:
    """Let go of what was authorised under this key, if it was, and make sure that it never will be.

    Raises NotOpen if it has been captured: money that was taken can be refunded, not voided.
    """

    def let_go(connection: Connection) -> None:
        statement = "SELECT id, trip_id FROM shop.authorisation WHERE key = :key"
        for found in execute(connection, statement, key=key).all():  # none, or one
            authorised = require_open(connection, found.trip_id, found.id)
            _settle(connection, found.id, authorised, "void", Decimal(0))

    barrier.undo(Call("authorisation", "void", key), let_go)


def capture(trip_id: str, authorisation_id: str, amount: Decimal | str, *, key: str) -> Captured:
    """Take what was set aside for a trip, or a part of it; the rest is let go.

    Raises:
        InvalidRequest: the amount is not money, or more than was authorised.
        NotOpen: the authorisation was voided, captured before, or belongs to another trip.
    """
    money = in_cents(amount)

    def take(connection: Connection) -> Captured:
        authorised = require_open(connection, trip_id, authorisation_id)
        if money > authorised:
            raise InvalidRequest(f"trip {trip_id}: {money} can't be captured, {authorised} was authorised")
        return Captured(capture_id=_settle(connection, authorisation_id, authorised, "capture", money))

    request = {"capture": authorisation_id, "amount": str(money)}
    return barrier.once(Call("authorisation", "capture", key, trip_id), request, take)


def require_open(connection: Connection, trip_id: str, authorisation_id: str) -> Decimal:
    """Return the amount that is set aside for a trip; it stays so until the end of the caller's transaction.

    Raises NotOpen if it was voided, captured, or belongs to another trip.
    """
    statement = "SELECT amount FROM shop.authorisation WHERE id = :id AND trip_id = :trip_id FOR NO KEY UPDATE"
    authorised: Decimal | None = execute(connection, statement, id=authorisation_id, trip_id=trip_id).scalar()
    if authorised is None:
        raise NotOpen(f"trip {trip_id} can't use {authorisation_id}: it is not one of its own")
    # A statement of its own: what another transaction did while the first one waited for the lock, only this one sees.
    statement = "SELECT kind FROM shop.settlement WHERE authorisation_id = :id"
    settlement = execute(connection, statement, id=authorisation_id).scalar()
    if settlement is not None:
        raise NotOpen(f"trip {trip_id} can't use {authorisation_id}: it is settled by a {settlement}")
    return authorised


def _settle(connection: Connection, authorisation_id: str, authorised: Decimal, kind: str, captured: Decimal) -> str:
    statement = """
        INSERT INTO shop.settlement (authorisation_id, kind, authorised, captured)
        VALUES (:id, :kind, :authorised, :captured) RETURNING id
    """
    settled = execute(connection, statement, id=authorisation_id, kind=kind, authorised=authorised, captured=captured)
    settlement_id: str = settled.scalar_one()
    return settlement_id
