"""An undo fails: it is tried again, the others run all the same, and nothing reads `compensated` before it is true."""

import pytest

from sagas import SagaStatus, StepStatus, TransitionRefused
from tests.conftest import Shop
from tests.support import gates, journal, scripted


def test_a_compensation_that_fails_twice_is_tried_again_and_succeeds(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"c": ["no"], "undo b": ["flaky", "invalid"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "undo b", "undo a"]
    undone = run.steps[1].compensation
    assert undone is not None
    assert (undone.status, undone.attempts, undone.round) == (StepStatus.COMPLETED, 3, 1)


@pytest.mark.parametrize("stuck", ["d", "b", "a"])
def test_h13_the_other_compensations_run_when_one_has_failed_for_good(busy_shop: Shop, stuck: str) -> None:
    run = busy_shop.start(scripted.five, {"e": ["no"], f"undo {stuck}": "invalid"})

    assert run.wait(30) is SagaStatus.FAILED
    others = [name for name in "dcba" if name != stuck]
    assert busy_shop.effects(run) == [*"abcd", *(f"undo {name}" for name in others)]
    statuses = {step.name: step.status for step in run.steps}
    assert statuses == {
        **dict.fromkeys(others, StepStatus.COMPENSATED),
        stuck: StepStatus.FAILED,
        "e": StepStatus.FAILED,
    }


def test_h13_two_compensations_that_fail_for_good_do_not_stop_the_third(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.five, {"d": ["no"], "undo c": "invalid", "undo b": "invalid"})

    assert run.wait(30) is SagaStatus.FAILED
    assert busy_shop.effects(run) == ["a", "b", "c", "undo a"]
    reasons = [entry.step for entry in run.history() if entry.event == "needs_a_person"]
    assert sorted(str(reason) for reason in reasons) == ["b", "c"]


def test_a_failed_compensation_keeps_its_own_error_beside_the_one_that_turned_the_saga_back(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"c": ["no:sold out"], "undo b": "invalid:account closed"})
    run.wait(30)

    undone = run.steps[1].compensation
    assert undone is not None
    assert undone.error is not None
    assert (undone.attempts, undone.error.type, undone.error.message) == (4, "builtins.ValueError", "account closed")
    assert run.error is not None
    assert run.error.message == "sold out"


def test_an_operators_retry_runs_only_the_undo_that_is_missing(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"c": ["no"], "undo b": "broken:account"})
    assert run.wait(30) is SagaStatus.FAILED
    assert busy_shop.effects(run) == ["a", "b", "undo a"]

    gates.open_gate(busy_shop.database_url, run, "account")
    run.retry("fixed", by="maria")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "undo a", "undo b"]
    assert [step.status for step in run.steps[:2]] == [StepStatus.COMPENSATED] * 2
    (asked,) = [entry for entry in run.history() if entry.event == "retry_requested"]
    assert asked.detail == {"reason": "fixed", "by": "maria"}
    # The same undo: the service that did it already must recognise it.
    assert journal.entries(busy_shop.database_url, run.id)[-1] == ("undo b", f"comp:{run.id}:b")


def test_an_operators_retry_that_fails_again_ends_failed_again(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"c": ["no"], "undo b": "broken:account", "undo a": "broken:account"})
    assert run.wait(30) is SagaStatus.FAILED

    run.retry("perhaps")
    assert run.wait(30) is SagaStatus.FAILED
    assert busy_shop.effects(run) == ["a", "b"]
    gates.open_gate(busy_shop.database_url, run, "account")
    run.retry("now")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "undo b", "undo a"]


def test_only_a_failed_saga_can_be_retried(busy_shop: Shop) -> None:
    completed = busy_shop.start(scripted.three)
    compensated = busy_shop.start(scripted.three, {"b": ["no"]})
    completed.wait(30), compensated.wait(30)

    for run in (completed, compensated):
        with pytest.raises(TransitionRefused, match=str(run.status)):
            run.retry("why not")


@pytest.mark.parametrize("behaviour", ["exit", "retry", "raise:memory", "raise:interrupt"])
def test_a_compensation_runs_again_whatever_ends_its_body(busy_shop: Shop, behaviour: str) -> None:
    run = busy_shop.start(scripted.three, {"c": ["no"], "undo b": [behaviour]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "undo b", "undo a"]


@pytest.mark.parametrize("answer", ["ignore", "reject", "requeue"])
def test_a_compensation_that_ignores_or_rejects_fails_in_the_open(busy_shop: Shop, answer: str) -> None:
    run = busy_shop.start(scripted.three, {"c": ["no"], "undo b": [f"raise:{answer}"]})

    assert run.wait(30) is SagaStatus.FAILED
    assert busy_shop.effects(run) == ["a", "b", "undo a"]
    assert [step.status for step in run.steps[:2]] == [StepStatus.COMPENSATED, StepStatus.FAILED]


@pytest.mark.parametrize("result", ["set", "nul", "nan", "big"])
def test_an_undo_whose_result_cannot_be_stored_is_done_all_the_same(busy_shop: Shop, result: str) -> None:
    run = busy_shop.start(scripted.three, {"c": ["no"], "undo b": [f"after:return:{result}"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "undo b", "undo a"]
