"""The travel example, end to end: branches side by side on real workers, and services that say no."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from config.demo import faults, shelves
from config.demo.books import Violation
from config.demo.travel_books import audit
from config.demo.travel_ledger import TripBook
from config.servers import EmbeddedBroker, EmbeddedPostgres
from sagas import SagaHandle, SagaStatus
from tasks.services import barrier
from tasks.services.barrier import Call
from tasks.services.booking import Kind
from tasks.services.database import engine, transaction
from tasks.travel import travel
from tests.conftest import GivenPostgres
from tests.support.examples import PATIENCE, Examples, examples, steps
from tests.support.trips import CODES, PRICE, go_on_sale
from tests.support.workers import eventually

RESERVATIONS = ["reserve_flight", "reserve_hotel", "reserve_car"]
SOLD_OUT = "convertible"


@pytest.fixture(scope="module")
def agency(
    postgres: EmbeddedPostgres | GivenPostgres, broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Examples]:
    with examples(postgres, broker, tmp_path_factory.mktemp("agency")) as made:
        go_on_sale(1000)
        shelves.put_on_sale("car", SOLD_OUT, 0)
        yield made


@pytest.fixture
def trip_id() -> str:
    return uuid4().hex


def trip(trip_id: str, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"trip_id": trip_id, "travellers": 2, "price": PRICE}
    return given | CODES | changes


def violations(run: SagaHandle) -> tuple[Violation, ...]:
    """What does not add up in the books, given how the trip says that it ended."""
    trip_id, completed = str(run.key), run.status is SagaStatus.COMPLETED
    return audit(
        engine(), completed=[trip_id] if completed else [], compensated=[] if completed else [trip_id]
    ).violations


def book(run: SagaHandle) -> TripBook:
    return audit(engine()).trips[str(run.key)]


@contextmanager
def offers_held(*kinds: Kind) -> Iterator[None]:
    """Nobody reserves or cancels anything (or none of these kinds) until the end of the block."""
    with transaction() as connection:
        connection.execute(text("SELECT FROM shop.offer WHERE kind = ANY(:k) FOR UPDATE"), {"k": [*(kinds or CODES)]})
        yield


def waiting_for(statement: str) -> int:
    """How many sessions wait for a lock with such a statement."""
    with transaction() as connection:
        waiting: int = connection.execute(
            text("""
                SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0 AND query ~ :statement
            """),
            {"statement": statement},
        ).scalar_one()
    return waiting


# -- going well


def test_a_trip_is_reserved_authorised_confirmed_captured_and_told(agency: Examples, trip_id: str) -> None:
    run, end = agency.run(travel, trip(trip_id), trip_id)

    assert end == "completed"
    assert set(steps(run).values()) == {"completed"}
    assert violations(run) == ()
    assert (book(run).flight, book(run).hotel, book(run).car) == (True, True, True)
    assert (book(run).captured, book(run).notifications) == (PRICE, 1)


@pytest.mark.parametrize("car", [None, ""])
def test_who_wants_no_car_gets_none_and_travels_all_the_same(agency: Examples, trip_id: str, car: str | None) -> None:
    run, end = agency.run(travel, trip(trip_id, car=car), trip_id)

    assert end == "completed"
    assert [name for name, status in steps(run).items() if status == "skipped"] == ["reserve_car"]
    assert violations(run) == ()
    assert (book(run).confirmed, book(run).car) == (2, False)


def test_flight_hotel_and_car_are_reserved_side_by_side(agency: Examples, trip_id: str) -> None:
    with offers_held():
        run = agency.start(travel, trip(trip_id), trip_id)
        eventually(lambda: waiting_for("shop.offer") == 3, "three reservations to be under way")

    assert run.wait(PATIENCE) == "completed"
    assert violations(run) == ()


# -- going wrong before the pivot


@pytest.mark.parametrize("refusing", ["flight", "hotel", "car"])
def test_if_one_reservation_is_refused_the_others_are_cancelled(agency: Examples, trip_id: str, refusing: str) -> None:
    faults.inject(refusing, "reserve", "refuse", order_id=trip_id)

    run, end = agency.run(travel, trip(trip_id), trip_id)

    assert end == "compensated"
    seen = steps(run)
    assert seen[f"reserve_{refusing}"] == "failed"
    # A branch that had not begun when the other one failed never begins.
    others = {seen[step] for step in RESERVATIONS if step != f"reserve_{refusing}"}
    assert others <= {"compensated", "skipped"}
    assert violations(run) == ()


def test_reservations_that_are_under_way_when_the_car_is_sold_out_are_awaited_and_cancelled(
    agency: Examples, trip_id: str
) -> None:
    with offers_held("flight", "hotel"):
        run = agency.start(travel, trip(trip_id, car=SOLD_OUT), trip_id)
        eventually(lambda: waiting_for("shop.offer") == 2, "flight and hotel to be under way")
        eventually(lambda: run.status == "compensating", "the car to be refused")
        assert [steps(run)[name] for name in RESERVATIONS] == ["running", "running", "failed"]

    assert run.wait(PATIENCE) == "compensated"
    assert [steps(run)[name] for name in RESERVATIONS] == ["compensated", "compensated", "failed"]
    assert violations(run) == ()
    assert book(run).cancelled == 2


def test_a_car_that_nobody_wanted_is_not_cancelled_either(agency: Examples, trip_id: str) -> None:
    faults.inject("authorisation", "authorise", "refuse", order_id=trip_id)

    run, end = agency.run(travel, trip(trip_id, car=None), trip_id)

    assert end == "compensated"
    assert [steps(run)[name] for name in RESERVATIONS] == ["compensated", "compensated", "skipped"]
    assert violations(run) == ()


def test_a_reservation_that_is_given_up_in_doubt_is_cancelled_too(agency: Examples, trip_id: str) -> None:
    faults.inject("car", "reserve", "error", moment="after", order_id=trip_id)

    run, end = agency.run(travel, trip(trip_id), trip_id)

    assert end == "compensated"
    assert [steps(run)[name] for name in RESERVATIONS] == ["compensated"] * 3
    assert violations(run) == ()
    assert book(run).cancelled == 3


def test_if_the_card_is_declined_everything_is_cancelled_side_by_side(agency: Examples, trip_id: str) -> None:
    faults.inject("authorisation", "authorise", "refuse", order_id=trip_id)
    with engine().connect() as door:
        with offers_held():
            run = agency.start(travel, trip(trip_id), trip_id)
            barrier.enter(door, Call("authorisation", "authorise", f"{run.id}:authorise_payment", trip_id), {})
        eventually(lambda: waiting_for("shop.barrier") == 1, "the authorisation to be under way")
        with offers_held():
            door.rollback()
            eventually(lambda: waiting_for("shop.offer") == 3, "three cancellations to be under way")

    assert run.wait(PATIENCE) == "compensated"
    assert [steps(run)[name] for name in RESERVATIONS] == ["compensated"] * 3
    assert violations(run) == ()
    assert book(run).cancelled == 3


def test_if_the_bookings_are_not_confirmed_the_authorisation_is_voided_before_they_are_cancelled(
    agency: Examples, trip_id: str
) -> None:
    faults.inject("booking", "confirm", "refuse", order_id=trip_id)

    run, end = agency.run(travel, trip(trip_id), trip_id)

    assert end == "compensated"
    assert list(steps(run).values()) == ["compensated"] * 4 + ["failed", "skipped", "skipped"]
    assert violations(run) == ()
    with transaction() as connection:
        [(voided, cancelled)] = connection.execute(
            text("""
                SELECT max(s.moved_at), min(b.moved_at) FROM shop.authorisation a
                  JOIN shop.settlement s ON s.authorisation_id = a.id
                  JOIN shop.booking b USING (trip_id) WHERE trip_id = :trip_id
            """),
            {"trip_id": trip_id},
        )
    assert voided < cancelled


# -- going wrong from the pivot on


def test_a_confirmation_whose_answer_was_lost_is_asked_for_again_and_made_once(agency: Examples, trip_id: str) -> None:
    faults.inject("booking", "confirm", "error", moment="after", times=1, order_id=trip_id)

    run, end = agency.run(travel, trip(trip_id), trip_id)

    assert end == "completed"
    assert violations(run) == ()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_once_the_trip_is_confirmed_the_capture_is_tried_until_it_succeeds(
    agency: Examples, trip_id: str, moment: str
) -> None:
    fault = faults.inject("authorisation", "capture", "error", moment=moment, times=2, order_id=trip_id)

    run, end = agency.run(travel, trip(trip_id), trip_id)

    assert end == "completed"
    assert faults.hits(fault) == 2
    assert violations(run) == ()
    assert book(run).captured == PRICE


@pytest.mark.parametrize("kind", ["refuse", "error"])
def test_a_trip_completes_though_the_traveller_cannot_be_told(agency: Examples, trip_id: str, kind: str) -> None:
    faults.inject("notification", "send", kind, order_id=trip_id)

    run, end = agency.run(travel, trip(trip_id), trip_id)

    assert end == "completed"
    assert steps(run)["send_itinerary"] == "failed"
    assert violations(run) == ()
    assert book(run).notifications == 0
