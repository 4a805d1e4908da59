"""Authorisation: money is set aside on a card, and later captured or voided: one of the two, and once.

A charge takes the money and a refund gives it back, which the customer sees and both parties pay for. An
authorisation that is voided never was a payment: so a saga that must first find out whether everything is available
authorises, and captures when it is certain.
"""

from decimal import Decimal
from typing import TypedDict

from sqlalchemy import Connection, text

from tasks.services import barrier
from tasks.services.barrier import Call
from tasks.services.errors import InvalidRequest, NotOpen
from tasks.services.money import in_cents


class Authorised(TypedDict):
    """The answer to `authorise`."""

    authorisation_id: str


class Captured(TypedDict):
    """The answer to `capture`."""

    capture_id: str


class Voided(TypedDict):
    """The answer to `void`; None if nothing had been authorised."""

    void_id: str | None


def authorise(trip_id: str, amount: Decimal | str, *, key: str) -> Authorised:
    """Set money aside for a trip.

    Args:
        trip_id: the trip.
        amount: at least a cent, and nothing smaller than cents; never a float.
        key: the action's idempotency key, by which it can also be voided.

    Raises:
        InvalidRequest: the amount is not money.
        DoorClosed, KeyReused: see `barrier.enter`.
    """
    money = in_cents(amount)

    def set_aside(connection: Connection) -> Authorised:
        statement = text("""
            INSERT INTO shop.authorisation (key, trip_id, amount) VALUES (:key, :trip_id, :amount) RETURNING id
        """)
        given = {"key": key, "trip_id": trip_id, "amount": money}
        return Authorised(authorisation_id=connection.execute(statement, given).scalar_one())

    return barrier.once(Call("authorisation", "authorise", key, trip_id), {"amount": str(money)}, set_aside)


def void(*, key: str) -> Voided:
    """Let go of what was authorised under this key, if it was, and make sure that it never will be.

    Raises:
        NotOpen: it has been captured; money that was taken can be refunded, not voided.
    """

    def let_go(connection: Connection) -> Voided:
        authorisation = connection.execute(
            text("SELECT id, amount FROM shop.authorisation WHERE key = :key FOR NO KEY UPDATE"), {"key": key}
        ).one_or_none()
        if authorisation is None:
            return Voided(void_id=None)
        if _settlement(connection, authorisation.id) is not None:
            raise NotOpen(f"{authorisation.id} has been captured and can't be voided")
        return Voided(void_id=_settle(connection, authorisation.id, authorisation.amount, "void", Decimal(0)))

    return barrier.undo(Call("authorisation", "void", key), let_go)


def capture(trip_id: str, authorisation_id: str, amount: Decimal | str, *, key: str) -> Captured:
    """Take what was set aside for a trip, or a part of it; the rest is let go.

    Raises:
        InvalidRequest: the amount is not money, or more than was authorised.
        NotOpen: the authorisation was voided, captured before, or belongs to another trip.
        DoorClosed, KeyReused: see `barrier.enter`.
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

    Raises:
        NotOpen: it was voided, captured, or belongs to another trip.
    """
    authorised: Decimal | None = connection.execute(
        text("SELECT amount FROM shop.authorisation WHERE id = :id AND trip_id = :trip_id FOR NO KEY UPDATE"),
        {"id": authorisation_id, "trip_id": trip_id},
    ).scalar()
    if authorised is None:
        raise NotOpen(f"trip {trip_id} can't use {authorisation_id}: it is not one of its own")
    settlement = _settlement(connection, authorisation_id)
    if settlement is not None:
        raise NotOpen(f"trip {trip_id} can't use {authorisation_id}: it is settled by a {settlement}")
    return authorised


def _settlement(connection: Connection, authorisation_id: str) -> str | None:
    # Asked only with the authorisation locked, and in a statement of its own: what another transaction did while
    # this one waited for the lock is seen by the next statement, not by the one that waited.
    kind: str | None = connection.execute(
        text("SELECT kind FROM shop.settlement WHERE authorisation_id = :id"), {"id": authorisation_id}
    ).scalar()
    return kind


def _settle(connection: Connection, authorisation_id: str, authorised: Decimal, kind: str, captured: Decimal) -> str:
    settlement_id: str = connection.execute(
        text("""
            INSERT INTO shop.settlement (authorisation_id, kind, authorised, captured)
            VALUES (:authorisation_id, :kind, :authorised, :captured) RETURNING id
        """),
        {"authorisation_id": authorisation_id, "kind": kind, "authorised": authorised, "captured": captured},
    ).scalar_one()
    return settlement_id
