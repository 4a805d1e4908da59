"""Bookings and authorisations keep their promises on a real PostgreSQL, whoever calls them and however often."""

from collections.abc import Iterator
from decimal import Decimal
from types import NoneType
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from config.demo.travel_books import audit
from tasks.services import authorisation, booking
from tasks.services.booking import Kind
from tasks.services.database import engine
from tasks.services.errors import InvalidRequest, NotOpen, NotReserved, SoldOut
from tests.support.services import at_once, execute
from tests.support.trips import CODES, PRICE, authorise, compensate, complete, go_on_sale, reserve


@pytest.fixture(autouse=True)
def tables(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tables in a fresh database, with ten seats, ten rooms and ten cars on sale."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", database_url)
    go_on_sale()
    yield
    engine().dispose()


def available(kind: Kind) -> int:
    return audit(engine()).offers[kind, CODES[kind]].available


# -- places


def test_places_never_go_below_zero_however_many_want_the_last_one() -> None:
    answers = at_once(*(lambda n=n: booking.reserve("flight", "LX14", n, places=3, key=n) for n in map(str, range(20))))

    assert sum(isinstance(answer, SoldOut) for answer in answers) == 17
    assert available("flight") == 1


@pytest.mark.parametrize(("code", "places"), [("LX99", 1), ("LX14", 0), ("LX14", "2")])
def test_a_request_that_makes_no_sense_is_a_clean_no(code: str, places: Any) -> None:
    with pytest.raises(InvalidRequest):
        booking.reserve("flight", code, "42", places=places, key="k")


def test_a_trip_is_confirmed_as_a_whole_or_not_at_all() -> None:
    booking_ids, authorisation_id = reserve("42"), authorise("42")
    booking.cancel("car", key="42:car")

    with pytest.raises(NotReserved, match="it is cancelled"):
        booking.confirm("42", booking_ids, authorisation_id, key="k")
    with pytest.raises(InvalidRequest, match="nothing to confirm"):
        booking.confirm("42", [], authorisation_id, key="k")

    assert audit(engine()).trips["42"].confirmed == 0
    assert booking.confirm("42", booking_ids[:2], authorisation_id, key="k")["confirmation_id"]


def test_a_trip_cannot_confirm_what_another_one_reserved() -> None:
    with pytest.raises(NotReserved, match="not one of its own"):
        booking.confirm("42", reserve("43"), authorise("42"), key="k")


def test_what_was_confirmed_cannot_be_cancelled() -> None:
    complete("42")

    with pytest.raises(NotReserved, match="it is confirmed"):
        booking.cancel("hotel", key="42:hotel")


def test_trips_over_the_same_offers_in_any_sequence_do_not_deadlock() -> None:
    def travel(number: int) -> None:
        order: list[Kind] = ["flight", "hotel", "car"]
        for turn in range(3):
            trip_id = f"{number}:{turn}"
            booking_ids = reserve(trip_id, *order[:: 1 if number % 2 else -1])
            if turn == 2:
                booking.confirm(trip_id, booking_ids, authorise(trip_id), key=f"{trip_id}:confirm")
            else:
                for kind in order:
                    booking.cancel(kind, key=f"{trip_id}:{kind}")

    assert at_once(*(lambda n=n: travel(n) for n in range(8))) == [None] * 8
    assert audit(engine()).violations == ()
    assert available("car") == 2


# -- money


@pytest.mark.parametrize("undo", ["void", "capture"])
def test_nothing_is_confirmed_without_an_open_authorisation_of_its_own(undo: str) -> None:
    booking_ids, authorisation_id = reserve("42"), authorise("42")
    if undo == "void":
        authorisation.void(key="42:pay")
    else:
        authorisation.capture("42", authorisation_id, PRICE, key="early")

    with pytest.raises(NotOpen, match=f"settled by a {undo}"):
        booking.confirm("42", booking_ids, authorisation_id, key="k")
    with pytest.raises(NotOpen, match="not one of its own"):
        booking.confirm("42", booking_ids, authorise("43"), key="k")


