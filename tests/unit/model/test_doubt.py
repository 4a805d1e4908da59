"""An action in doubt: what clears it, who may say what of it, and what becomes of those beside it."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from sagas.model import ExecutionStatus, IfInDoubt, Reason, SagaStatus, Verdict, waits_for_a_person
from tests.unit.model.story import Story, act, beside, error, pivot, retriable, step, tries, undo

PERSON = IfInDoubt.PERSON


def in_doubt(story: Story, position: int, branch: int = 0, verdict: Verdict = Verdict.UNKNOWN) -> Story:
    """Its action is given up in doubt, and the error callback asks what follows."""
    story.fail(act(position, branch), story.claim(act(position, branch)), verdict)
    story.tick()
    return story


def without_result(story: Story, position: int, branch: int = 0) -> Story:
    """Its undo cannot be called without what its action would have returned."""
    place = undo(position, branch=branch)
    story.park(place, story.claim(place), lacks_result=True)
    return story


# -- D1: three answers about any action in doubt


def doubtful_pivot() -> Story:
    story = in_doubt(Story(step(), pivot(), retriable()).done(act(0)), 1)
    assert story.status is SagaStatus.FAILED
    return story


def test_d1_a_pivot_in_doubt_that_did_not_happen_turns_the_saga_back() -> None:
    story = doubtful_pivot()

    assert story.resolve(happened=False).accepted

    assert story.sent == [undo(0)]
    assert story.row(act(1)).doubt is False
    assert story.done(undo(0)).status is SagaStatus.COMPENSATED
    assert story.noted("doubt_resolved") == [{"happened": False, "reason": "asked the bank", "by": "operator"}]


def test_d1_a_pivot_in_doubt_that_happened_goes_forward_with_its_result() -> None:
    story = doubtful_pivot()

    assert story.resolve(happened=True, result='{"parcel": 7}').accepted

    assert story.sent == [act(2)]
    assert (story.row(act(1)).status, story.row(act(1)).result) == (ExecutionStatus.COMPLETED, '{"parcel": 7}')
    assert story.done(act(2)).status is SagaStatus.COMPLETED


def test_d1_a_pivot_in_doubt_may_be_tried_again_and_what_it_then_says_is_no_answer_about_before() -> None:
    story = doubtful_pivot()

    assert story.retry().accepted
    assert story.sent == [act(1)]
    in_doubt(story, 1, verdict=Verdict.CLEAN_NO)

    # The doubt is about the first attempt, and stays until a person says.
    assert story.status is SagaStatus.FAILED
    assert story.resolve(happened=False).accepted
    assert story.sent == [undo(0)]


def test_d1_past_the_pivot_there_is_no_way_back_for_what_did_not_happen() -> None:
    story = in_doubt(Story(pivot(), retriable()).done(act(0)), 1)

    assert not story.resolve(happened=False).accepted
    assert story.resolve(happened=True).state.status is SagaStatus.COMPLETED


def test_d1_of_what_is_not_in_doubt_nobody_is_asked_whether_it_happened() -> None:
    story = Story(step(), step()).done(act(0)).refused(act(1))
    story.fail(undo(0), story.claim(undo(0)), Verdict.UNKNOWN)
    assert story.status is SagaStatus.FAILED

    assert not story.resolve(happened=True).accepted
    assert not story.resolve(happened=False).accepted


# -- D2: tried again and in doubt are two answers


def test_d2_a_pivot_that_was_clean_each_time_it_was_tried_may_turn_back() -> None:
    story = Story(step(), pivot(retry=tries(2))).done(act(0))

    story.fail(act(1), story.claim(act(1)), Verdict.CLEAN_RETRYABLE)
    assert story.row(act(1)).doubt is False
    story.later(5)
    in_doubt(story, 1, verdict=Verdict.CLEAN_NO)

    assert story.sent == [undo(0)]


def test_d2_doubt_of_an_earlier_attempt_stays() -> None:
    story = Story(step(), pivot(retry=tries(3))).done(act(0))

    story.fail(act(1), story.claim(act(1)), Verdict.RETRYABLE)
    story.later(5)
    story.fail(act(1), story.claim(act(1)), Verdict.CLEAN_RETRYABLE)
    story.later(5)
    in_doubt(story, 1, verdict=Verdict.CLEAN_NO)

    assert story.status is SagaStatus.FAILED


# -- D15: judged once, by the worker that met it


@pytest.mark.parametrize("verdict", list(Verdict))
def test_d15_the_history_tells_by_which_verdict_an_attempt_ended(verdict: Verdict) -> None:
    story = Story(step())
    story.fail(act(0), story.claim(act(0)), verdict)

    if verdict is not Verdict.INTERRUPTED:  # a loss
        assert [told["verdict"] for told in story.noted("attempt_failed")] == [verdict.value]


def test_d15_what_an_older_worker_called_clean_stays_so_whatever_its_class_is_today() -> None:
    story = Story(step(), pivot()).done(act(0))

    story.fail(act(1), story.claim(act(1)), Verdict.CLEAN_NO, error=error("ValueError, said an older release"))
    story.tick()

    assert story.sent == [undo(0)]


# -- D3: an undo that lacks a name after an action in doubt without a result


def test_d3_an_undo_without_its_actions_result_waits_for_a_person_and_the_others_go_on() -> None:
    story = without_result(in_doubt(Story(step(), step()).done(act(0)), 1), 1)

    assert story.sent == [undo(0)]
    story.done(undo(0))
    assert story.status is SagaStatus.FAILED
    (told,) = story.noted("needs_an_answer")
    assert told["message"] == "its action is in doubt, and no result: does not fit"
    assert story.row(undo(1)).attempts == 0


def test_d3_with_the_result_that_a_person_brings_it_is_undone() -> None:
    story = without_result(in_doubt(Story(step()), 0), 0)
    assert story.status is SagaStatus.FAILED

    assert story.resolve(happened=True, result='{"charge_id": "ch_1"}').accepted

    assert story.sent == [undo(0)]
    assert story.row(act(0)).result == '{"charge_id": "ch_1"}'
    assert story.done(undo(0)).status is SagaStatus.COMPENSATED


def test_d3_what_did_not_happen_needs_no_undo() -> None:
    story = without_result(in_doubt(Story(step()), 0), 0)

    assert story.resolve(happened=False).accepted

    assert (story.status, story.sent) == (SagaStatus.COMPENSATED, [])


def test_d3_an_undo_of_what_was_done_waits_for_a_deploy_as_ever() -> None:
    story = Story(step(), step()).done(act(0)).refused(act(1))

    without_result(story, 0)

    assert story.status is SagaStatus.COMPENSATING
    assert story.row(undo(0)).status is ExecutionStatus.PENDING


# -- D13: only a person can tell


def test_d13_a_step_of_which_only_a_person_can_tell_is_left_and_the_others_are_undone() -> None:
    story = in_doubt(Story(step(), step(if_in_doubt=PERSON), step(compensation=None)).done(act(0)), 1)

    assert story.sent == [undo(0)]
    story.done(undo(0))
    assert story.status is SagaStatus.FAILED
    waits = story.row(undo(1))
    assert waits.error is not None
    assert (waits.status, waits.attempts, waits.error.type) == (ExecutionStatus.FAILED, 0, Reason.IN_DOUBT)


def test_d13_it_keeps_nothing_back_where_a_failed_undo_would() -> None:
    story = in_doubt(Story(step(), step(if_in_doubt=PERSON), stop_at_failed_undo=True).done(act(0)), 1)

    assert story.sent == [undo(0)]


def test_d13_a_retry_undoes_it_and_never_runs_its_action() -> None:
    story = in_doubt(Story(step(), step(if_in_doubt=PERSON)).done(act(0)), 1).done(undo(0))

    assert story.retry().accepted

    assert story.sent == [undo(1)]
    assert story.done(undo(1)).status is SagaStatus.COMPENSATED


def test_d13_without_a_compensation_there_are_answers_and_no_retry() -> None:
    story = in_doubt(Story(step(), step(if_in_doubt=PERSON, compensation=None)).done(act(0)), 1).done(undo(0))

    assert story.status is SagaStatus.FAILED
    assert not story.retry().accepted
    assert not story.resolve(happened=True).accepted  # there is nothing to run; was it undone by hand?
    assert story.resolve(happened=True, undo=False).state.status is SagaStatus.COMPENSATED


def test_d13_a_late_success_answers_by_itself_and_is_undone_with_its_result() -> None:
    story = Story(step(), step(if_in_doubt=PERSON, idempotent=False)).done(act(0))
    token = story.claim(act(1))
    story.later(60).lose(act(1))
    assert story.done(undo(0)).status is SagaStatus.FAILED

    story.complete(act(1), token, '{"charge_id": "ch_1"}')

    assert story.sent == [undo(1)]
    assert story.row(act(1)).result == '{"charge_id": "ch_1"}'
    assert story.done(undo(1)).status is SagaStatus.COMPENSATED


def test_d13_without_a_compensation_a_late_success_answers_and_leaves_nothing_to_undo() -> None:
    story = Story(step(), step(if_in_doubt=PERSON, idempotent=False, compensation=None)).done(act(0))
    token = story.claim(act(1))
    story.later(60).lose(act(1))
    assert story.done(undo(0)).status is SagaStatus.FAILED

    story.complete(act(1), token, '{"charge_id": "ch_1"}')

    assert story.sent == []
    assert story.row(act(1)).status is ExecutionStatus.COMPLETED
    assert story.row(undo(1)).status is ExecutionStatus.SKIPPED
    assert story.status is SagaStatus.COMPENSATED


def test_d13_a_best_effort_in_doubt_counts_only_when_the_saga_turns_back() -> None:
    nice = step(best_effort=True, if_in_doubt=PERSON)

    assert in_doubt(Story(nice, step()), 0).done(act(1)).status is SagaStatus.COMPLETED
    assert in_doubt(Story(nice, step()), 0).refused(act(1)).status is SagaStatus.FAILED


def test_d13_what_said_no_or_was_done_is_nobodys_question() -> None:
    assert Story(step(if_in_doubt=PERSON)).refused(act(0)).status is SagaStatus.COMPENSATED
    assert Story(step(if_in_doubt=PERSON), step()).done(act(0)).refused(act(1)).sent == [undo(0)]


ANSWERS: dict[str, Callable[[Story], Any]] = {
    "skipped": lambda story: story.skip(),
    "undone by hand": lambda story: story.skip(undone=True),
    "it happened, and is undone": lambda story: story.resolve(happened=True, undo=False),
    "it did not happen": lambda story: story.resolve(happened=False),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_d13_a_report_that_comes_before_the_answer_is_not_asked_about_again(answer: Callable[[Story], Any]) -> None:
    story = in_doubt(Story(step(if_in_doubt=PERSON)), 0)
    story.fail(act(0), uuid4(), Verdict.UNKNOWN)
    assert story.status is SagaStatus.FAILED

    assert answer(story).accepted

    assert story.status is SagaStatus.COMPENSATED


def test_d13_an_undo_that_begins_after_the_report_is_the_only_one() -> None:
    story = in_doubt(Story(step(if_in_doubt=PERSON)), 0)
    story.fail(act(0), uuid4(), Verdict.UNKNOWN)

    assert story.retry().accepted

    assert story.done(undo(0)).status is SagaStatus.COMPENSATED


def test_d13_a_report_that_comes_after_the_answer_asks_again() -> None:
    story = in_doubt(Story(step(if_in_doubt=PERSON)), 0)
    assert story.skip().accepted

    story.fail(act(0), uuid4(), Verdict.UNKNOWN)

    assert story.status is SagaStatus.FAILED


# -- D13: late successes beside an undo that has failed


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("compensation", ["undo", None])
def test_d13_after_a_late_success_whatever_keeps_the_saga_failed_can_be_skipped(
    compensation: str | None, *, stops: bool
) -> None:
    lanes = beside(step(), step(if_in_doubt=PERSON, compensation=compensation))
    story = Story(lanes, stop_at_failed_undo=stops).done(act(0))
    in_doubt(story, 0, 1)
    story.fail(undo(0), story.claim(undo(0)), Verdict.UNKNOWN)
    assert story.status is SagaStatus.FAILED

    story.complete(act(0, 1), uuid4(), '{"charge_id": "ch_1"}')

    assert story.row(act(0, 1)).result == '{"charge_id": "ch_1"}'
    if compensation and not stops:
        story.done(undo(0, branch=1))
    assert story.status is SagaStatus.FAILED
    for waiting in waits_for_a_person(story.plan, story.state):
        assert story.skip(waiting.name).accepted
    assert story.status is SagaStatus.COMPENSATED


def test_d13_what_did_not_happen_and_succeeds_after_that_answer_is_undone_with_its_result() -> None:
    story = in_doubt(Story(step(if_in_doubt=PERSON)), 0)
    assert story.resolve(happened=False).state.status is SagaStatus.COMPENSATED

    story.complete(act(0), uuid4(), '{"charge_id": "ch_1"}')
    assert story.sent == [undo(0, 2)]
    story.evidence(undo(0, 2), dispatched_at=None).tick()  # its message was lost

    assert story.sent == [undo(0, 2)]
    assert (story.row(act(0)).status, story.row(act(0)).result) == (ExecutionStatus.COMPLETED, '{"charge_id": "ch_1"}')
    assert story.done(undo(0, 2)).status is SagaStatus.COMPENSATED


def test_d13_of_one_that_has_told_and_is_kept_from_its_undo_only_what_is_true_can_be_said() -> None:
    lanes = beside(step(), step(if_in_doubt=PERSON))
    story = Story(lanes, stop_at_failed_undo=True).done(act(0))
    in_doubt(story, 0, 1)
    story.fail(undo(0), story.claim(undo(0)), Verdict.UNKNOWN)
    story.complete(act(0, 1), uuid4(), '{"charge_id": "ch_1"}')
    assert story.status is SagaStatus.FAILED

    assert not story.resolve("step0b", happened=False).accepted
    assert story.resolve("step0b", happened=True, undo=False).accepted

    assert story.row(undo(0, branch=1)).status is ExecutionStatus.COMPLETED
    assert story.row(act(0, 1)).result == '{"charge_id": "ch_1"}'


def test_a_late_success_that_returns_a_name_of_a_branch_beside_it_is_undone_without_its_result() -> None:
    """As one that clashes in time is: two results with one name would race in the data of the undos."""
    story = Story(beside(step(), step(if_in_doubt=PERSON)))
    story.complete(act(0), story.claim(act(0)), '{"price": 1}', keys=("price",))
    in_doubt(story, 0, 1)
    story.done(undo(0))

    story.complete(act(0, 1), uuid4(), '{"price": 2}', keys=("price",))

    action = story.row(act(0, 1))
    assert (action.status, action.doubt, action.result) == (ExecutionStatus.FAILED, True, None)
    assert action.error is not None
    assert action.error.type == "sagas.KeyClash"
    assert story.status is SagaStatus.FAILED


# -- D37: a sibling that was told to stop


@pytest.mark.parametrize("verdict", [Verdict.TIMEOUT, Verdict.STOPPED, Verdict.UNKNOWN])
def test_d37_a_sibling_that_was_told_to_stop_and_left_no_result_keeps_the_others_from_nothing(verdict: Verdict) -> None:
    lanes = beside(step(), step(), step(), cancels_siblings=True)
    story = Story(step(), lanes).done(act(0), act(1, 2))
    stopped = story.claim(act(1, 1))
    story.fail(act(1, 0), story.claim(act(1, 0)), Verdict.CLEAN_NO)
    assert story.said.stops == (act(1, 1),)

    story.fail(act(1, 1), stopped, verdict)
    assert story.sent == [undo(1, branch=1)]
    without_result(story, 1, 1)

    assert story.sent == [undo(1, branch=2)]
    story.done(undo(1, branch=2), undo(0))
    assert story.status is SagaStatus.FAILED
    assert story.resolve(happened=False).state.status is SagaStatus.COMPENSATED
