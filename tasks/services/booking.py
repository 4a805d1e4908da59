"""Booking: seats, rooms and cars, reserved one by one and confirmed together.

It is what travel agencies call a global distribution system: one place that sells for airlines, hotels and car
rentals. Therefore the bookings of a trip can be confirmed in one transaction. With three systems the pivot
would be three steps, of which the second may say no when the first can't be undone any more.
"""

from collections.abc import Collection, Iterable
from typing import Literal, TypedDict

from sqlalchemy import Connection, text

from tasks.services import authorisation, barrier
from tasks.services.barrier import Call
from tasks.services.database import transaction
from tasks.services.errors import InvalidRequest, NotReserved, SoldOut

Kind = Literal["flight", "hotel", "car"]


class Booked(TypedDict):
    """The answer to `reserve`."""

    booking_id: str


class Cancelled(TypedDict):
    """The answer to `cancel`; None if there was nothing to cancel."""

    cancelled_id: str | None


class Confirmed(TypedDict):
    """The answer to `confirm`."""

    confirmation_id: str


def put_on_sale(kind: Kind, code: str, places: int) -> None:
    """Offer more seats, rooms or cars. Not idempotent: it is done by hand, not by message."""
    with transaction() as connection:
        connection.execute(
            text("""
                INSERT INTO shop.offer AS known (kind, code, initial, available)
                VALUES (:kind, :code, :places, :places)
                ON CONFLICT (kind, code) DO UPDATE SET initial = known.initial + excluded.initial,
                                                       available = known.available + excluded.available
            """),
            {"kind": kind, "code": code, "places": places},
        )


def reserve(kind: Kind, code: str, trip_id: str, *, places: int = 1, key: str) -> Booked:
    """Reserve places for a trip: all that it asks for or none.

    Args:
        kind: the kind of place; each has its own operations, faults and keys.
        code: the flight, hotel or class of cars.
        trip_id: the trip.
        places: how many seats, rooms or cars.
        key: the action's idempotency key, by which it can also be cancelled.

    Raises:
        SoldOut: too few are left.
        InvalidRequest: there is no such offer, or less than one place was asked for.
        DoorClosed, KeyReused: see `barrier.enter`.
    """
    if not isinstance(places, int) or places < 1:
        raise InvalidRequest(f"trip {trip_id}: at least one place must be asked for, not {places!r}")

    def hold(connection: Connection) -> Booked:
        available = connection.execute(
            text("SELECT available FROM shop.offer WHERE kind = :kind AND code = :code FOR NO KEY UPDATE"),
            {"kind": kind, "code": code},
        ).scalar()
        if available is None:
            raise InvalidRequest(f"trip {trip_id}: there is no {kind} {code!r}")
        if available < places:
            raise SoldOut(f"trip {trip_id}: {places} × {kind} {code} asked for, {available} left")
        connection.execute(
            text("""
                UPDATE shop.offer SET available = available - :places, reserved = reserved + :places
                 WHERE kind = :kind AND code = :code
            """),
            {"kind": kind, "code": code, "places": places},
        )
        statement = text("""
            INSERT INTO shop.booking (key, trip_id, kind, code, places)
            VALUES (:key, :trip_id, :kind, :code, :places) RETURNING id
        """)
        given = {"key": key, "trip_id": trip_id, "kind": kind, "code": code, "places": places}
        return Booked(booking_id=connection.execute(statement, given).scalar_one())

    return barrier.once(Call(kind, "reserve", key, trip_id), {"code": code, "places": places}, hold)


def cancel(kind: Kind, *, key: str) -> Cancelled:
    """Give up what was reserved under this key, if it was, and make sure that it never will be.

    Raises:
        NotReserved: it has been confirmed, and is the traveller's.
    """

    def give_up(connection: Connection) -> Cancelled:
        booking = connection.execute(
            text("SELECT id, status FROM shop.booking WHERE key = :key AND kind = :kind FOR NO KEY UPDATE"),
            {"key": key, "kind": kind},
        ).one_or_none()
        if booking is None:
            return Cancelled(cancelled_id=None)
        if booking.status == "confirmed":
            raise NotReserved(f"{booking.id} has been confirmed and can't be cancelled")
        _move(connection, [booking.id], "cancelled")
        return Cancelled(cancelled_id=booking.id)

    return barrier.undo(Call(kind, "cancel", key), give_up)


