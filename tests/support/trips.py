"""Trips as the travel saga makes them, but without a saga: the start of tests of the services and of their books."""

from decimal import Decimal

from config.demo import shelves
from tasks.services import authorisation, booking, notification
from tasks.services.booking import Kind
from tasks.services.database import engine
from tasks.services.tables import create_tables

CODES: dict[Kind, str] = {"flight": "LX14", "hotel": "Seeblick", "car": "compact"}
PRICE = Decimal("640.00")


def go_on_sale(places: int = 10) -> None:
    """Create the tables, and offer so many seats, rooms and cars."""
    create_tables(engine())
    for kind, code in CODES.items():
        shelves.put_on_sale(kind, code, places)


def reserve(trip_id: str, *asked: Kind) -> list[str]:
    """Reserve the given kinds, or else flight, hotel and car."""
    return [
        booking.reserve(kind, CODES[kind], trip_id, key=f"{trip_id}:{kind}")["booking_id"] for kind in asked or CODES
    ]


def authorise(trip_id: str) -> str:
    """Set the trip's price aside."""
    return authorisation.authorise(trip_id, PRICE, key=f"{trip_id}:pay")["authorisation_id"]


def complete(trip_id: str, *kinds: Kind) -> None:
    """Do what the travel saga does if all goes well."""
    booking_ids, authorisation_id = reserve(trip_id, *kinds), authorise(trip_id)
    booking.confirm(trip_id, booking_ids, authorisation_id, key=f"{trip_id}:confirm")
    authorisation.capture(trip_id, authorisation_id, PRICE, key=f"{trip_id}:capture")
    notification.send(trip_id, "itinerary", key=f"{trip_id}:tell")


def compensate(trip_id: str) -> None:
    """Do what the travel saga does if the bookings are not confirmed."""
    reserve(trip_id)
    authorise(trip_id)
    authorisation.void(key=f"{trip_id}:pay")
    for kind in CODES:
        booking.cancel(kind, key=f"{trip_id}:{kind}")
