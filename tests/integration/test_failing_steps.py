"""A step says no: whatever was done before it is undone, in reverse order, once each."""

import pytest

from sagas import Saga, SagaHandle, SagaStatus, StepStatus
from tests.conftest import Shop
from tests.support import gates, journal, scripted
from tests.support.workers import eventually


@pytest.mark.parametrize(
    ("saga", "failing"),
    [
        pytest.param(saga, k, id=f"{saga.name}-{k + 1}")
        for saga in (scripted.three, scripted.five)
        for k in range(len(saga.steps))
    ],
)
def test_a_step_that_says_no_undoes_the_steps_before_it_in_reverse_order(
    busy_shop: Shop, saga: Saga, failing: int
) -> None:
    names = [step.name for step in saga.steps]
    done, never = names[:failing], names[failing + 1 :]

    run = busy_shop.start(saga, {names[failing]: ["no:out of stock"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == [*done, *(f"undo {name}" for name in reversed(done))]
    statuses = {step.name: step.status for step in run.steps}
    assert statuses == {
        **dict.fromkeys(done, StepStatus.COMPENSATED),
        names[failing]: StepStatus.FAILED,
        **dict.fromkeys(never, StepStatus.SKIPPED),
    }


def test_a_first_step_that_says_no_leaves_nothing_to_undo(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"a": ["no"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == []
    assert [step.compensation_status for step in run.steps] == [None, None, None]


def test_a_clean_no_is_not_tried_again_and_not_undone_itself(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": "no"})

    assert run.wait(30) is SagaStatus.COMPENSATED
    failed = run.steps[1]
    assert (failed.attempts, failed.in_doubt, failed.compensation) == (1, False, None)


def test_an_error_that_the_policy_names_is_tried_again_until_the_step_succeeds(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": ["flaky", "flaky"]})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "b", "c"]
    assert (run.steps[1].attempts, run.steps[1].in_doubt, run.steps[1].error) == (3, False, None)
    assert run.data["b_done"] == 3


def test_the_original_error_is_kept_with_its_type_text_and_traceback(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": ["no:card 4711 was declined – ½ \\x00"]})
    run.wait(30)

    assert run.error is not None
    assert run.error.type == "tests.support.scripted.CleanNo"
    assert run.error.message == "card 4711 was declined – ½ \\x00"
    assert run.error.step == "b"
    assert "in behave" in run.error.traceback
    assert "CleanNo: card 4711" in run.error.traceback
    (entry,) = [entry for entry in run.history() if entry.event == "attempt_failed"]
    assert entry.step == "b"
    assert {name: entry.detail[name] for name in ("type", "message", "traceback")} == {
        "type": run.error.type,
        "message": run.error.message,
        "traceback": run.error.traceback,
    }
    assert run.steps[1].error == run.error


def test_the_history_tells_the_story_in_order(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": ["no"]})
    run.wait(30)

    assert story(run) == [
        "started",
        "step_started a",
        "step_completed a",
        "step_started b",
        "attempt_failed b",
        "step_failed b",
        "compensation_started a",
        "compensation_completed a",
        "compensated",
    ]


def test_the_keys_name_the_action_and_its_compensation(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": ["flaky"], "c": ["no"], "undo a": ["invalid"]})
    run.wait(30)

    assert journal.entries(busy_shop.database_url, run.id) == [
        ("a", f"{run.id}:a"),
        ("b", f"{run.id}:b"),
        ("undo b", f"comp:{run.id}:b"),
        ("undo a", f"comp:{run.id}:a"),
    ]
    assert journal.action_keys(busy_shop.database_url, run.id) == [f"{run.id}:{step}" for step in "abba"]


def test_a_step_without_compensation_is_left_as_it_is(busy_shop: Shop) -> None:
    saga = Saga(
        "partly",
        steps=[scripted.step("a"), scripted.step("b", compensation=None), scripted.step("c"), scripted.step("d")],
    )

    run = busy_shop.start(saga, {"d": ["no"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "c", "undo c", "undo a"]
    assert run.steps[1].status is StepStatus.COMPLETED


def test_c7_a_cancel_waits_for_the_running_step_and_then_undoes_it_first(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": ["wait:payment"]})
    gates.until_reached(busy_shop.database_url, run, "payment")

    run.cancel("changed mind")
    assert run.status is SagaStatus.COMPENSATING
    assert busy_shop.effects(run) == ["a"]
    gates.open_gate(busy_shop.database_url, run, "payment")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "undo b", "undo a"]
    assert run.error is not None
    assert (run.error.type, run.error.message) == ("sagas.Cancelled", "changed mind")


def test_c7_a_step_that_says_no_while_it_is_awaited_is_not_undone(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": ["wait:payment,no"]})
    gates.until_reached(busy_shop.database_url, run, "payment")

    run.cancel("changed mind")
    gates.open_gate(busy_shop.database_url, run, "payment")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "undo a"]


def test_c7_a_step_whose_retry_is_due_is_not_tried_again_after_a_cancel(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": ["wait:payment,flaky", "ok"]})
    gates.until_reached(busy_shop.database_url, run, "payment")

    run.cancel("changed mind")
    gates.open_gate(busy_shop.database_url, run, "payment")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert run.steps[1].attempts == 1
    # A connection error: nobody knows whether it happened.
    assert busy_shop.effects(run) == ["a", "undo b", "undo a"]


def test_a_deadline_turns_a_saga_back_like_a_cancel(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": ["wait:payment"]}, deadline=0.5)
    gates.until_reached(busy_shop.database_url, run, "payment")
    eventually(lambda: journal.events(busy_shop.database_url, run.id, "deadline_passed"), "the deadline")
    gates.open_gate(busy_shop.database_url, run, "payment")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "undo b", "undo a"]
    assert run.error is not None
    assert run.error.type == "sagas.DeadlineExceeded"


def story(run: SagaHandle) -> list[str]:
    return [f"{entry.event} {entry.step or ''}".strip() for entry in run.history()]