def confirm(trip_id: str, booking_ids: Iterable[str], authorisation_id: str, *, key: str) -> Confirmed:
    """Confirm all places reserved for a trip, or none, against money that is set aside for it.

    Raises:
        InvalidRequest: there is nothing to confirm.
        NotReserved: a booking was cancelled, confirmed before, or belongs to another trip.
        NotOpen: see `authorisation.require_open`.
        DoorClosed, KeyReused: see `barrier.enter`.
    """
    wanted = sorted(set(booking_ids))
    if not wanted:
        raise InvalidRequest(f"trip {trip_id}: there is nothing to confirm")

    def buy(connection: Connection) -> Confirmed:
        authorisation.require_open(connection, trip_id, authorisation_id)
        _require_reserved(connection, trip_id, wanted)
        statement = text("""
            INSERT INTO shop.confirmation (key, trip_id, authorisation_id)
            VALUES (:key, :trip_id, :authorisation_id) RETURNING id
        """)
        given = {"key": key, "trip_id": trip_id, "authorisation_id": authorisation_id}
        confirmation_id = connection.execute(statement, given).scalar_one()
        _move(connection, wanted, "confirmed", confirmation_id)
        return Confirmed(confirmation_id=confirmation_id)

    request = {"booking_ids": wanted, "authorisation_id": authorisation_id}
    return barrier.once(Call("booking", "confirm", key, trip_id), request, buy)


def _require_reserved(connection: Connection, trip_id: str, booking_ids: Collection[str]) -> None:
    # Always by id, like every statement here that locks more than one row.
    rows = connection.execute(
        text("""
            SELECT id, status FROM shop.booking WHERE id = ANY(:ids) AND trip_id = :trip_id
             ORDER BY id FOR NO KEY UPDATE
        """),
        {"ids": list(booking_ids), "trip_id": trip_id},
    )
    found = {row.id: row.status for row in rows}
    for booking_id in booking_ids:
        if found.get(booking_id) != "reserved":
            status = found.get(booking_id, "not one of its own")
            raise NotReserved(f"trip {trip_id} can't confirm {booking_id}: it is {status}")


def _move(
    connection: Connection, booking_ids: Collection[str], status: str, confirmation_id: str | None = None
) -> None:
    ids = list(booking_ids)
    connection.execute(
        text("""
            SELECT FROM shop.offer o
             WHERE EXISTS (SELECT FROM shop.booking b WHERE b.id = ANY(:ids) AND (b.kind, b.code) = (o.kind, o.code))
             ORDER BY o.kind, o.code FOR NO KEY UPDATE
        """),
        {"ids": ids},
    )
    connection.execute(
        text("""
            UPDATE shop.offer o
               SET reserved = o.reserved - moved.places,
                   available = o.available + CASE WHEN :status = 'cancelled' THEN moved.places ELSE 0 END,
                   confirmed = o.confirmed + CASE WHEN :status = 'confirmed' THEN moved.places ELSE 0 END
              FROM (SELECT kind, code, sum(places) AS places FROM shop.booking
                     WHERE id = ANY(:ids) GROUP BY kind, code) moved
             WHERE (moved.kind, moved.code) = (o.kind, o.code)
        """),
        {"ids": ids, "status": status},
    )
    connection.execute(
        text("""
            UPDATE shop.booking
               SET status = :status, confirmation_id = :confirmation_id, moved_at = clock_timestamp()
             WHERE id = ANY(:ids)
        """),
        {"ids": ids, "status": status, "confirmation_id": confirmation_id},
    )
