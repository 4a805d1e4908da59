"""Semantic locks: who names the same resource comes one after another, in the order of the starts."""

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from sagas import (
    Child,
    DefinitionError,
    MissingInput,
    ResourceLocked,
    Saga,
    SagaHandle,
    SagaStatus,
    StartRefused,
    StepStatus,
    WaitFor,
)
from sagas.model import Address
from tests.conftest import Shop
from tests.support import gates, journal, shapes
from tests.support.bench import Background, Bench
from tests.support.programs import briefly
from tests.support.scripted import step
from tests.support.workers import eventually

locked_wait = Saga(
    "locked-wait", steps=[step("a"), WaitFor("approval", timeout=3600), step("b")], locks=["account:{account}"]
)
refusing_two = Saga("refusing-two", steps=[step("a"), step("b")], locks=["account:{account}"], if_locked="refuse")


@pytest.fixture(scope="module")
def four_workers(own_shop: Shop) -> Iterator[Shop]:
    """One application with four workers."""
    with briefly(*(own_shop.worker("-c", "1", name=f"worker-{number}") for number in range(4))):
        yield own_shop


def account() -> str:
    """One that no other test uses."""
    return uuid4().hex


def start(shop: Shop, saga: Saga, script: Mapping[str, Any] | None = None, **data: Any) -> SagaHandle:
    options = {name: data.pop(name) for name in ("key", "deadline", "if_exists") if name in data}
    return shop.sagas.start(saga, {"script": script or {}, **data}, **options)


def lifetimes(shop: Shop, runs: list[SagaHandle]) -> list[tuple[Any, Any]]:
    """From the first to the last effect of each."""
    found = "SELECT min(at), max(at) FROM public.journal WHERE saga_id = %s"
    return [journal.query(shop.database_url, found, str(run.id))[0] for run in runs]


def line(shop: Shop, resource: str) -> list[tuple[Any, bool]]:
    """Who holds it and who waits for it, in the order of the line."""
    found = "SELECT instance_id, granted_at IS NOT NULL FROM sagas.saga_lock WHERE resource = %s ORDER BY ticket"
    return journal.query(shop.database_url, found, resource)


# -- one after another


def test_sagas_that_name_one_resource_run_one_after_another_in_the_order_of_their_starts(four_workers: Shop) -> None:
    mine = account()
    scripts = [{}, {"b": ["no"]}, {"a": ["flaky"]}]
    runs = [start(four_workers, shapes.locking, scripts[number % 3], account=mine) for number in range(24)]

    ended = [run.wait(60) for run in runs]

    assert [status is SagaStatus.COMPENSATED for status in ended] == [number % 3 == 1 for number in range(24)]
    for before, after in pairwise(lifetimes(four_workers, runs)):
        assert before[1] < after[0]
    eventually(lambda: line(four_workers, f"account:{mine}") == [], "the last one to release it")


def test_sagas_that_name_different_resources_do_not_wait_for_each_other(busy_shop: Shop) -> None:
    runs = [start(busy_shop, shapes.locking, {"a": ["wait:door"]}, account=account()) for _ in range(3)]

    for run in runs:
        gates.until_reached(busy_shop.database_url, run, "door")
    for run in runs:
        gates.open_gate(busy_shop.database_url, run, "door")
    assert [run.wait(30) for run in runs] == [SagaStatus.COMPLETED] * 3


def test_starts_at_once_all_get_their_turn_and_never_two_of_them(four_workers: Shop) -> None:
    mine, together = account(), threading.Barrier(16)

    def begin() -> SagaHandle:
        together.wait(30)
        return start(four_workers, shapes.locking, account=mine)

    runs = [starting.join(60) for starting in [Background(begin) for _ in range(16)]]

    assert {run.wait(60) for run in runs} == {SagaStatus.COMPLETED}
    for before, after in pairwise(sorted(lifetimes(four_workers, runs))):
        assert before[1] < after[0]