def test_what_was_captured_cannot_be_voided_nor_captured_again_nor_for_more() -> None:
    authorisation_id = authorise("42")

    with pytest.raises(InvalidRequest, match=r"640\.00 was authorised"):
        authorisation.capture("42", authorisation_id, PRICE + Decimal("0.01"), key="more")
    authorisation.capture("42", authorisation_id, PRICE, key="c")
    with pytest.raises(NotOpen, match="settled by a capture"):
        authorisation.capture("42", authorisation_id, PRICE, key="again")
    with pytest.raises(NotOpen, match="settled by a capture"):
        authorisation.void(key="42:pay")


def test_of_a_void_and_a_capture_at_the_same_moment_one_is_refused() -> None:
    trips = {str(number): authorise(str(number)) for number in range(8)}

    answers = at_once(
        *(lambda t=t, a=a: authorisation.capture(t, a, PRICE, key=f"{t}:capture") for t, a in trips.items()),
        *(lambda t=t: authorisation.void(key=f"{t}:pay") for t in trips),
    )

    for capture, void in zip(answers[:8], answers[8:], strict=True):
        assert (type(capture), type(void)) in {(dict, NotOpen), (NotOpen, NoneType)}


def test_of_a_void_and_a_confirmation_at_the_same_moment_the_later_one_sees_the_earlier() -> None:
    trips = {str(number): (reserve(str(number)), authorise(str(number))) for number in range(8)}

    answers = at_once(
        *(lambda t=t, b=b, a=a: booking.confirm(t, b, a, key=f"{t}:confirm") for t, (b, a) in trips.items()),
        *(lambda t=t: authorisation.void(key=f"{t}:pay") for t in trips),
    )

    # A void asks nobody whether something was confirmed: that is what a saga, and its pivot, are for.
    refused = [str(trip) for trip in range(8) if isinstance(answers[trip], NotOpen)]
    assert not any(isinstance(answer, Exception) for answer in answers[8:])
    confirmed = {trip.trip_id for trip in audit(engine()).trips.values() if trip.confirmed}
    assert confirmed == set(trips) - set(refused)
    unauthorised = {v.subject for v in audit(engine()).violations if v.kind == "confirmed unauthorised"}
    assert unauthorised == confirmed


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE shop.offer SET available = available + 1", "places_conserved"),
        ("UPDATE shop.offer SET available = available - 11, reserved = reserved + 11", "available_check"),
        ("UPDATE shop.booking SET status = 'confirmed' WHERE trip_id = 'bad'", "confirmed_has_confirmation"),
        (
            "UPDATE shop.booking SET status = 'confirmed', confirmation_id = (SELECT id FROM shop.confirmation) "
            "WHERE trip_id = 'bad'",
            "confirmed_by_own_confirmation",
        ),
        (
            "INSERT INTO shop.confirmation (key, trip_id, authorisation_id) "
            "SELECT 'x', 'bad', id FROM shop.authorisation WHERE trip_id = 'open'",
            "confirmed_on_own_authorisation",
        ),
        (
            "INSERT INTO shop.confirmation (key, trip_id, authorisation_id) "
            "SELECT 'x', trip_id, authorisation_id FROM shop.confirmation",
            "one_confirmation_per_authorisation",
        ),
        (
            "INSERT INTO shop.settlement (authorisation_id, kind, authorised, captured) "
            "SELECT authorisation_id, 'void', authorised, 0 FROM shop.settlement WHERE kind = 'capture'",
            "one_settlement_per_authorisation",
        ),
        (
            "INSERT INTO shop.settlement (authorisation_id, kind, authorised, captured) "
            "SELECT id, 'capture', amount, amount + 0.01 FROM shop.authorisation WHERE trip_id = 'open'",
            "captured_within_authorised",
        ),
        (
            "INSERT INTO shop.settlement (authorisation_id, kind, authorised, captured) "
            "SELECT id, 'capture', amount + 1, amount + 1 FROM shop.authorisation WHERE trip_id = 'open'",
            "authorised_is_the_authorisation",
        ),
        (
            "INSERT INTO shop.settlement (authorisation_id, kind, authorised, captured) "
            "SELECT id, 'void', amount, amount FROM shop.authorisation WHERE trip_id = 'open'",
            "void_captures_nothing",
        ),
    ],
)
def test_the_database_itself_refuses_wrong_books(statement: str, constraint: str) -> None:
    complete("good")
    compensate("bad")
    authorise("open")

    with pytest.raises(IntegrityError, match=constraint):
        execute(statement)
