"""Workers that were frozen and declared dead come back with successes: absorbed, accepted, or undone again.

One worker runs the first attempt of every scenario's step; its parent is stopped, so that no heartbeat comes, while
its children go on. A second worker takes everything over. Then each test lets a first attempt end.
"""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from sagas import Saga, SagaHandle, SagaStatus, StepStatus
from tests.conftest import Shop
from tests.support import gates, journal, scripted
from tests.support.programs import briefly
from tests.support.workers import Worker, eventually

Script = Mapping[str, Sequence[str]]

RECORDING = Saga(
    "late-record",
    steps=[scripted.step("a"), scripted.step("b", compensation=scripted.tell_what_is_seen, records=("charge_id",))],
)
#: Every first attempt waits at the gate "late"; what the others do makes the scenario.
SCENARIOS: dict[str, tuple[Saga, Script]] = {
    "completed elsewhere": (scripted.three, {"b": ["wait:late"]}),
    "running elsewhere": (scripted.three, {"b": ["wait:late", "wait:other"]}),
    "running elsewhere, then no": (scripted.three, {"b": ["wait:late", "wait:other,no"]}),
    "undone": (scripted.three, {"b": ["wait:late", "no"]}),
    "undo running": (scripted.three, {"b": ["wait:late", "no"], "undo b": ["wait:undo"]}),
    "undo to come": (scripted.three, {"a": ["wait:late"], "c": ["no"], "undo b": ["wait:undo"]}),
    "completed, then undone": (scripted.three, {"a": ["wait:late"], "c": ["no"]}),
    "undo failed": (scripted.three, {"b": ["wait:late", "no"], "undo b": "broken:bank"}),
    "late no": (scripted.three, {"b": ["wait:late,no"]}),
    "late failure after the undo": (scripted.three, {"b": ["wait:late,flaky", "no"]}),
    "late record": (RECORDING, {"b": ["wait:late,record:ch_late,wait:rest", "no"]}),
    "pivot": (scripted.pivoted, {"p": ["wait:late", "no"]}),
    "pivot, then undone": (scripted.pivoted, {"p": ["wait:late", "no"]}),
    "own transaction": (scripted.three, {"b": ["write:first,wait:late", "write:second"]}),
    "undo frozen": (scripted.three, {"c": ["no"], "undo b": ["wait:late"]}),
    "cancelled": (scripted.three, {"b": ["wait:late", "wait:other"]}),
}


@dataclass
class Frozen:
    """The shop, its scenarios, and the worker that was declared dead."""

    shop: Shop
    first: Worker
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
    frozen = Frozen(own_shop, own_shop.worker("-c", str(len(SCENARIOS)), name="first"))
    with briefly(frozen.first):
        for name, (saga, script) in SCENARIOS.items():
            frozen.runs[name] = own_shop.start(saga, script)
        for run in frozen.runs.values():
            gates.until_reached(own_shop.database_url, run, "late")
        os.kill(frozen.first.pid, signal.SIGSTOP)
        with briefly(own_shop.worker("-c", "8", name="second")):
            taken = "SELECT count(*) FROM sagas.saga_step WHERE losses > 0"
            eventually(
                lambda: journal.query(own_shop.database_url, taken)[0][0] == len(SCENARIOS),
                "everything to be taken over",
            )
            yield frozen


def test_c4_a_late_success_of_a_step_that_was_completed_elsewhere_is_absorbed(frozen: Frozen) -> None:
    assert frozen.runs["completed elsewhere"].wait(30) is SagaStatus.COMPLETED

    run = frozen.let_first_attempt_end("completed elsewhere")

    assert outcomes(run) == ["absorbed by the idempotency key"]
    assert run.status is SagaStatus.COMPLETED
    assert frozen.shop.effects(run) == ["a", "b", "c", "b"]
    assert {key for what, key in journal.entries(frozen.shop.database_url, run.id) if what == "b"} == {f"{run.id}:b"}
    assert run.data["b_done"] == 2


def test_c4_a_late_success_of_a_step_that_runs_elsewhere_leaves_it_to_that_run(frozen: Frozen) -> None:
    gates.until_reached(frozen.shop.database_url, frozen.runs["running elsewhere"], "other")

    run = frozen.let_first_attempt_end("running elsewhere")
    assert (run.status, run.steps[1].status) == (SagaStatus.RUNNING, StepStatus.RUNNING)
    frozen.open("running elsewhere", "other")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert run.steps[1].in_doubt is False


def test_c5_a_late_success_is_not_forgotten_when_the_other_run_says_no(frozen: Frozen) -> None:
    gates.until_reached(frozen.shop.database_url, frozen.runs["running elsewhere, then no"], "other")

    run = frozen.let_first_attempt_end("running elsewhere, then no")
    frozen.open("running elsewhere, then no", "other")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert frozen.shop.effects(run) == ["a", "b", "undo b", "undo a"]


