"""Authorisation: money is set aside on a card, and later captured or voided: one of the two, and once.

A charge takes the money and a refund gives it back, which the customer sees and both parties pay for. An
authorisation that is voided never was a payment: so a saga that must first find out whether everything is available
authorises, and captures when it is certain.
"""

from decimal import Decimal
from typing import TypedDict, cast

from sqlalchemy import Connection, text

from tasks.services import barrier, faults
from tasks.services.database import transaction
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
    with (
        faults.around("authorisation", "authorise", key=key, order_id=trip_id) as refuse,
        transaction() as connection,
    ):
        answer = barrier.enter(connection, "authorisation", key, order_id=trip_id, request={"amount": str(money)})
        if answer is not None:
            return cast(Authorised, answer)
        refuse()
        authorisation_id: str = connection.execute(
            text("INSERT INTO shop.authorisation (key, trip_id, amount) VALUES (:key, :trip_id, :amount) RETURNING id"),
            {"key": key, "trip_id": trip_id, "amount": money},
        ).scalar_one()
        authorised = Authorised(authorisation_id=authorisation_id)
        barrier.leave(connection, "authorisation", key, dict(authorised))
        return authorised


def void(*, key: str) -> Voided:
    """Let go of what was authorised under this key, if it was, and make sure that it never will be.

    Raises:
        NotOpen: it has been captured; money that was taken can be refunded, not voided.
    """
    with faults.around("authorisation", "void", key=key) as refuse, transaction() as connection:
        barrier.close(connection, "authorisation", key)
        authorisation = connection.execute(
            text("SELECT id, amount FROM shop.authorisation WHERE key = :key FOR NO KEY UPDATE"), {"key": key}
        ).one_or_none()
        settlement = None if authorisation is None else _settlement(connection, authorisation.id)
        if settlement is not None and settlement["kind"] == "void":
            return Voided(void_id=settlement["id"])
        refuse()
        if authorisation is None:
            return Voided(void_id=None)
        if settlement is not None:
            raise NotOpen(f"{authorisation.id} has been captured and can't be voided")
        return Voided(void_id=_settle(connection, authorisation.id, authorisation.amount, "void", Decimal(0)))


def capture(trip_id: str, authorisation_id: str, amount: Decimal | str, *, key: str) -> Captured:
    """Take what was set aside for a trip, or a part of it; the rest is let go.

    Raises:
        InvalidRequest: the amount is not money, or more than was authorised.
        NotOpen: the authorisation was voided, captured before, or belongs to another trip.
        DoorClosed, KeyReused: see `barrier.enter`.
    """
    money = in_cents(amount)
    with (
        faults.around("authorisation", "capture", key=key, order_id=trip_id) as refuse,
        transaction() as connection,
    ):
        request = {"capture": authorisation_id, "amount": str(money)}
        answer = barrier.enter(connection, "authorisation", key, order_id=trip_id, request=request)
        if answer is not None:
            return cast(Captured, answer)
        refuse()
        authorised = require_open(connection, trip_id, authorisation_id)
        if money > authorised:
            raise InvalidRequest(f"trip {trip_id}: {money} can't be captured, {authorised} was authorised")
        captured = Captured(capture_id=_settle(connection, authorisation_id, authorised, "capture", money))
        barrier.leave(connection, "authorisation", key, dict(captured))
        return captured


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
        raise NotOpen(f"trip {trip_id} can't use {authorisation_id}: it is settled by a {settlement['kind']}")
    return authorised


def _settlement(connection: Connection, authorisation_id: str) -> dict[str, str] | None:
    # Asked only with the authorisation locked, and in a statement of its own: what another transaction did while
    # this one waited for the lock is seen by the next statement, not by the one that waited.
    row = connection.execute(
        text("SELECT id, kind FROM shop.settlement WHERE authorisation_id = :id"), {"id": authorisation_id}
    ).one_or_none()
    return None if row is None else {"id": row.id, "kind": row.kind}


def _settle(connection: Connection, authorisation_id: str, authorised: Decimal, kind: str, captured: Decimal) -> str:
    settlement_id: str = connection.execute(
        text("""
            INSERT INTO shop.settlement (authorisation_id, kind, authorised, captured)
            VALUES (:authorisation_id, :kind, :authorised, :captured) RETURNING id
        """),
        {"authorisation_id": authorisation_id, "kind": kind, "authorised": authorised, "captured": captured},
    ).scalar_one()
    return settlement_id