def test_two_resources_crosswise_never_deadlock_and_all_end(four_workers: Shop) -> None:
    one, other = account(), account()
    runs = []
    for number in range(20):
        source, target = (one, other) if number % 2 else (other, one)
        script = {"b": ["no"]} if number % 5 == 4 else {}
        runs.append(start(four_workers, shapes.locking_two, script, source=source, target=target))

    ended = [run.wait(60) for run in runs]

    assert ended.count(SagaStatus.COMPENSATED) == 4
    assert ended.count(SagaStatus.COMPLETED) == 16
    for before, after in pairwise(lifetimes(four_workers, runs)):
        assert before[1] < after[0]


def test_who_needs_two_resources_takes_none_before_both_are_free(busy_shop: Shop) -> None:
    # Given: one resource is taken, and somebody waits for it and for another one
    taken, free = account(), account()
    holder = start(busy_shop, shapes.locking, {"a": ["wait:door"]}, account=taken)
    gates.until_reached(busy_shop.database_url, holder, "door")
    both = start(busy_shop, shapes.locking_two, source=free, target=taken)
    busy_shop.sagas.sweep()

    assert [granted for _, granted in line(busy_shop, f"account:{free}")] == [False]

    # And: whoever comes later stays behind it, also for the free one
    later = start(busy_shop, shapes.locking, account=free)
    busy_shop.sagas.sweep()
    assert busy_shop.effects(later) == []
    gates.open_gate(busy_shop.database_url, holder, "door")
    assert [run.wait(30) for run in (holder, both, later)] == [SagaStatus.COMPLETED] * 3
    (_, ended), (begun, _) = lifetimes(busy_shop, [both, later])
    assert ended < begun


# -- released


def test_it_is_held_until_the_last_undo_is_done(busy_shop: Shop) -> None:
    mine = account()
    holder = start(busy_shop, shapes.locking, {"b": ["no"], "undo a": ["wait:door"]}, account=mine)
    second = start(busy_shop, shapes.locking, account=mine)
    gates.until_reached(busy_shop.database_url, holder, "door")
    busy_shop.sagas.sweep()
    assert busy_shop.effects(second) == []

    gates.open_gate(busy_shop.database_url, holder, "door")

    assert (holder.wait(30), second.wait(30)) == (SagaStatus.COMPENSATED, SagaStatus.COMPLETED)


def test_who_waits_in_line_can_be_cancelled_and_holds_up_nobody(busy_shop: Shop) -> None:
    mine = account()
    holder = start(busy_shop, shapes.locking, {"a": ["wait:door"]}, account=mine)
    gates.until_reached(busy_shop.database_url, holder, "door")
    gives_up, patient = (start(busy_shop, shapes.locking, account=mine) for _ in range(2))

    gives_up.cancel("changed mind")

    assert gives_up.wait(30) is SagaStatus.COMPENSATED
    assert [step.status for step in gives_up.steps] == [StepStatus.SKIPPED] * 2
    assert [id_ for id_, _ in line(busy_shop, f"account:{mine}")] == [str(holder.id), str(patient.id)]
    gates.open_gate(busy_shop.database_url, holder, "door")
    assert (holder.wait(30), patient.wait(30)) == (SagaStatus.COMPLETED, SagaStatus.COMPLETED)
    assert busy_shop.effects(gives_up) == []


def test_a_holder_that_is_cancelled_while_it_waits_for_a_signal_releases_it(busy_shop: Shop) -> None:
    mine = account()
    holder, second = start(busy_shop, locked_wait, account=mine), start(busy_shop, shapes.locking, account=mine)
    eventually(lambda: holder.steps[1].started_at, "the wait to begin")
    assert busy_shop.effects(second) == []

    holder.cancel("changed mind")

    assert (holder.wait(30), second.wait(30)) == (SagaStatus.COMPENSATED, SagaStatus.COMPLETED)


def test_a_deadline_ends_the_wait_in_line(busy_shop: Shop) -> None:
    mine = account()
    holder = start(busy_shop, shapes.locking, {"a": ["wait:door"]}, account=mine)
    gates.until_reached(busy_shop.database_url, holder, "door")
    late = start(busy_shop, shapes.locking, account=mine, deadline=datetime.now(UTC) + timedelta(seconds=0.5))

    assert late.wait(30) is SagaStatus.COMPENSATED
    assert late.error is not None
    assert late.error.type == "sagas.DeadlineExceeded"
    gates.open_gate(busy_shop.database_url, holder, "door")
    assert holder.wait(30) is SagaStatus.COMPLETED


