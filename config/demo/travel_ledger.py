"""Read the tables of travelling: every trip and every offer, in one snapshot."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final

from sqlalchemy import Engine

from config.demo.ledger import rows, snapshot

_TRIPS: Final = """
WITH bookings AS (
    SELECT trip_id,
           count(*) FILTER (WHERE status = 'reserved') AS reserved,
           count(*) FILTER (WHERE status = 'confirmed') AS confirmed,
           count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
           bool_or(kind = 'flight' AND status = 'confirmed') AS flight,
           bool_or(kind = 'hotel' AND status = 'confirmed') AS hotel,
           bool_or(kind = 'car' AND status = 'confirmed') AS car,
           count(*) FILTER (WHERE status <> 'cancelled')
               > count(DISTINCT kind) FILTER (WHERE status <> 'cancelled') AS booked_twice,
           max(moved_at) AS booking_moved
      FROM shop.booking GROUP BY trip_id
), authorisations AS (
    SELECT a.trip_id,
           coalesce(sum(a.amount) FILTER (WHERE s.kind IS DISTINCT FROM 'void'), 0) AS authorised,
           coalesce(sum(s.captured), 0) AS captured,
           count(*) FILTER (WHERE s.kind IS NULL) AS open_authorisations,
           count(*) FILTER (WHERE s.kind IS DISTINCT FROM 'void') AS live_authorisations,
           count(*) FILTER (WHERE s.kind = 'capture') AS captures,
           max(greatest(a.moved_at, s.moved_at)) AS authorisation_moved
      FROM shop.authorisation a LEFT JOIN shop.settlement s ON s.authorisation_id = a.id
     GROUP BY a.trip_id
), notifications AS (
    SELECT order_id AS trip_id, count(*) AS notifications, max(moved_at) AS notification_moved,
           count(*) > count(DISTINCT subject) AS told_twice
      FROM shop.notification GROUP BY order_id
)
SELECT trip_id,
       coalesce(reserved, 0) AS reserved, coalesce(confirmed, 0) AS confirmed, coalesce(cancelled, 0) AS cancelled,
       coalesce(flight, false) AS flight, coalesce(hotel, false) AS hotel, coalesce(car, false) AS car,
       coalesce(booked_twice, false) AS booked_twice,
       coalesce(authorised, 0) AS authorised, coalesce(captured, 0) AS captured,
       coalesce(open_authorisations, 0) AS open_authorisations,
       coalesce(live_authorisations, 0) AS live_authorisations, coalesce(captures, 0) AS captures,
       coalesce(notifications, 0) AS notifications, coalesce(told_twice, false) AS told_twice,
       clock_timestamp() - greatest(booking_moved, authorisation_moved, notification_moved) AS quiet
  FROM bookings FULL JOIN authorisations USING (trip_id) LEFT JOIN notifications USING (trip_id)
 ORDER BY trip_id
"""

_OFFERS: Final = """
SELECT o.kind, o.code, o.initial, o.available, o.reserved, o.confirmed,
       coalesce(sum(b.places) FILTER (WHERE b.status = 'reserved'), 0) AS booked,
       coalesce(sum(b.places) FILTER (WHERE b.status = 'confirmed'), 0) AS sold
  FROM shop.offer o LEFT JOIN shop.booking b ON (b.kind, b.code) = (o.kind, o.code)
 GROUP BY o.kind, o.code ORDER BY o.kind, o.code
"""

_BEHIND_CLOSED_DOORS: Final = """
SELECT e.trip_id, e.effect
  FROM (SELECT kind AS service, key, trip_id, id AS effect
          FROM shop.booking WHERE status <> 'cancelled'
        UNION ALL
        SELECT 'authorisation', a.key, a.trip_id, a.id
          FROM shop.authorisation a LEFT JOIN shop.settlement s ON s.authorisation_id = a.id
         WHERE s.kind IS DISTINCT FROM 'void') e
  JOIN shop.barrier b ON b.service = e.service AND b.key = e.key AND b.closed_at IS NOT NULL
 ORDER BY e.effect
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TripBook:
    """The effects of one trip in all services; a *live* authorisation is one that was not voided.

    Bookings are `reserved`, `confirmed` or `cancelled`; `flight`, `hotel` and `car` say what is confirmed;
    `booked_twice` means two of a kind. `authorised` is the sum of the live authorisations; those that were not
    captured either are *open*. `told_twice` means two notifications of one subject; `quiet` is the time since
    anything moved.
    """

    trip_id: str
    reserved: int = 0
    confirmed: int = 0
    cancelled: int = 0
    flight: bool = False
    hotel: bool = False
    car: bool = False
    booked_twice: bool = False
    authorised: Decimal = Decimal(0)
    captured: Decimal = Decimal(0)
    open_authorisations: int = 0
    live_authorisations: int = 0
    captures: int = 0
    notifications: int = 0
    told_twice: bool = False
    quiet: timedelta = timedelta(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class OfferBook:
    """The places of an offer, by its own count and (`booked`, `sold`) by the bookings."""

    kind: str
    code: str
    initial: int
    available: int
    reserved: int
    confirmed: int
    booked: int
    sold: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TravelLedger:
    """All trips, all offers, and the effects that are live although the door behind them is closed."""

    trips: dict[str, TripBook]
    offers: dict[tuple[str, str], OfferBook]
    behind_closed_doors: tuple[tuple[str, str], ...]


def read(engine: Engine) -> TravelLedger:
    """Read the tables, and nothing else, in one snapshot."""
    with snapshot(engine) as connection:
        return TravelLedger(
            trips={row["trip_id"]: TripBook(**row) for row in rows(connection, _TRIPS)},
            offers={(row["kind"], row["code"]): OfferBook(**row) for row in rows(connection, _OFFERS)},
            behind_closed_doors=tuple(
                (row["trip_id"], row["effect"]) for row in rows(connection, _BEHIND_CLOSED_DOORS)
            ),
        )
