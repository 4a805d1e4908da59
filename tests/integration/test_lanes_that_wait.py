"""Lanes in which something is waited for: time, a signal or another saga holds up its own lane and no other."""

from typing import Any

import pytest

from sagas import Child, Saga, SagaHandle, SagaStatus, Sleep, StepStatus, WaitFor, parallel
from tests.conftest import Shop
from tests.support import gates, journal, scripted
from tests.support.branches import done_and_undone, pending, statuses
from tests.support.deploys import let_time_pass
from tests.support.workers import eventually

PACKING = Saga("packing-beside", steps=[scripted.step("box"), scripted.step("tape")])
#: One lane for each kind of waiting, in its middle; and one that only works.
WAITING = Saga(
    "waiting-lanes",
    steps=[
        parallel(
            [scripted.step("a"), Sleep(hours=1), scripted.step("a2")],
            [scripted.step("b"), WaitFor("approval", timeout=3600), scripted.step("b2")],
            [scripted.step("c"), Child(PACKING), scripted.step("c2")],
            [scripted.step("d"), scripted.step("d2")],
        ),
        scripted.step("last"),
    ],
)
#: The same at the heads of the lanes, after a step and before the end.
AT_HEADS = Saga(
    "waiting-heads",
    steps=[scripted.step("a"), parallel(Sleep(hours=1), WaitFor("approval", timeout=3600), scripted.step("d"))],
)


def status_of(run: SagaHandle, name: str) -> StepStatus:
    return statuses(run)[name]


def wake(shop: Shop, run: SagaHandle) -> None:
    eventually(lambda: next(step for step in run.steps if step.name == "sleep").started_at, "it to sleep")
    let_time_pass(shop, run)


def test_every_lane_waits_for_itself_and_all_are_joined(busy_shop: Shop) -> None:
    run = busy_shop.start(WAITING)
    eventually(lambda: status_of(run, "c2") is status_of(run, "d2") is StepStatus.COMPLETED, "the others to be done")
    assert sorted(busy_shop.effects(run)) == ["a", "b", "c", "c2", "d", "d2"]
    assert pending(busy_shop, run) == 2

    run.signal("approval", {"by": "maria"})
    eventually(lambda: status_of(run, "b2") is StepStatus.COMPLETED, "the lane that waited for the signal")
    assert (status_of(run, "last"), pending(busy_shop, run)) == (StepStatus.PENDING, 1)
    wake(busy_shop, run)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run)[-2:] == ["a2", "last"]
    assert (run.data["by"], run.data["tape_done"], pending(busy_shop, run)) == ("maria", 1, 0)


def test_lanes_may_begin_and_end_with_a_wait(busy_shop: Shop) -> None:
    run = busy_shop.start(AT_HEADS)
    eventually(lambda: status_of(run, "d") is StepStatus.COMPLETED, "the lane that works")
    run.signal("approval")
    assert pending(busy_shop, run) == 1
    wake(busy_shop, run)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "d"]


def test_a_signal_that_came_before_its_lane_is_kept_for_it(busy_shop: Shop) -> None:
    run = busy_shop.start(WAITING, {"b": ["wait:start"]})
    gates.until_reached(busy_shop.database_url, run, "start")
    run.signal("approval")
    gates.open_gate(busy_shop.database_url, run, "start")
    eventually(lambda: status_of(run, "b2") is StepStatus.COMPLETED, "the lane to go on")
    wake(busy_shop, run)

    assert run.wait(30) is SagaStatus.COMPLETED


@pytest.mark.parametrize("failing", ["d2", "a", "c", "last"])
def test_lanes_that_wait_are_not_waited_for_once_the_saga_turns_back(busy_shop: Shop, failing: str) -> None:
    run = busy_shop.start(WAITING, {failing: ["wait:answer,no"]})
    if failing == "last":
        run.signal("approval")
        eventually(lambda: status_of(run, "b2") is StepStatus.COMPLETED, "the signal to be heard")
        wake(busy_shop, run)
    gates.until_reached(busy_shop.database_url, run, "answer")
    waiting = [name for name in ("a", "b") if name != failing]
    eventually(lambda: all(status_of(run, name) is StepStatus.COMPLETED for name in waiting), "them to wait")
    gates.open_gate(busy_shop.database_url, run, "answer")

    assert run.wait(30) is SagaStatus.COMPENSATED
    done, undos = done_and_undone(busy_shop.effects(run))
    assert sorted(undos) == sorted(f"undo {name}" for name in done)
    for child in children(busy_shop, run):
        assert child.wait(30) is SagaStatus.COMPENSATED
        done, undos = done_and_undone(busy_shop.effects(child))
        assert undos == [f"undo {name}" for name in reversed(done)]


def test_a_cancel_awaits_a_child_saga_in_a_lane_and_undoes_it(busy_shop: Shop) -> None:
    child = Saga("packing-slowly", steps=[scripted.step("box", task=scripted.act)])
    saga = Saga("waiting-for-a-child", steps=[parallel(scripted.step("a"), Child(child)), scripted.step("b")])
    run = busy_shop.start(saga, {"box": ["wait:tape"]})
    started = eventually(lambda: children(busy_shop, run), "the child to be started")[0]
    gates.until_reached(busy_shop.database_url, started, "tape")

    run.cancel("changed mind")
    assert run.status is SagaStatus.COMPENSATING
    gates.open_gate(busy_shop.database_url, started, "tape")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(started) == ["box", "undo box"]
    assert "b" not in busy_shop.effects(run)


def children(shop: Shop, run: SagaHandle) -> list[Any]:
    found = "SELECT id FROM sagas.saga_instance WHERE parent_id = %s"
    return [shop.sagas.get(child) for (child,) in journal.query(shop.database_url, found, str(run.id))]
