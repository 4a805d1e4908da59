"""A saga that sleeps holds neither worker nor message, and wakes up in time whoever is there then."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from redis import Redis
from sqlalchemy import make_url

from sagas import Child, Saga, SagaHandle, SagaStatus, Sleep, StepStatus, parallel
from sagas.engine import CONTROL_QUEUE
from sagas.model import Address
from tests.conftest import Shop
from tests.support import gates, journal, queues, scripted, shapes
from tests.support.bench import Bench
from tests.support.inline import run_messages
from tests.support.programs import briefly
from tests.support.scripted import step
from tests.support.workers import eventually

first = Saga("sleeps-first", steps=[Sleep(seconds=0.3), step("a")])
last = Saga("sleeps-last", steps=[step("a"), Sleep(seconds=0.3)])
only = Saga("only-sleeps", steps=[Sleep(seconds=0.3)])
twice = Saga("sleeps-twice", steps=[Sleep(0.2, name="one"), Sleep(timedelta(seconds=0.2), name="two"), step("a")])
beside_others = Saga(
    "sleeps-beside", steps=[parallel([step("a"), Sleep(hours=1, name="nap"), step("a2")], step("b")), step("c")]
)
alone_in_its_lane = Saga("sleeps-alone", steps=[parallel(Sleep(seconds=0.3), step("b")), step("c")])
a_night = Saga("sleeps-a-night", steps=[step("a"), Sleep(hours=8), step("b")])
at_once_a_night = Saga("sleeps-at-once", steps=[Sleep(hours=8), step("a")])
a_nights_child = Saga("child-sleeps-a-night", steps=[step("x"), Child(at_once_a_night), step("y")])


def until_it_waits(run: SagaHandle, name: str) -> None:
    """Until a step that no worker runs has begun."""
    eventually(
        lambda: any(step.name == name and step.started_at and not step.finished_at for step in run.steps),
        f"{name} to begin",
    )


def wake(shop: Shop, run: SagaHandle, *names: str) -> None:
    """As if the time had passed."""
    shop.sagas.engine.store.sweeping.hasten(run.id, names)
    shop.sagas.engine.loop.poke(run.id)


def slept(run: SagaHandle, name: str) -> timedelta:
    found = next(step for step in run.steps if step.name == name)
    assert found.started_at is not None
    assert found.finished_at is not None
    return found.finished_at - found.started_at


# -- where it may stand


def test_a_sleep_between_two_steps_lets_its_time_pass(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.sleepy)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "b"]
    assert slept(run, "sleep") >= timedelta(seconds=1)
    assert [step.status for step in run.steps] == [StepStatus.COMPLETED] * 3
    assert run.data == {"script": {}, "a_done": 1, "b_done": 1}


@pytest.mark.parametrize(
    ("saga", "effects"), [(first, ["a"]), (last, ["a"]), (only, []), (twice, ["a"])], ids=lambda given: str(given)[:20]
)
def test_a_sleep_may_stand_first_last_alone_and_behind_another(busy_shop: Shop, saga: Saga, effects: list[str]) -> None:
    run = busy_shop.start(saga)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == effects
    assert all(slept(run, part.name) >= timedelta(seconds=0.2) for part in saga.parts if isinstance(part, Sleep))


def test_a_branch_that_sleeps_does_not_hold_up_the_one_beside_it(busy_shop: Shop) -> None:
    run = busy_shop.start(beside_others)
    until_it_waits(run, "nap")
    eventually(lambda: sorted(busy_shop.effects(run)) == ["a", "b"], "the other branch to be done")
    assert run.status is SagaStatus.RUNNING

    wake(busy_shop, run, "nap")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run)[2:] == ["a2", "c"]


def test_a_branch_may_be_nothing_but_a_sleep(busy_shop: Shop) -> None:
    run = busy_shop.start(alone_in_its_lane)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["b", "c"]


def test_a_branch_that_fails_ends_the_sleep_of_the_one_beside_it(busy_shop: Shop) -> None:
    run = busy_shop.start(beside_others, {"b": ["wait:door, no"]})
    until_it_waits(run, "nap")

    gates.open_gate(busy_shop.database_url, run, "door")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "undo a"]
    assert [step.status for step in run.steps[1:3]] == [StepStatus.SKIPPED] * 2


def test_there_is_nothing_to_undo_about_a_sleep(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.sleepy, {"b": ["no:too late"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "undo a"]
    assert [step.status for step in run.steps] == [StepStatus.COMPENSATED, StepStatus.COMPLETED, StepStatus.FAILED]


# -- deadlines


def in_a_second() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=1)


@pytest.mark.parametrize("deadline", [lambda: 1.0, in_a_second], ids=["seconds", "a moment"])
@pytest.mark.parametrize(
    ("saga", "effects"), [(a_night, ["a", "undo a"]), (at_once_a_night, [])], ids=["then", "first"]
)
def test_a_deadline_that_passes_while_it_sleeps_turns_it_back(
    busy_shop: Shop, saga: Saga, effects: list[str], deadline: Callable[[], float | datetime]
) -> None:
    run = busy_shop.start(saga, deadline=deadline())

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == effects
    assert run.error is not None
    assert run.error.type == "sagas.DeadlineExceeded"


def test_a_deadline_beyond_the_sleep_is_kept(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.sleepy, deadline=60)

    assert run.wait(30) is SagaStatus.COMPLETED


# -- what it costs meanwhile


def unacknowledged(shop: Shop) -> int:
    url = make_url(shop.broker_url)
    with Redis(unix_socket_path=f"/{url.database}", db=int(str(url.query["virtual_host"]))) as client:
        return int(client.hlen("unacked"))


def test_what_waits_holds_no_worker_and_no_message(shop: Shop) -> None:
    # Given: some that wait for time, for a signal, for another saga; and a worker with a single process
    waits_at = {
        a_night: "sleep",
        at_once_a_night: "sleep",
        shapes.approved: "approval",
        shapes.first_waits: "approval",
        a_nights_child: "sleeps-at-once",
    }
    runs = {shop.start(saga): name for saga, name in waits_at.items() for _ in range(3)}
    worker = shop.worker("-c", "1")
    with briefly(worker):
        for run, name in runs.items():
            until_it_waits(run, name)

        # Then: nothing of them is in the broker, in the worker's memory, or in the row of what it holds
        eventually(lambda: unacknowledged(shop) == 0, "the last message to be acknowledged")
        assert queues.queued(shop.sagas) == []
        assert queues.queued(shop.sagas, CONTROL_QUEUE) == []
        inspect = shop.sagas.app.control.inspect(timeout=10, limit=1)
        for asked in (inspect.reserved, inspect.active, inspect.scheduled):
            assert list((asked() or {}).values()) == [[]]
        eventually(
            lambda: journal.query(shop.database_url, "SELECT deliveries FROM sagas.saga_worker") == [([],)],
            "a heartbeat that lists nothing",
        )

        # And: its only process does other work
        other = shop.start(scripted.three)
        assert other.wait(30) is SagaStatus.COMPLETED
        assert queues.received(worker)[-3:] == ["three/a", "three/b", "three/c"]
        assert {run.status for run in runs} == {SagaStatus.RUNNING}


def test_who_begins_with_a_sleep_falls_asleep_although_its_starter_died_at_once(shop: Shop) -> None:
    rows = Bench(shop.database_url, shop.sagas.engine.store)
    run = shop.sagas.get(rows.start(at_once_a_night.plan(shop.sagas.engine)))
    assert run.steps[0].started_at is None

    shop.sagas.sweep()

    assert run.steps[0].started_at is not None


# -- waking up


def test_who_fell_asleep_with_one_worker_wakes_up_with_another(shop: Shop) -> None:
    sleeper = shop.worker(name="sleeper")
    with briefly(sleeper):
        run = shop.start(shapes.sleepy)
        until_it_waits(run, "sleep")
        sleeper.kill()

    with briefly(shop.worker(name="waker")):
        assert run.wait(30) is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "b"]


def test_sweeps_at_once_wake_each_sleeper_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    runs = [shop.start(a_night) for _ in range(20)]
    run_messages(shop.sagas.app)
    journal.query(
        shop.database_url,
        "UPDATE sagas.saga_step SET not_before = clock_timestamp() WHERE name = 'sleep' AND status = 'pending'",
    )
    journal.query(shop.database_url, "UPDATE sagas.saga_instance SET due_at = clock_timestamp()")

    with ThreadPoolExecutor(4) as threads:
        moved = list(threads.map(lambda _: shop.sagas.sweep(), range(8)))

    assert sum(moved) >= len(runs)
    assert {run.steps[1].status for run in runs} == {StepStatus.COMPLETED}
    # Nobody takes any in, so some of them may wait in the line.
    sent = Counter(message["root_id"] for message in queues.queued(shop.sagas))
    in_line = journal.query(shop.database_url, "SELECT instance_id FROM sagas.saga_step WHERE line IS NOT NULL")
    assert set(sent.values()) == {1}
    assert sorted([*sent, *(str(run) for (run,) in in_line)]) == sorted(str(run.id) for run in runs)


def test_a_sweep_before_its_time_leaves_a_sleeper_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    run = shop.start(a_night)
    run_messages(shop.sagas.app)
    journal.query(shop.database_url, "UPDATE sagas.saga_instance SET due_at = clock_timestamp()")

    assert shop.sagas.sweep() == 0

    assert run.steps[1].status is StepStatus.PENDING
    due_in = "SELECT due_at - clock_timestamp() > interval '7 hours' FROM sagas.saga_instance"
    assert journal.query(shop.database_url, due_in) == [(True,)]


def test_a_branch_whose_worker_dies_before_its_sleep_begins_does_not_wait_for_the_one_beside_it(shop: Shop) -> None:
    """What no statement can decide is handed over to the loop, and the process may die in between."""
    # Given: two branches with a worker that is alive
    run = shop.start(beside_others)
    rows = Bench(shop.database_url, shop.sagas.engine.store)
    holder, ours, theirs = uuid4(), uuid4(), uuid4()
    rows.beat(holder, "one", "other")
    assert rows.claim(run.id, Address(0, 0), token=ours, worker=holder, delivery="one") is not None
    assert rows.claim(run.id, Address(0, 3), token=theirs, worker=holder, delivery="other") is not None

    # When: of one of them the completion is the last that was heard
    rows.complete(run.id, beside_others.plan(shop.sagas.engine), Address(0, 0), ours)
    shop.sagas.sweep()

    # Then: its next step begins, although the other branch goes on
    assert run.steps[1].started_at is not None
