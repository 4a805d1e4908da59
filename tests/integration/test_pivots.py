"""The pivot is the last step that may say no; what follows it only goes forward."""

import pytest

from sagas import SagaStatus, StepStatus, TransitionRefused
from tests.conftest import Shop
from tests.support import gates, journal, scripted
from tests.support.workers import eventually


def test_a_pivot_that_says_no_turns_the_saga_back(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.pivoted, {"p": ["no"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "undo a"]


def test_c6_a_pivot_given_up_in_doubt_fails_and_undoes_nothing(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.pivoted, {"p": "after:flaky"})

    assert run.wait(30) is SagaStatus.FAILED
    assert busy_shop.effects(run) == ["a", "p", "p", "p"]
    assert [step.status for step in run.steps] == [StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED]
    assert "needs_a_person" in [entry.event for entry in run.history()]
    assert run.error is not None
    assert run.error.type == "builtins.ConnectionError"


def test_c6_a_clean_no_after_a_doubtful_attempt_does_not_take_the_pivot_back(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.pivoted, {"p": ["after:flaky", "no"]})

    assert run.wait(30) is SagaStatus.FAILED
    assert busy_shop.effects(run) == ["a", "p"]


@pytest.mark.parametrize("result", ["set", "nul", "nan"])
def test_c6_a_pivot_whose_result_cannot_be_stored_needs_a_person(busy_shop: Shop, result: str) -> None:
    run = busy_shop.start(scripted.pivoted, {"p": f"after:return:{result}"})

    assert run.wait(30) is SagaStatus.FAILED
    assert busy_shop.effects(run) == ["a", "p"]


def test_a_retriable_is_tried_again_on_any_error(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.pivoted, {"r": ["invalid", "flaky"]})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "p", "r"]
    assert run.steps[2].attempts == 3


def test_a_retriable_past_its_budget_fails_and_undoes_nothing(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.pivoted, {"r": "invalid"})

    assert run.wait(30) is SagaStatus.FAILED
    assert busy_shop.effects(run) == ["a", "p"]
    assert run.steps[2].attempts == 3


def test_a_retriable_that_says_no_for_good_needs_a_person_at_once(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.pivoted, {"r": ["no"]})

    assert run.wait(30) is SagaStatus.FAILED
    assert busy_shop.effects(run) == ["a", "p"]
    assert run.steps[2].attempts == 1


@pytest.mark.parametrize("stuck", ["p", "r"])
def test_an_operators_retry_goes_forward_from_the_pivot_on(busy_shop: Shop, stuck: str) -> None:
    run = busy_shop.start(scripted.pivoted, {stuck: "broken:carrier"})
    assert run.wait(30) is SagaStatus.FAILED

    gates.open_gate(busy_shop.database_url, run, "carrier")
    run.retry("the carrier answers again")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "p", "r"]
    assert run.error is None


def test_c6_a_cancel_while_the_pivot_runs_is_recorded_and_does_not_turn_it_back(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.pivoted, {"p": ["wait:shipping"]})
    gates.until_reached(busy_shop.database_url, run, "shipping")

    run.cancel("changed mind")
    assert run.status is SagaStatus.RUNNING
    assert "stop_requested" in [entry.event for entry in run.history()]
    gates.open_gate(busy_shop.database_url, run, "shipping")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "p", "r"]


def test_c6_a_cancel_while_the_pivot_runs_counts_if_it_says_no(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.pivoted, {"p": ["wait:shipping,no"]})
    gates.until_reached(busy_shop.database_url, run, "shipping")

    run.cancel("changed mind")
    gates.open_gate(busy_shop.database_url, run, "shipping")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "undo a"]


def test_c6_a_cancel_does_not_stop_the_retries_of_a_pivot_in_doubt(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.pivoted, {"p": ["wait:shipping,flaky", "ok"]})
    gates.until_reached(busy_shop.database_url, run, "shipping")

    run.cancel("changed mind")
    gates.open_gate(busy_shop.database_url, run, "shipping")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "p", "r"]


def test_c6_a_deadline_stops_at_the_claim_of_the_pivot(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.pivoted, {"p": ["wait:shipping"]}, deadline=1.0)
    gates.until_reached(busy_shop.database_url, run, "shipping")

    passed = """
    SELECT min(step.first_claimed_at) + interval '1 second' < min(sweep.swept_at)
    FROM sagas.saga_step AS step, sagas.saga_sweep AS sweep WHERE instance_id = %s
    """
    eventually(lambda: journal.query(busy_shop.database_url, passed, str(run.id))[0][0], "a sweep after the deadline")
    gates.open_gate(busy_shop.database_url, run, "shipping")

    assert run.wait(30) is SagaStatus.COMPLETED


def test_a_saga_past_its_pivot_cannot_be_cancelled(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.pivoted, {"r": ["wait:mail"]})
    gates.until_reached(busy_shop.database_url, run, "mail")

    with pytest.raises(TransitionRefused, match="pivot"):
        run.cancel("too late")
    gates.open_gate(busy_shop.database_url, run, "mail")

    assert run.wait(30) is SagaStatus.COMPLETED


def test_a_cancel_before_the_pivot_undoes_what_was_done(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.pivoted, {"a": ["wait:stock"]})
    gates.until_reached(busy_shop.database_url, run, "stock")

    run.cancel("changed mind")
    gates.open_gate(busy_shop.database_url, run, "stock")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "undo a"]
    with pytest.raises(TransitionRefused, match="compensated"):
        run.retry("please")
