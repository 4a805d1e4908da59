"""Stored times are the moment at which something was done, not at which its transaction began."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, text

from sagas.engine import JoinedConnection
from sagas.model import Address, SagaStatus, Tick
from sagas.store import NewInstance, uuid7
from tests.support.bench import PLACED, THREE, Background, Bench

LONG = 1.5  # seconds that the caller's transaction has been open


def step_rows(bench: Bench, run: UUID) -> Sequence[Row[Any]]:
    found = bench.store.instances.look(run, events=False)
    assert found is not None
    return found[1]


def test_h9_a_start_in_a_long_transaction_is_not_overdue_when_it_commits(bench: Bench) -> None:
    bench.store.starting.register(THREE)
    new = NewInstance(id=uuid7(), plan=THREE, key="k", data="{}", deadline=None, deadline_seconds=20.0)

    with bench.store.database.transaction() as connection:
        connection.execute(text("SELECT pg_sleep(:long)"), {"long": LONG})
        bench.store.starting.insert_in(JoinedConnection(connection), new, PLACED)
        began = connection.scalar(text("SELECT now()"))

    assert isinstance(began, datetime)
    row = bench.store.instances.read(new.id)
    assert row is not None
    assert row.created_at - began >= timedelta(seconds=LONG)
    assert row.due_at - began >= timedelta(seconds=LONG + 20)
    (step,) = step_rows(bench, new.id)
    assert step.dispatched_at - began >= timedelta(seconds=LONG)
    assert bench.store.sweeping.take_due(10) == []


def test_h9_a_completion_in_the_steps_own_long_transaction_is_of_now(bench: Bench) -> None:
    run, token = bench.start(), uuid4()
    bench.claim(run, token=token)

    with bench.store.database.transaction() as connection:
        began = connection.scalar(text("SELECT now()"))
        connection.execute(text("SELECT pg_sleep(:long)"), {"long": LONG})
        bench.complete(run, THREE, Address(0), token, connection=connection)

    assert isinstance(began, datetime)
    done, born = step_rows(bench, run)
    row = bench.store.instances.read(run)
    assert row is not None
    for moment in (done.finished_at, born.created_at, born.dispatched_at, row.updated_at):
        assert moment - began >= timedelta(seconds=LONG)


def test_h9_a_deadline_in_seconds_counts_from_the_first_claim(bench: Bench) -> None:
    # Given: it waited for a minute before anybody claimed it
    run = bench.start(deadline_seconds=20.0)
    bench.age(60)
    assert bench.apply(run, Tick()).state.status is SagaStatus.PENDING
    bench.claim(run)

    # Then: its time begins now, and ends
    assert bench.apply(run, Tick()).state.status is SagaStatus.PENDING
    bench.age(21)
    assert bench.apply(run, Tick()).state.status is SagaStatus.COMPENSATING


def test_a_deadline_as_a_moment_is_that_moment_claimed_or_not(bench: Bench) -> None:
    run = bench.start(deadline=bench.store.sweeping.clock() + timedelta(seconds=20))
    assert bench.apply(run, Tick()).state.status is SagaStatus.PENDING
    bench.age(21)

    assert bench.apply(run, Tick()).state.status is SagaStatus.COMPENSATED


def test_h9_the_clock_is_read_after_the_lock_was_waited_for(bench: Bench) -> None:
    """Else an event that waited for its turn would store the time at which it queued up."""
    # Given
    run = bench.start()
    with bench.store.database.transaction() as connection:
        assert bench.store.instances.lock(connection, run) is not None
        waiting = Background(lambda: now_as_loaded(bench, run))
        bench.wait_for_lock_waiters(1)

        # When
        released = connection.scalar(text("SELECT clock_timestamp()"))

    # Then
    assert isinstance(released, datetime)
    assert waiting.join() >= released


def now_as_loaded(bench: Bench, run: UUID) -> datetime:
    with bench.store.instances.transaction() as connection:
        loaded = bench.store.instances.lock(connection, run)
        assert loaded is not None
        return loaded.now