def test_what_an_ended_saga_still_holds_whose_process_died_is_released_by_the_sweep(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: the last completion is all that its process still wrote
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    rows = Bench(shop.database_url, shop.sagas.engine.store)
    plan = shapes.locking.plan(shop.sagas.engine)
    holder, second = (start(shop, shapes.locking, account="7") for _ in range(2))
    for position in range(2):
        rows.step(holder.id, plan, Address(position))
    assert holder.status is SagaStatus.COMPLETED
    assert line(shop, "account:7") == [(str(holder.id), True), (str(second.id), False)]

    # When
    shop.sagas.sweep()

    # Then
    assert line(shop, "account:7") == [(str(second.id), True)]
    assert second.steps[0].status is StepStatus.PENDING
    assert rows.claim(second.id) is not None


def test_a_lock_outlives_the_worker_that_ran_its_holder(shop: Shop) -> None:
    first = shop.worker(name="first")
    with briefly(first):
        holder = start(shop, shapes.locking, {"b": ["wait:door"]}, account="7")
        second = start(shop, shapes.locking, account="7")
        gates.until_reached(shop.database_url, holder, "door")
        first.kill()
    assert shop.effects(second) == []
    gates.open_gate(shop.database_url, holder, "door")

    with briefly(shop.worker(name="second")):
        assert (holder.wait(60), second.wait(60)) == (SagaStatus.COMPLETED, SagaStatus.COMPLETED)
    (_, ended), (begun, _) = lifetimes(shop, [holder, second])
    assert ended < begun


# -- M4: a failed one


def test_m4_a_failed_saga_keeps_it_until_a_person_has_resolved_it(busy_shop: Shop) -> None:
    mine = account()
    holder = start(busy_shop, shapes.locking, {"b": ["no"], "undo a": "invalid"}, account=mine)
    second = start(busy_shop, shapes.locking, account=mine)
    assert holder.wait(30) is SagaStatus.FAILED
    busy_shop.sagas.sweep()
    assert busy_shop.effects(second) == []
    assert line(busy_shop, f"account:{mine}") == [(str(holder.id), True), (str(second.id), False)]

    holder.resolve("put back by hand", by="maria")

    assert holder.status is SagaStatus.COMPENSATED
    assert second.wait(30) is SagaStatus.COMPLETED


def test_m4_a_failed_saga_that_is_retried_releases_it_in_the_end(busy_shop: Shop) -> None:
    mine = account()
    holder = start(busy_shop, shapes.locking, {"b": ["no"], "undo a": "broken:bank"}, account=mine)
    second = start(busy_shop, shapes.locking, account=mine)
    assert holder.wait(30) is SagaStatus.FAILED
    gates.open_gate(busy_shop.database_url, holder, "bank")

    holder.retry("the bank is back")

    assert (holder.wait(30), second.wait(30)) == (SagaStatus.COMPENSATED, SagaStatus.COMPLETED)


def test_m4_who_waits_in_line_shows_for_what_and_behind_whom(busy_shop: Shop) -> None:
    mine = account()
    holder = start(busy_shop, shapes.locking, {"b": ["no"], "undo a": "invalid"}, account=mine)
    second = start(busy_shop, shapes.locking, account=mine)
    assert holder.wait(30) is SagaStatus.FAILED

    assert f"account:{mine}" in holder.timeline()
    assert f"account:{mine}" in second.timeline()
    holder.resolve("put back by hand")
    assert second.wait(30) is SagaStatus.COMPLETED


# -- if_locked="refuse"


def test_a_start_that_does_not_wait_is_refused_while_another_one_holds_it(busy_shop: Shop) -> None:
    mine = account()
    holder = start(busy_shop, refusing_two, {"a": ["wait:door"]}, account=mine)
    for _ in range(2):
        with pytest.raises(ResourceLocked, match=f"'refusing-two': another one holds 'account:{mine}'; try again when"):
            start(busy_shop, refusing_two, account=mine)
    gates.open_gate(busy_shop.database_url, holder, "door")
    assert holder.wait(30) is SagaStatus.COMPLETED
    eventually(lambda: line(busy_shop, f"account:{mine}") == [], "its release")

    assert start(busy_shop, refusing_two, account=mine).wait(30) is SagaStatus.COMPLETED


def test_of_two_that_start_at_the_very_same_moment_one_runs_and_the_other_ends_refused(four_workers: Shop) -> None:
    for _ in range(8):
        mine, together = account(), threading.Barrier(2)

        def begin(mine: str = mine, together: threading.Barrier = together) -> SagaHandle | None:
            together.wait(30)
            try:
                return start(four_workers, refusing_two, account=mine)
            except ResourceLocked:
                return None

        runs = [starting.join(60) for starting in [Background(begin) for _ in range(2)]]
        started = [run for run in runs if run is not None]

        ended = sorted(run.wait(60) for run in started)
        assert ended == [SagaStatus.COMPENSATED, SagaStatus.COMPLETED][-len(started) :]
        for run in started:
            if run.status is SagaStatus.COMPENSATED:
                assert run.error is not None
                assert run.error.type == "sagas.ResourceLocked"
                assert four_workers.effects(run) == []


def test_two_starts_that_neither_saw_the_other_leave_exactly_one_running(shop: Shop) -> None:
    # Given: two that are committed before anybody has looked at either
    engine = create_engine(shop.database_url)
    with Session(engine) as one, Session(engine) as two:
        first = shop.sagas.start(refusing_two, {"script": {}, "account": "7"}, session=one)
        second = shop.sagas.start(refusing_two, {"script": {}, "account": "7"}, session=two)
        one.commit()
        two.commit()
    engine.dispose()

    assert [run.status for run in (first, second)] == [SagaStatus.PENDING, SagaStatus.COMPENSATED]
    assert second.error is not None
    assert second.error.type == "sagas.ResourceLocked"
    with briefly(shop.worker("-c", "1")):
        assert first.wait(30) is SagaStatus.COMPLETED


def test_the_same_key_again_gives_the_running_instance_although_it_holds_the_resource(busy_shop: Shop) -> None:
    mine = account()
    run = start(busy_shop, refusing_two, {"a": ["wait:door"]}, account=mine, key=mine)
    try:
        assert start(busy_shop, refusing_two, account=mine, key=mine) == run
    finally:
        gates.open_gate(busy_shop.database_url, run, "door")
        run.wait(30)


# -- refused


def test_a_lock_named_after_what_is_not_there_is_refused(busy_shop: Shop) -> None:
    for data in ({}, {"account": None}):
        with pytest.raises(MissingInput, match=r"'locking': the lock 'account:\{account\}' needs 'account'"):
            busy_shop.sagas.start(shapes.locking, {"script": {}, **data})
    with pytest.raises(DefinitionError, match="needs 'account', but the input has script"):
        Saga("wrong", steps=[step("a")], input=["script"], locks=["account:{account}"])
    with pytest.raises(StartRefused, match="is not a valid resource name"):
        start(busy_shop, shapes.locking, account="x" * 600)


@pytest.mark.parametrize("template", ["", "limit:mine", "account:{}", "account:{a.b}", "account:{a[0]}", "{", 7])
def test_what_cannot_name_a_resource_is_refused_where_it_is_declared(template: Any) -> None:
    with pytest.raises(DefinitionError, match="cannot name a resource"):
        Saga("wrong", steps=[step("a")], locks=[template])


@pytest.mark.parametrize("template", ["account:{account:05d}", "account:{account:{width}}"])
def test_a_format_that_the_data_may_not_fit_is_refused_where_it_is_declared(template: str) -> None:
    with pytest.raises(DefinitionError, match="cannot name a resource"):
        Saga("wrong", steps=[step("a")], locks=[template])


def test_a_saga_with_locks_cannot_be_a_child() -> None:
    with pytest.raises(DefinitionError, match="it has locks or max_concurrent"):
        Saga("wrong", steps=[Child(shapes.locking)])