def test_c8_a_success_that_lands_after_its_undo_is_undone_again_under_a_key_of_its_own(frozen: Frozen) -> None:
    # A lost first attempt is doubt: the step was undone although its second attempt said no.
    assert frozen.runs["undone"].wait(30) is SagaStatus.COMPENSATED
    assert frozen.shop.effects(frozen.runs["undone"]) == ["a", "undo b", "undo a"]

    run = frozen.let_first_attempt_end("undone")
    eventually(lambda: len(frozen.shop.effects(run)) == 5, "another round of the undo")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert journal.entries(frozen.shop.database_url, run.id) == [
        ("a", f"{run.id}:a"),
        ("undo b", f"comp:{run.id}:b"),
        ("undo a", f"comp:{run.id}:a"),
        ("b", f"{run.id}:b"),
        ("undo b", f"comp:{run.id}:b:2"),
    ]
    assert journal.action_keys(frozen.shop.database_url, run.id)[-1] == f"{run.id}:b"
    undone = run.steps[1].compensation
    assert undone is not None
    assert (undone.round, undone.status) == (2, StepStatus.COMPLETED)


def test_c8_a_success_that_lands_while_its_undo_runs_gets_another_round_after_it(frozen: Frozen) -> None:
    gates.until_reached(frozen.shop.database_url, frozen.runs["undo running"], "undo")

    run = frozen.let_first_attempt_end("undo running")
    assert frozen.shop.effects(run) == ["a", "b"]
    frozen.open("undo running", "undo")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert frozen.shop.effects(run) == ["a", "b", "undo b", "undo b", "undo a"]
    assert [key for what, key in journal.entries(frozen.shop.database_url, run.id) if what == "undo b"] == [
        f"comp:{run.id}:b",
        f"comp:{run.id}:b:2",
    ]


def test_c8_a_success_that_lands_before_its_undo_needs_no_second_round(frozen: Frozen) -> None:
    gates.until_reached(frozen.shop.database_url, frozen.runs["undo to come"], "undo")

    run = frozen.let_first_attempt_end("undo to come")
    frozen.open("undo to come", "undo")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert frozen.shop.effects(run) == ["a", "b", "a", "undo b", "undo a"]


def test_c8_a_completed_and_undone_step_is_undone_again_when_its_lost_run_reports(frozen: Frozen) -> None:
    assert frozen.runs["completed, then undone"].wait(30) is SagaStatus.COMPENSATED

    run = frozen.let_first_attempt_end("completed, then undone")
    eventually(lambda: frozen.shop.effects(run).count("undo a") == 2, "another round of the undo")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert frozen.shop.effects(run) == ["a", "b", "undo b", "undo a", "a", "undo a"]


def test_c8_a_late_success_whose_undo_has_failed_is_left_to_the_person_who_looks_at_it(frozen: Frozen) -> None:
    assert frozen.runs["undo failed"].wait(30) is SagaStatus.FAILED

    run = frozen.let_first_attempt_end("undo failed")
    assert run.status is SagaStatus.FAILED
    frozen.open("undo failed", "bank")
    run.retry("the bank answers again")

    # The undo that failed may have been half done before the effect landed, and its key would say so: one more round.
    assert run.wait(30) is SagaStatus.COMPENSATED
    undos = [("undo b", f"comp:{run.id}:b"), ("undo b", f"comp:{run.id}:b:2")]
    assert journal.entries(frozen.shop.database_url, run.id)[-2:] == undos
    assert frozen.shop.effects(run) == ["a", "undo a", "b", "undo b", "undo b"]


def test_a_late_no_changes_nothing(frozen: Frozen) -> None:
    run = frozen.runs["late no"]
    assert run.wait(30) is SagaStatus.COMPLETED
    before = frozen.shop.effects(run), run.history()

    frozen.open("late no", "late")
    eventually(
        lambda: f"saga {run.id}, step 1.0.0: failure of an execution that lost" in frozen.first.text(), "its end"
    )

    assert run.status is SagaStatus.COMPLETED
    assert (frozen.shop.effects(run), run.history()) == before


def test_c8_a_late_failure_that_leaves_its_outcome_open_is_undone_again(frozen: Frozen) -> None:
    run = frozen.runs["late failure after the undo"]
    assert run.wait(30) is SagaStatus.COMPENSATED

    frozen.open("late failure after the undo", "late")
    eventually(lambda: frozen.shop.effects(run).count("undo b") == 2, "another round of the undo")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert frozen.shop.effects(run) == ["a", "undo b", "undo a", "undo b"]
    assert outcomes(run) == []


