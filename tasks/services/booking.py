"""Booking: seats, rooms and cars, reserved one by one and confirmed together.

It is what travel agencies call a global distribution system: one place that sells for airlines, hotels and car
rentals. Therefore the bookings of a trip can be confirmed in one transaction. With three systems the pivot
would be three steps, of which the second may say no when the first can't be undone any more.
"""

from collections.abc import Iterable
from typing import Literal, TypedDict

from sqlalchemy import Connection

from tasks.services import authorisation, barrier
from tasks.services.barrier import Call
from tasks.services.database import execute
from tasks.services.errors import InvalidRequest, NotReserved, SoldOut

Kind = Literal["flight", "hotel", "car"]


class Booked(TypedDict):
    booking_id: str


class Confirmed(TypedDict):
    confirmation_id: str


def reserve(kind: Kind, code: str, trip_id: str, *, places: int = 1, key: str) -> Booked:
    """Reserve places of a flight, a hotel or a class of cars, all or none; by the same key they can be cancelled.

    Raises:
        SoldOut: too few are left.
        InvalidRequest: there is no such offer, or less than one place was asked for.
    """
    if not isinstance(places, int) or places < 1:
        raise InvalidRequest(f"trip {trip_id}: at least one place must be asked for, not {places!r}")

    def hold(connection: Connection) -> Booked:
        statement = "SELECT available FROM shop.offer WHERE kind = :kind AND code = :code FOR NO KEY UPDATE"
        available = execute(connection, statement, kind=kind, code=code).scalar()
        if available is None:
            raise InvalidRequest(f"trip {trip_id}: there is no {kind} {code!r}")
        if available < places:
            raise SoldOut(f"trip {trip_id}: {places} × {kind} {code} asked for, {available} left")
        _move(connection, "available", "reserved", kind, code, places)
        statement = """
            INSERT INTO shop.booking (key, trip_id, kind, code, places)
            VALUES (:key, :trip_id, :kind, :code, :places) RETURNING id
        """
        booked = execute(connection, statement, key=key, trip_id=trip_id, kind=kind, code=code, places=places)
        return Booked(booking_id=booked.scalar_one())

    return barrier.once(Call(kind, "reserve", key, trip_id), {"code": code, "places": places}, hold)


def cancel(kind: Kind, *, key: str) -> None:
    """Give up what was reserved under this key, if it was, and make sure that it never will be.

    Raises NotReserved if it has been confirmed, and is the traveller's.
    """

    def give_up(connection: Connection) -> None:
        statement = "SELECT id, trip_id FROM shop.booking WHERE key = :key AND kind = :kind"
        for booking in execute(connection, statement, key=key, kind=kind).all():  # none, or one
            for offer in _reserved(connection, booking.trip_id, [booking.id], "cancel"):
                _move(connection, "reserved", "available", *offer)
            statement = "UPDATE shop.booking SET status = 'cancelled', moved_at = clock_timestamp() WHERE id = :id"
            execute(connection, statement, id=booking.id)

    barrier.undo(Call(kind, "cancel", key), give_up)


def confirm(trip_id: str, booking_ids: Iterable[str], authorisation_id: str, *, key: str) -> Confirmed:
    """Confirm all places reserved for a trip, or none, against money that is set aside for it.

    Raises:
        InvalidRequest: there is nothing to confirm.
        NotReserved: a booking was cancelled, confirmed before, or belongs to another trip.
        NotOpen: see `authorisation.require_open`.
    """
    wanted = sorted(set(booking_ids))
    if not wanted:
        raise InvalidRequest(f"trip {trip_id}: there is nothing to confirm")

    def buy(connection: Connection) -> Confirmed:
        authorisation.require_open(connection, trip_id, authorisation_id)
        for offer in _reserved(connection, trip_id, wanted, "confirm"):
            _move(connection, "reserved", "confirmed", *offer)
        statement = """
            INSERT INTO shop.confirmation (key, trip_id, authorisation_id) VALUES (:key, :trip, :money) RETURNING id
        """
        confirmation_id = execute(connection, statement, key=key, trip=trip_id, money=authorisation_id).scalar_one()
        statement = """
            UPDATE shop.booking SET status = 'confirmed', confirmation_id = :confirmation, moved_at = clock_timestamp()
             WHERE id = ANY(:ids)
        """
        execute(connection, statement, confirmation=confirmation_id, ids=wanted)
        return Confirmed(confirmation_id=confirmation_id)

    request = {"booking_ids": wanted, "authorisation_id": authorisation_id}
    return barrier.once(Call("booking", "confirm", key, trip_id), request, buy)


def _reserved(connection: Connection, trip_id: str, booking_ids: list[str], verb: str) -> list[tuple[str, str, int]]:
    # By kind and code, or two trips for the same offers could deadlock.
    statement = """
        SELECT id, kind, code, places, status FROM shop.booking WHERE id = ANY(:ids) AND trip_id = :trip_id
         ORDER BY kind, code, id FOR NO KEY UPDATE
    """
    bookings = execute(connection, statement, ids=booking_ids, trip_id=trip_id).all()
    states = dict.fromkeys(booking_ids, "not one of its own") | {booking.id: booking.status for booking in bookings}
    for booking_id, state in states.items():
        if state != "reserved":
            raise NotReserved(f"trip {trip_id} can't {verb} {booking_id}: it is {state}")
    return [(booking.kind, booking.code, booking.places) for booking in bookings]


def _move(connection: Connection, source: str, target: str, kind: str, code: str, places: int) -> None:
    statement = f"""
        UPDATE shop.offer SET {source} = {source} - :places, {target} = {target} + :places
         WHERE kind = :kind AND code = :code
    """
    execute(connection, statement, kind=kind, code=code, places=places)
