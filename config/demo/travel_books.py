"""The books of the trips, which must add up whatever the sagas did, and however often they were killed."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Engine

from config.demo import travel_ledger
from config.demo.books import Violation, broken
from config.demo.travel_ledger import OfferBook, TripBook


@dataclass(frozen=True, kw_only=True, slots=True)
class TravelBooks:
    """All trips and offers, with their violations."""

    trips: dict[str, TripBook]
    offers: dict[tuple[str, str], OfferBook]
    violations: tuple[Violation, ...]


def audit(
    engine: Engine,
    *,
    completed: Collection[str] = (),
    compensated: Collection[str] = (),
    quiet: timedelta | None = None,
) -> TravelBooks:
    """Read the books and list what does not add up; safe to run while trips are on their way.

    Some things hold at any moment: places are conserved, no trip has two of anything, nothing is confirmed
    without an authorisation. Others hold only once a trip's saga has ended, which these tables can't know: so pass it.

    Args:
        engine: the services' database.
        completed: trips whose saga completed: flight and hotel confirmed and all of the authorised money
            captured, exactly once; the traveller told at most once.
        compensated: trips whose saga was undone: nothing of them is left.
        quiet: trips that have not moved for this long should have become either the one or the other.

    Raises:
        ValueError: a trip is said to have ended both ways.
    """
    completed, compensated = frozenset(completed), frozenset(compensated)
    if both := completed & compensated:
        raise ValueError(f"trips can't have ended both ways: {sorted(both)}")
    read = travel_ledger.read(engine)
    found = [*_of_offers(read.offers.values()), *_at_any_moment(read.trips.values())]
    found += [
        Violation(kind="undone but there", subject=trip_id, detail=f"{effect} is live behind a closed door")
        for trip_id, effect in read.behind_closed_doors
    ]
    for trip_id in sorted(completed | compensated):
        trip = read.trips.get(trip_id, TripBook(trip_id=trip_id))
        found += _when_completed(trip) if trip_id in completed else _when_compensated(trip)
    for trip in read.trips.values():
        if quiet is not None and trip.quiet >= quiet and trip.trip_id not in completed | compensated:
            # Past its pivot it can only have completed.
            found += _when_completed(trip) if trip.confirmed else _when_compensated(trip)
    return TravelBooks(trips=read.trips, offers=read.offers, violations=tuple(found))


def _of_offers(offers: Iterable[OfferBook]) -> Iterator[Violation]:
    for o in offers:
        yield from broken(
            f"{o.kind} {o.code}",
            (
                "places not conserved",
                o.available + o.reserved + o.confirmed != o.initial or min(o.available, o.reserved, o.confirmed) < 0,
                f"{o.initial} offered; {o.available} available, {o.reserved} reserved, {o.confirmed} confirmed",
            ),
            (
                "offer and bookings differ",
                (o.reserved, o.confirmed) != (o.booked, o.sold),
                f"reserved {o.reserved} for {o.booked}, confirmed {o.confirmed} for {o.sold}",
            ),
        )


def _at_any_moment(trips: Iterable[TripBook]) -> Iterator[Violation]:
    for t in trips:
        money = f"{t.captured} of {t.authorised} captured"
        bookings = f"{t.reserved} bookings reserved, {t.confirmed} confirmed"
        yield from broken(
            t.trip_id,
            ("booked twice", t.booked_twice, bookings),
            ("partly confirmed", t.confirmed > 0 and t.reserved > 0, bookings),
            ("confirmed unauthorised", t.confirmed > 0 and t.live_authorisations == 0, bookings),
            ("authorised twice", t.live_authorisations > 1, f"{t.live_authorisations} authorisations"),
            ("captured too much", t.captured > t.authorised, money),
            ("captured unconfirmed", t.captures > 0 and t.confirmed == 0, money),
            ("told unconfirmed", t.notifications > 0 and t.confirmed == 0, f"{t.notifications} notifications"),
            ("told twice", t.told_twice, f"{t.notifications} notifications"),
        )


def _when_completed(t: TripBook) -> Iterator[Violation]:
    return broken(
        t.trip_id,
        ("not confirmed", not (t.flight and t.hotel), f"completed with flight: {t.flight}, hotel: {t.hotel}"),
        ("still reserved", t.reserved > 0, f"{t.reserved} bookings reserved after the end"),
        (
            "not captured",
            t.captures == 0 or t.captured != t.authorised,
            f"completed with {t.captured} of {t.authorised} captured",
        ),
    )


def _when_compensated(t: TripBook) -> Iterator[Violation]:
    return broken(
        t.trip_id,
        ("still reserved", t.reserved > 0, f"{t.reserved} bookings reserved after the end"),
        ("confirmed all the same", t.confirmed > 0, f"{t.confirmed} bookings confirmed"),
        ("not voided", t.open_authorisations > 0, f"{t.authorised} authorised, neither captured nor voided"),
        ("captured all the same", t.captures > 0, f"{t.captured} captured"),
        ("told all the same", t.notifications > 0, f"{t.notifications} notifications"),
    )