def test_d12_what_is_recorded_without_a_claim_is_kept_and_undone_at_once(frozen: Frozen) -> None:
    run = frozen.runs["late record"]
    assert run.wait(30) is SagaStatus.COMPENSATED
    before = frozen.shop.effects(run)
    assert [what.partition(" with")[0] for what in before] == ["a", "undo b", "undo a"]

    frozen.open("late record", "late")  # it records, and does not end
    eventually(lambda: len(frozen.shop.effects(run)) > len(before), "another round of the undo")

    assert run.wait(30) is SagaStatus.COMPENSATED
    (again,) = frozen.shop.effects(run)[len(before) :]
    assert "charge_id=ch_late" in again
    assert "charge_id" not in before[1]
    frozen.open("late record", "rest")


def test_c6_a_late_success_of_a_pivot_is_recorded_for_the_person_who_looks_at_it(frozen: Frozen) -> None:
    # In doubt since its first attempt was lost: its no could not turn the saga back.
    assert frozen.runs["pivot"].wait(30) is SagaStatus.FAILED

    run = frozen.let_first_attempt_end("pivot")

    assert run.status is SagaStatus.FAILED
    assert frozen.shop.effects(run) == ["a", "p"]
    assert outcomes(run) == ["recorded for the person who looks at it"]


def test_a_pivot_that_succeeds_after_its_saga_was_undone_is_left_to_a_person(frozen: Frozen) -> None:
    """A person has said that it did not happen, and then its frozen execution ends well."""
    run = frozen.runs["pivot, then undone"]
    assert run.wait(30) is SagaStatus.FAILED
    run.resolve("the carrier knows of none", happened=False)
    eventually(lambda: run.status is SagaStatus.COMPENSATED, "it to be undone")

    frozen.let_first_attempt_end("pivot, then undone")

    assert run.status is SagaStatus.FAILED
    assert frozen.shop.effects(run) == ["a", "undo a", "p"]
    assert [step.name for step in run.snapshot().needs_a_person] == ["p"]
    assert run.id in [waiting.id for waiting in frozen.shop.sagas.list(needs_person=True)]
    run.resolve("called it off by telephone", step="p", happened=True, undo=False)
    assert run.status is SagaStatus.COMPENSATED
    assert frozen.shop.effects(run) == ["a", "undo a", "p"]


def test_h12_a_lost_claim_rolls_the_steps_own_transaction_back_and_is_no_late_success(frozen: Frozen) -> None:
    run = frozen.runs["own transaction"]
    assert run.wait(30) is SagaStatus.COMPLETED

    frozen.open("own transaction", "late")
    eventually(lambda: f"saga {run.id}, step 1.0.0: claim lost" in frozen.first.text(), "the rollback")

    assert journal.ledger(frozen.shop.database_url, run.id) == ["second"]
    assert outcomes(run) == []


def test_c8_a_late_end_of_an_undo_that_was_done_elsewhere_changes_nothing(frozen: Frozen) -> None:
    assert frozen.runs["undo frozen"].wait(30) is SagaStatus.COMPENSATED

    run = frozen.let_first_attempt_end("undo frozen")

    assert run.status is SagaStatus.COMPENSATED
    assert frozen.shop.effects(run) == ["a", "b", "undo b", "undo a", "undo b"]


def test_c7_a_late_success_while_a_cancel_waits_for_the_other_run_is_undone_once(frozen: Frozen) -> None:
    run = frozen.runs["cancelled"]
    gates.until_reached(frozen.shop.database_url, run, "other")
    run.cancel("changed mind")

    frozen.let_first_attempt_end("cancelled")
    assert frozen.shop.effects(run) == ["a", "b"]
    frozen.open("cancelled", "other")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert frozen.shop.effects(run) == ["a", "b", "b", "undo b", "undo a"]


def test_c4_a_late_success_of_a_step_that_nobody_took_over_is_its_completion(shop: Shop) -> None:
    run = shop.start(scripted.three, {"b": ["wait:late"]})
    worker = shop.worker("-c", "2")
    with briefly(worker):
        gates.until_reached(shop.database_url, run, "late")
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            eventually(lambda: shop.sagas.sweep() and run.steps[1].losses == 1, "the sweep to declare it dead")
            gates.open_gate(shop.database_url, run, "late")
            eventually(lambda: outcomes(run), "the late success")
        finally:
            os.kill(worker.pid, signal.SIGCONT)

        assert run.wait(60) is SagaStatus.COMPLETED
    assert outcomes(run) == ["accepted as the completion"]
    assert shop.effects(run) == ["a", "b", "c"]


def outcomes(run: SagaHandle) -> list[str]:
    return [entry.detail["outcome"] for entry in run.history() if entry.event == "late_success"]
