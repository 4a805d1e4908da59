"""The books of the trips show what is wrong with them, and nothing else."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from config.demo import books, shelves
from config.demo.travel_books import TravelBooks, audit
from tasks.services import booking, inventory
from tasks.services.database import engine
from tests.support.services import at_once, execute, kinds
from tests.support.trips import CODES, authorise, compensate, complete, go_on_sale, reserve


@pytest.fixture(autouse=True)
def tables(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tables in a fresh database, with ten seats, ten rooms and ten cars on sale."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", database_url)
    go_on_sale()
    yield
    engine().dispose()


def audited(**ends: Any) -> TravelBooks:
    return audit(engine(), completed=["good", "carless"], compensated=["bad"], **ends)


def test_books_of_trips_with_and_without_a_car_add_up_whether_the_travellers_were_told_or_not() -> None:
    complete("good")
    complete("carless", "flight", "hotel")
    compensate("bad")
    execute("DELETE FROM shop.notification WHERE order_id = 'carless'")

    seen = audited(quiet=timedelta(0))
    assert seen.violations == ()
    assert [seen.trips[trip].car for trip in ("good", "carless", "bad")] == [True, False, False]
    assert seen.offers["car", CODES["car"]].available == 9
    assert seen.offers["hotel", CODES["hotel"]].available == 8


def test_trips_and_orders_are_in_books_of_their_own() -> None:
    complete("good")
    shelves.stock_up("pen", 1)
    inventory.reserve("42", [{"sku": "pen", "quantity": 1}], key="42:reserve")

    assert list(audit(engine()).trips) == ["good"]
    assert list(books.audit(engine()).orders) == ["42"]


def test_books_add_up_at_every_moment_while_trips_move() -> None:
    done = threading.Event()
    go_on_sale(40)

    def travel(number: int) -> None:
        for turn in range(8):
            (complete if turn % 2 else compensate)(f"{number}:{turn}")

    def watch() -> list[str]:
        seen = []
        while not done.is_set():
            seen += [str(violation) for violation in audit(engine()).violations]
        return seen

    with ThreadPoolExecutor(1) as thread:
        watcher = thread.submit(watch)
        travelled = at_once(*(lambda n=n: travel(n) for n in range(4)))
        done.set()
        assert watcher.result(10) == []
    assert travelled == [None] * 4
    assert audit(engine(), quiet=timedelta(0)).violations == ()


def test_a_trip_on_its_way_is_no_violation_until_it_has_been_quiet_for_too_long() -> None:
    booking_ids, authorisation_id = reserve("42"), authorise("42")

    assert audit(engine()).violations == audit(engine(), quiet=timedelta(hours=1)).violations == ()
    assert kinds(audit(engine(), quiet=timedelta(0)).violations) == {"still reserved", "not voided"}

    booking.confirm("42", booking_ids, authorisation_id, key="k")
    assert kinds(audit(engine(), quiet=timedelta(0)).violations) == {"not captured"}


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("offer and bookings differ", "UPDATE shop.offer SET available = available - 1, reserved = reserved + 1"),
        ("booked twice", "INSERT INTO shop.booking VALUES ('x', 'x', 'good', 'car', 'compact', 1)"),
        ("partly confirmed", "UPDATE shop.booking SET status = 'reserved', confirmation_id = NULL WHERE kind = 'car'"),
        ("confirmed unauthorised", "UPDATE shop.settlement SET kind = 'void', captured = 0"),
        ("authorised twice", "INSERT INTO shop.authorisation VALUES ('x', 'x', 'good', 640)"),
        ("captured unconfirmed", "UPDATE shop.booking SET status = 'cancelled', confirmation_id = NULL"),
        ("told unconfirmed", "UPDATE shop.booking SET status = 'cancelled', confirmation_id = NULL"),
        ("told twice", "INSERT INTO shop.notification VALUES ('x', 'x', 'good', 'itinerary')"),
        ("undone but there", "UPDATE shop.booking SET status = 'reserved' WHERE trip_id = 'bad' AND kind = 'car'"),
        ("undone but there", "DELETE FROM shop.settlement WHERE kind = 'void'"),
        ("not confirmed", "DELETE FROM shop.booking WHERE trip_id = 'good' AND kind = 'hotel'"),
        ("not captured", "DELETE FROM shop.settlement WHERE kind = 'capture'"),
        ("not captured", "UPDATE shop.settlement SET captured = 1 WHERE kind = 'capture'"),
        ("still reserved", "INSERT INTO shop.booking VALUES ('x', 'x', 'good', 'car', 'compact', 1)"),
        ("still reserved", "UPDATE shop.booking SET status = 'reserved' WHERE trip_id = 'bad' AND kind = 'car'"),
        ("not voided", "DELETE FROM shop.settlement WHERE kind = 'void'"),
        ("captured all the same", "UPDATE shop.settlement SET kind = 'capture', captured = 1"),
        ("told all the same", "UPDATE shop.notification SET order_id = 'bad'"),
    ],
)
def test_the_audit_finds_broken_books(kind: str, damage: str) -> None:
    complete("good")
    complete("carless", "flight", "hotel")
    compensate("bad")
    assert audited().violations == ()

    execute(damage)

    assert kind in kinds(audited().violations)


@pytest.mark.parametrize(
    ("kind", "table", "constraint", "damage"),
    [
        ("places not conserved", "shop.offer", "places_conserved", "UPDATE shop.offer SET initial = initial + 1"),
        (
            "captured too much",
            "shop.settlement",
            "captured_within_authorised",
            "UPDATE shop.settlement SET captured = captured + 1 WHERE kind = 'capture'",
        ),
    ],
)
def test_the_audit_finds_what_only_a_lost_constraint_lets_through(
    kind: str, table: str, constraint: str, damage: str
) -> None:
    complete("good")
    execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}", damage)

    assert kind in kinds(audit(engine(), completed=["good"]).violations)


def test_a_trip_cannot_have_ended_both_ways() -> None:
    with pytest.raises(ValueError, match="42"):
        audit(engine(), completed=["42"], compensated=["42"])
