"""`max_concurrent`: so many instances of a saga run at once; the others wait in line, in the order of their starts."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from sagas import DefinitionError, Pivot, Retriable, Saga, SagaHandle, SagaStatus, StepStatus, WaitFor
from sagas.model import Address
from tests.conftest import Shop
from tests.support import gates, journal
from tests.support.bench import Bench
from tests.support.programs import briefly
from tests.support.scripted import QUICK, act, step
from tests.support.workers import eventually


def at_most(number: int, **options: Any) -> Saga:
    """A saga of its own for each test: a limit is one of all the instances of a name."""
    return Saga(f"limited-{uuid4().hex}", steps=[step("a"), step("b")], max_concurrent=number, **options)


@pytest.fixture(scope="module")
def four_workers(own_shop: Shop) -> Iterator[Shop]:
    """One application with four workers of two processes each."""
    with briefly(*(own_shop.worker("-c", "2", name=f"worker-{number}") for number in range(4))):
        yield own_shop


def until_only(shop: Shop, runs: list[SagaHandle], running: list[SagaHandle]) -> None:
    """Until these are at the door; then nobody else has begun, whoever looks."""
    for run in running:
        gates.until_reached(shop.database_url, run, "door")
    shop.sagas.sweep()
    assert [run for run in runs if run.steps[0].started_at and not run.status.is_final] == running


def let_go(shop: Shop, run: SagaHandle, ended: SagaStatus = SagaStatus.COMPLETED) -> None:
    gates.open_gate(shop.database_url, run, "door")
    assert run.wait(30) is ended


def most_at_once(shop: Shop, runs: list[SagaHandle]) -> int:
    """How many were between their first and their last effect at the same time."""
    found = "SELECT min(at), max(at) FROM public.journal WHERE saga_id = ANY (%s::uuid[]) GROUP BY saga_id"
    spans = journal.query(shop.database_url, found, [str(run.id) for run in runs])
    moments = sorted([(begun, 1) for begun, _ in spans] + [(ended, -1) for _, ended in spans])
    now, most = 0, 0
    for _, change in moments:
        now += change
        most = max(most, now)
    return most


def slots(shop: Shop, saga: Saga) -> list[tuple[str, bool]]:
    found = "SELECT instance_id, granted_at IS NOT NULL FROM sagas.saga_lock WHERE resource = %s ORDER BY ticket"
    return journal.query(shop.database_url, found, f"limit:{saga.name}")


def test_never_more_than_so_many_run_at_once_and_those_that_wait_come_in_their_order(busy_shop: Shop) -> None:
    saga = at_most(2)
    runs = [busy_shop.start(saga, {"a": ["wait:door"]}) for _ in range(5)]
    one, two, three, four, five = runs

    until_only(busy_shop, runs, [one, two])
    let_go(busy_shop, two)
    until_only(busy_shop, runs, [one, three])
    let_go(busy_shop, one)
    until_only(busy_shop, runs, [three, four])
    let_go(busy_shop, three)
    until_only(busy_shop, runs, [four, five])
    let_go(busy_shop, five)
    let_go(busy_shop, four)
    eventually(lambda: slots(busy_shop, saga) == [], "the last slot to be given back")


@pytest.mark.parametrize("limit", [1, 3])
def test_of_many_on_four_workers_never_more_than_so_many_overlap(four_workers: Shop, limit: int) -> None:
    saga = at_most(limit)
    scripts: list[dict[str, Any]] = [{}, {"b": ["no"]}, {"a": ["flaky"]}]
    # The first effect of each is its step's name, told before anything else happens.
    runs = [four_workers.start(saga, {"a": ["tell:name"]} | scripts[number % 3]) for number in range(24)]

    assert [run.wait(60) is SagaStatus.COMPENSATED for run in runs] == [number % 3 == 1 for number in range(24)]
    assert 1 <= most_at_once(four_workers, runs) <= limit


def test_as_many_as_may_really_do_run_at_once(busy_shop: Shop) -> None:
    saga = at_most(3)
    runs = [busy_shop.start(saga, {"a": ["wait:door"]}) for _ in range(3)]

    until_only(busy_shop, runs, runs)
    for run in runs:
        let_go(busy_shop, run)


def test_two_slots_that_come_free_at_once_are_both_taken(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given: two run, two wait; the processes of the two die with their last completion
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    rows, saga = Bench(shop.database_url, shop.sagas.engine.store), at_most(2)
    plan = saga.plan(shop.sagas.engine)
    runs = [shop.start(saga) for _ in range(4)]
    for run in runs[:2]:
        for position in range(2):
            rows.step(run.id, plan, Address(position))
    assert [granted for _, granted in slots(shop, saga)] == [True, True, False, False]

    shop.sagas.sweep()

    assert slots(shop, saga) == [(str(run.id), True) for run in runs[2:]]
    assert all(rows.claim(run.id) for run in runs[2:])


def test_a_limit_counts_a_saga_that_waits(busy_shop: Shop) -> None:
    saga = Saga(
        f"limited-{uuid4().hex}",
        steps=[step("a"), WaitFor("approval", timeout=3600), step("b")],
        max_concurrent=1,
    )
    first, second = busy_shop.start(saga), busy_shop.start(saga)
    eventually(lambda: first.steps[1].started_at, "the wait to begin")
    busy_shop.sagas.sweep()
    assert busy_shop.effects(second) == []

    first.signal("approval")
    second.signal("approval")

    assert (first.wait(30), second.wait(30)) == (SagaStatus.COMPLETED, SagaStatus.COMPLETED)


def test_a_cancelled_one_gives_its_slot_to_the_next(busy_shop: Shop) -> None:
    saga = at_most(1)
    first, gives_up, third = (busy_shop.start(saga, {"a": ["wait:door"]}) for _ in range(3))
    until_only(busy_shop, [first, gives_up, third], [first])

    gives_up.cancel("changed mind")
    first.cancel("changed mind as well")

    let_go(busy_shop, first, SagaStatus.COMPENSATED)
    let_go(busy_shop, third)
    assert (gives_up.status, busy_shop.effects(gives_up)) == (SagaStatus.COMPENSATED, [])


def test_m4_a_failed_one_gives_its_slot_back_and_keeps_its_locks(busy_shop: Shop) -> None:
    saga = at_most(1, locks=["account:{account}"])
    mine, script = uuid4().hex, {"b": ["no"], "undo a": "broken:bank"}
    failed = busy_shop.sagas.start(saga, {"script": script, "account": mine})
    assert failed.wait(30) is SagaStatus.FAILED

    other = busy_shop.sagas.start(saga, {"script": {}, "account": uuid4().hex})
    assert other.wait(30) is SagaStatus.COMPLETED
    same = busy_shop.sagas.start(saga, {"script": {}, "account": mine})
    busy_shop.sagas.sweep()
    assert busy_shop.effects(same) == []

    gates.open_gate(busy_shop.database_url, failed, "bank")
    failed.retry("the bank is back")
    assert (failed.wait(30), same.wait(30)) == (SagaStatus.COMPENSATED, SagaStatus.COMPLETED)


def test_a_failed_one_gives_its_slot_to_the_next(busy_shop: Shop) -> None:
    saga = at_most(1)
    failed, second = busy_shop.start(saga, {"b": ["no"], "undo a": "invalid"}), busy_shop.start(saga)

    assert (failed.wait(30), second.wait(30)) == (SagaStatus.FAILED, SagaStatus.COMPLETED)


def test_what_a_person_lets_go_on_needs_no_slot(busy_shop: Shop) -> None:
    saga = at_most(1)
    failed = busy_shop.start(saga, {"b": ["no"], "undo a": "broken:door"})
    second = busy_shop.start(saga, {"a": ["wait:door"]})
    assert failed.wait(30) is SagaStatus.FAILED
    gates.until_reached(busy_shop.database_url, second, "door")

    # What is undone hurts nobody: a person's word is above the limit
    gates.open_gate(busy_shop.database_url, failed, "door")
    failed.retry("the bank is back")

    assert failed.wait(30) is SagaStatus.COMPENSATED
    let_go(busy_shop, second)


def forward_only() -> Saga:
    steps = [step("a"), Pivot(act, name="p"), Retriable(act, name="r", retry=QUICK)]
    return Saga(f"limited-{uuid4().hex}", steps=steps, max_concurrent=1)


def stuck(shop: Shop, saga: Saga, script: str = "broken:bank") -> SagaHandle:
    """It has failed past its pivot, and its cause is cured."""
    run = shop.start(saga, {"r": script})
    assert run.wait(30) is SagaStatus.FAILED
    gates.open_gate(shop.database_url, run, "bank")
    return run


def test_d29_a_failed_one_that_is_retried_waits_for_its_slot_behind_those_who_came_before(busy_shop: Shop) -> None:
    saga = forward_only()
    failed = stuck(busy_shop, saga)
    second = busy_shop.start(saga, {"a": ["wait:door"]})
    gates.until_reached(busy_shop.database_url, second, "door")
    third = busy_shop.start(saga, {"a": ["wait:door"]})

    failed.retry("mended")

    assert failed.status is SagaStatus.RUNNING
    assert "waits for limit:" in failed.timeline()
    let_go(busy_shop, second)
    gates.until_reached(busy_shop.database_url, third, "door")
    busy_shop.sagas.sweep()
    assert slots(busy_shop, saga) == [(str(third.id), True), (str(failed.id), False)]
    assert busy_shop.effects(failed) == ["a", "p"]
    let_go(busy_shop, third)
    assert failed.wait(30) is SagaStatus.COMPLETED
    eventually(lambda: slots(busy_shop, saga) == [], "the last slot to be given back")


def test_d29_while_a_retried_one_runs_nobody_else_begins(busy_shop: Shop) -> None:
    saga = forward_only()
    failed = stuck(busy_shop, saga, "broken:bank, wait:door")
    failed.retry("mended")
    gates.until_reached(busy_shop.database_url, failed, "door")

    other = busy_shop.start(saga)
    busy_shop.sagas.sweep()
    assert busy_shop.effects(other) == []

    let_go(busy_shop, failed)
    assert other.wait(30) is SagaStatus.COMPLETED


def test_d29_one_that_ends_by_a_persons_word_takes_no_slot(busy_shop: Shop) -> None:
    saga = forward_only()
    failed = stuck(busy_shop, saga)

    failed.skip("done by hand")

    assert failed.status is SagaStatus.COMPLETED
    assert slots(busy_shop, saga) == []


def test_a_saga_that_waits_for_its_slot_has_not_begun(busy_shop: Shop) -> None:
    saga = at_most(1)
    first, second = (busy_shop.start(saga, {"a": ["wait:door"]}, deadline=30) for _ in range(2))
    gates.until_reached(busy_shop.database_url, first, "door")

    assert second.status is SagaStatus.PENDING
    assert [step.status for step in second.steps] == [StepStatus.PENDING] * 2
    # Seconds of a deadline count from the first step, not from the start
    row = busy_shop.sagas.engine.store.instances.read(second.id)
    assert row is not None
    assert (row.deadline, row.deadline_seconds) == (None, 30.0)
    let_go(busy_shop, first)
    let_go(busy_shop, second)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "two", 100_001])
def test_a_limit_that_is_none_is_refused(limit: Any) -> None:
    with pytest.raises(DefinitionError, match=r"max_concurrent=.* must be a whole number from 1"):
        Saga("wrong", steps=[step("a")], max_concurrent=limit)
