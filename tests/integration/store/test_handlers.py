"""A handler that only fails is paused and tried again; alerts come once a minute for each kind (V26)."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest

from sagas.model import Address, ExecutionStatus
from sagas.model.choreography.events import LetterSkipped, PutOff
from sagas.model.choreography.state import Delivery
from sagas.store import Alarm, Handlers
from sagas.store.handlers import DEAD_BEFORE_PAUSE
from tests.support.bench import Background, Bench
from tests.support.runs import RunBench
from tests.unit.model.choreography.graphs import graph, handler

LINE = graph(handler("charge", "A"), ends=("E",))
CHARGE = ("fulfilment", "charge")
OVER = "UPDATE {s}.saga_handler SET paused_until = clock_timestamp()"
A_MINUTE_LATER = "UPDATE {s}.saga_alarm SET told_at = told_at - interval '1 minute'"


@pytest.fixture
def handlers(bench: Bench) -> Iterator[Handlers]:
    yield bench.store.handlers
    bench.sql("DELETE FROM {s}.saga_handler")
    bench.sql("DELETE FROM {s}.saga_alarm")


@pytest.fixture
def runs(bench: Bench) -> RunBench:
    return RunBench(bench.store)


def pause(handlers: Handlers) -> None:
    for _ in range(DEAD_BEFORE_PAUSE):
        handlers.note_death(*CHARGE, "shop.Away")


def dies(runs: RunBench) -> UUID:
    run, address = runs.start(LINE), Address(1)
    token = runs.claim(run, address, "tasks.charge")
    assert token is not None
    runs.fails(run, address, token)
    return run


def test_v26_a_handler_that_only_fails_is_paused_and_one_success_begins_the_count_anew(handlers: Handlers) -> None:
    for number in range(1, DEAD_BEFORE_PAUSE):
        deaths = handlers.note_death(*CHARGE, "shop.Away")
        assert (deaths.in_row, deaths.paused_until) == (number, None)
    assert handlers.resume(*CHARGE) is None, "it was not paused"
    assert handlers.note_death(*CHARGE, "shop.Away").in_row == 1

    pause(handlers)

    (paused,) = handlers.paused("fulfilment")
    assert (paused.handler, paused.last_error, paused.paused_until - paused.paused_at) == (
        "charge",
        "shop.Away",
        pytest.approx(timedelta(minutes=1), abs=timedelta(seconds=5)),
    )
    assert handlers.paused("another") == []
    assert handlers.resume(*CHARGE) == paused.paused_at
    assert handlers.paused() == []


def test_v26_one_delivery_is_tried_after_a_pause_and_the_next_pause_is_twice_as_long(
    handlers: Handlers, bench: Bench
) -> None:
    pause(handlers)
    assert not handlers.takes_probe(*CHARGE), "the pause has just begun"
    bench.sql(OVER)

    assert [handlers.takes_probe(*CHARGE) for _ in range(3)] == [True, False, False]

    assert bench.sql("SELECT pause_seconds FROM {s}.saga_handler") == [(120.0,)]
    (before,) = handlers.paused()
    assert handlers.note_death(*CHARGE, "shop.Away").paused_until is not None
    (after,) = handlers.paused()
    assert after.paused_until > before.paused_until
    handlers.resume(*CHARGE)
    assert bench.sql("SELECT pause_seconds FROM {s}.saga_handler") == [(60.0,)]


def test_v26_a_claim_says_that_its_handler_is_paused_and_what_is_put_off_goes_on_with_it(
    handlers: Handlers, runs: RunBench, bench: Bench
) -> None:
    run, address = runs.start(LINE), Address(1)
    pause(handlers)
    (paused,) = handlers.paused()
    asked = {"task": "tasks.charge", "worker_id": None, "delivery": None, "known_plans": []}
    token = UUID(int=1)
    claim = bench.store.hot.claim(run, address, token=token, is_delivery=True, **asked)
    assert claim is not None
    assert (getattr(claim, "dead_in_row", 0), getattr(claim, "paused_until", None)) == (
        DEAD_BEFORE_PAUSE,
        paused.paused_until,
    )

    runs.happens(run, PutOff(address=address, token=token, until=paused.paused_until))

    (row,) = runs.state(run).steps
    assert (row.status, row.attempts, row.not_before, row.doubt) == (
        ExecutionStatus.PENDING,
        0,
        paused.paused_until,
        False,
    )
    assert runs.state(run).due_at == paused.paused_until
    handlers.resume(*CHARGE)
    state = runs.state(run)
    assert (state.steps[0].not_before, state.due_at is not None and state.due_at < paused.paused_until) == (None, True)


def test_v26_all_that_waits_goes_on_however_many_there_are(
    handlers: Handlers, runs: RunBench, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagas.store.handlers.HURRIED_AT_ONCE", 2)
    waiting = [runs.start(LINE) for _ in range(5)]
    pause(handlers)
    bench.sql("UPDATE {s}.saga_step SET not_before = clock_timestamp() + interval '1 hour', dispatched_at = NULL")

    handlers.resume(*CHARGE)

    assert [runs.state(run).steps[0].not_before for run in waiting] == [None] * 5


def test_v26_what_waits_in_a_run_that_is_locked_just_now_goes_on_too(
    handlers: Handlers, runs: RunBench, bench: Bench
) -> None:
    waiting = [runs.start(LINE) for _ in range(2)]
    pause(handlers)
    bench.sql("UPDATE {s}.saga_step SET not_before = clock_timestamp() + interval '1 hour', dispatched_at = NULL")
    holder = bench.driver()
    holder.autocommit = False
    holder.cursor().execute("SELECT FROM sagas.saga_instance WHERE id = %s FOR UPDATE", (str(waiting[0]),))

    resumed = Background(lambda: handlers.resume(*CHARGE))
    bench.wait_for_lock_waiters(1)
    holder.rollback()
    assert resumed.join() is not None

    assert [runs.state(run).steps[0].not_before for run in waiting] == [None] * 2


def test_v26_a_run_whose_holder_is_frozen_keeps_no_person_waiting(
    handlers: Handlers, runs: RunBench, bench: Bench
) -> None:
    runs.start(LINE)
    pause(handlers)
    bench.sql("UPDATE {s}.saga_step SET not_before = clock_timestamp() + interval '1 hour', dispatched_at = NULL")
    holder = bench.driver()
    holder.autocommit = False
    holder.cursor().execute("SELECT FROM sagas.saga_instance FOR UPDATE")

    assert Background(lambda: handlers.resume(*CHARGE)).join(10) is not None

    holder.rollback()


def test_v26_letters_of_one_kind_are_told_at_once_and_then_once_a_minute_with_their_number(
    handlers: Handlers, runs: RunBench, bench: Bench
) -> None:
    first = dies(runs)
    (row,) = runs.state(first).steps
    assert row.error is not None
    alarm = Alarm(choreography="fulfilment", handler="charge", error=row.error.type)

    alert, _ = handlers.raise_alarm(alarm)
    assert alert is not None
    assert (alert.count, alert.first) == (1, f"{first}:1.0.0")

    second = dies(runs)
    dies(runs)
    for _ in range(2):
        told, seconds_left = handlers.raise_alarm(alarm)
        assert told is None
        assert 0 < seconds_left <= 60
    assert (handlers.due_alerts(), bench.store.sweeping.look_around().has_alarms) == ([], False)

    bench.sql("UPDATE {s}.saga_step SET dead_at = dead_at - interval '1 minute'")
    bench.sql(A_MINUTE_LATER)
    assert bench.store.sweeping.look_around().has_alarms
    (alert,) = handlers.due_alerts()
    assert (alert.alarm, alert.count, alert.first) == (alarm, 2, f"{second}:1.0.0")
    assert handlers.due_alerts() == []


def skip_of(runs: RunBench, run: UUID) -> LetterSkipped:
    (row,) = runs.state(run).steps
    assert isinstance(row, Delivery)
    assert row.dead_at is not None
    return LetterSkipped(address=row.address, seen=row.dead_at, reason="by hand")


def test_v26_another_kind_is_told_at_once(handlers: Handlers, runs: RunBench, bench: Bench) -> None:
    run = dies(runs)
    handlers.raise_alarm(Alarm(choreography="fulfilment", handler="charge", error="shop.Away"))
    runs.happens(run, skip_of(runs, run))
    runs.publish(run, "E")
    runs.publish(run, "A")

    alert, _ = handlers.raise_alarm(Alarm(choreography="fulfilment", handler="", error="late"))

    assert alert is not None
    assert (alert.count, alert.first) == (1, f"{run}:3")
