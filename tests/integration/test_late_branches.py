"""Branches whose worker was frozen and declared dead come back with successes: nothing is joined twice, nothing missed.

One worker runs the first attempt of every scenario's branch; its parent is stopped, so that no heartbeat comes, while
its children go on. A second worker takes everything over. Then each test lets a first attempt end.
"""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from sagas import SagaHandle, SagaStatus, StepStatus
from tests.conftest import Shop
from tests.support import gates, journal, shapes
from tests.support.branches import done_and_undone, pending, statuses, steps_begun, undo_effects
from tests.support.programs import briefly
from tests.support.workers import eventually

#: Every first attempt waits at the gate "late"; what the others do makes the scenario.
SCENARIOS = {
    "completed elsewhere": (shapes.beside, {"c": ["wait:late"]}),
    "running elsewhere": (shapes.beside, {"c": ["wait:late", "wait:other"]}),
    "in a lane": (shapes.lanes, {"b": ["wait:late"], "b2": ["wait:other"]}),
    "undone": (shapes.beside, {"c": ["wait:late", "no"]}),
    "undone for its sibling": (shapes.beside, {"c": ["wait:late"], "d": "wait:other,no"}),
    "side by side": (shapes.undone_beside, {"c": ["wait:late"], "e": ["no"]}),
}


@dataclass
class Frozen:
    """The shop and its scenarios, whose first worker was declared dead."""

    shop: Shop
    runs: dict[str, SagaHandle] = field(default_factory=dict)

    def open(self, scenario: str, gate: str) -> SagaHandle:
        gates.open_gate(self.shop.database_url, self.runs[scenario], gate)
        return self.runs[scenario]

    def let_first_attempt_end(self, scenario: str) -> SagaHandle:
        """Returns when the library has said what it makes of it."""
        run = self.open(scenario, "late")
        eventually(lambda: outcomes(run), f"a late success to be noted: {scenario}")
        return run


@pytest.fixture(scope="module")
def frozen(own_shop: Shop) -> Iterator[Frozen]:
    frozen = Frozen(own_shop)
    first = own_shop.worker("-c", str(len(SCENARIOS) + 2), name="first")
    with briefly(first):
        for name, (saga, script) in SCENARIOS.items():
            frozen.runs[name] = own_shop.start(saga, script)
        for run in frozen.runs.values():
            gates.until_reached(own_shop.database_url, run, "late")
        unclaimed = "SELECT count(*) FROM sagas.saga_step WHERE status = 'pending'"
        eventually(lambda: journal.query(own_shop.database_url, unclaimed)[0][0] == 0, "the other branches to begin")
        os.kill(first.pid, signal.SIGSTOP)
        with briefly(own_shop.worker("-c", "6", name="second")):
            taken = "SELECT count(DISTINCT instance_id) FROM sagas.saga_step WHERE losses > 0"
            eventually(
                lambda: journal.query(own_shop.database_url, taken)[0][0] == len(SCENARIOS),
                "everything to be taken over",
            )
            yield frozen


def test_c4_a_late_success_of_a_branch_that_was_completed_elsewhere_is_absorbed(frozen: Frozen) -> None:
    assert frozen.runs["completed elsewhere"].wait(30) is SagaStatus.COMPLETED

    run = frozen.let_first_attempt_end("completed elsewhere")

    assert outcomes(run) == ["absorbed by the idempotency key"]
    assert (run.status, pending(frozen.shop, run)) == (SagaStatus.COMPLETED, 0)
    assert Counter(frozen.shop.effects(run)) == {"a": 1, "b": 1, "c": 2, "d": 1, "e": 1}
    assert {key for what, key in journal.entries(frozen.shop.database_url, run.id) if what == "c"} == {f"{run.id}:c"}


def test_c4_a_late_success_of_a_branch_that_runs_elsewhere_joins_nothing(frozen: Frozen) -> None:
    gates.until_reached(frozen.shop.database_url, frozen.runs["running elsewhere"], "other")
    waiting = frozen.runs["running elsewhere"]
    eventually(lambda: statuses(waiting)["d"] is StepStatus.COMPLETED, "its siblings to be done")

    run = frozen.let_first_attempt_end("running elsewhere")
    assert (statuses(run)["c"], statuses(run)["e"]) == (StepStatus.RUNNING, StepStatus.PENDING)
    assert pending(frozen.shop, run) == 1
    frozen.open("running elsewhere", "other")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert frozen.shop.effects(run).count("e") == 1


def test_c4_a_late_success_in_a_lane_does_not_walk_on_beside_the_one_that_took_over(frozen: Frozen) -> None:
    gates.until_reached(frozen.shop.database_url, frozen.runs["in a lane"], "other")

    run = frozen.let_first_attempt_end("in a lane")
    frozen.open("in a lane", "other")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert Counter(frozen.shop.effects(run)) == {"a": 1, "a2": 1, "b": 2, "b2": 1, "b3": 1, "c": 1}


def test_c8_a_late_success_of_a_branch_that_said_no_elsewhere_is_undone_again_and_alone(frozen: Frozen) -> None:
    # A lost first attempt is doubt: the branch was undone although its second attempt said no.
    assert frozen.runs["undone"].wait(30) is SagaStatus.COMPENSATED
    assert done_and_undone(frozen.shop.effects(frozen.runs["undone"]))[1] == undo_effects(
        steps_begun(frozen.runs["undone"])
    )

    run = frozen.let_first_attempt_end("undone")
    eventually(lambda: frozen.shop.effects(run).count("undo c") == 2, "another round of the undo")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert frozen.shop.effects(run)[-2:] == ["c", "undo c"]
    assert journal.entries(frozen.shop.database_url, run.id)[-1] == ("undo c", f"comp:{run.id}:c:2")


@pytest.mark.parametrize("scenario", ["undone for its sibling", "side by side"])
def test_c8_a_late_success_of_a_branch_that_was_undone_with_its_siblings_is_undone_again_and_alone(
    frozen: Frozen, scenario: str
) -> None:
    frozen.open(scenario, "other")
    assert frozen.runs[scenario].wait(30) is SagaStatus.COMPENSATED
    before = frozen.shop.effects(frozen.runs[scenario])

    run = frozen.let_first_attempt_end(scenario)
    eventually(lambda: frozen.shop.effects(run).count("undo c") == 2, "another round of the undo")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert frozen.shop.effects(run) == [*before, "c", "undo c"]


def test_c4_a_late_success_of_a_branch_that_nobody_took_over_is_its_completion_and_the_join(shop: Shop) -> None:
    run = shop.start(shapes.beside, {"c": ["wait:late"]})
    worker = shop.worker("-c", "3")
    with briefly(worker):
        gates.until_reached(shop.database_url, run, "late")
        eventually(lambda: pending(shop, run) == 1, "its siblings to be done")
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            eventually(lambda: shop.sagas.sweep() and run.steps[2].losses == 1, "the sweep to declare it dead")
            gates.open_gate(shop.database_url, run, "late")
            eventually(lambda: outcomes(run), "the late success")
        finally:
            os.kill(worker.pid, signal.SIGCONT)

        assert run.wait(60) is SagaStatus.COMPLETED
    assert outcomes(run) == ["accepted as the completion"]
    assert Counter(shop.effects(run)) == dict.fromkeys("abcde", 1)


def outcomes(run: SagaHandle) -> list[str]:
    return [entry.detail["outcome"] for entry in run.history() if entry.event == "late_success"]
