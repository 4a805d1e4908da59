"""A step whose failure hurts nobody: it is recorded as failed, and the saga goes on."""

import pytest

from sagas.model import Completed, ExecutionStatus, SagaStatus, Verdict
from tests.unit.model.story import Story, act, beside, pivot, retriable, step, tries, undo

MAYBE = [Verdict.RETRYABLE, Verdict.UNKNOWN, Verdict.TIMEOUT, Verdict.INTERRUPTED, Verdict.UNUSABLE]


def kind_step(**options: object) -> dict[str, object]:
    return step(best_effort=True, max_losses=0, **options)


def test_a_best_effort_that_says_no_is_failed_and_the_saga_goes_on() -> None:
    story = Story(step(), kind_step(), step()).done(act(0)).refused(act(1))

    assert story.row(act(1)).status is ExecutionStatus.FAILED
    assert story.sent == [act(2)]
    assert story.status is SagaStatus.RUNNING


def test_a_last_step_of_best_effort_that_fails_completes_the_saga() -> None:
    story = Story(step(), kind_step()).done(act(0)).refused(act(1))

    assert story.status is SagaStatus.COMPLETED
    assert story.state.error is None
    assert story.noted("needs_a_person") == []


def test_it_is_tried_again_by_its_policy_first() -> None:
    story = Story(kind_step(retry=tries(2)), step())

    story.fail(act(0), story.claim(act(0)), Verdict.RETRYABLE)
    assert story.sent == [act(0)]
    story.fail(act(0), story.claim(act(0)), Verdict.RETRYABLE)
    story.tick()

    assert story.sent == [act(1)]


def test_past_the_pivot_it_needs_no_person() -> None:
    story = Story(pivot(), retriable(best_effort=True), retriable()).done(act(0)).refused(act(1))

    assert story.sent == [act(2)]


def test_beside_others_it_counts_as_done_at_once() -> None:
    story = Story(beside(kind_step(), step()), step()).done(act(0, 1))

    story.fail(act(0, 0), story.claim(act(0, 0)))

    assert story.sent == [act(1)]


def test_in_a_lane_the_next_step_follows_it_whatever_came_of_it() -> None:
    story = Story(beside([kind_step(), step()], step()), step())

    story.fail(act(0, 0), story.claim(act(0, 0)))

    assert story.sent == [act(0, 1)]
    assert story.state.pending == 2


def test_a_result_of_best_effort_that_clashes_hurts_nobody() -> None:
    story = Story(beside(step(), kind_step()), step())
    story.complete(act(0, 0), story.claim(act(0, 0)), "{}", keys=("price",))

    story.complete(act(0, 1), story.claim(act(0, 1)), "{}", keys=("price",))

    assert story.row(act(0, 1)).status is ExecutionStatus.FAILED
    assert story.sent == [act(1)]


# -- undone like any other, where it has something to undo


def test_one_that_said_a_clean_no_needs_no_undo() -> None:
    story = Story(kind_step(), step()).refused(act(0)).refused(act(1))

    assert story.status is SagaStatus.COMPENSATED
    assert story.state.compensations() == ()


@pytest.mark.parametrize("verdict", MAYBE)
def test_c5_one_that_was_given_up_in_doubt_is_undone_when_the_saga_turns_back(verdict: Verdict) -> None:
    story = Story(kind_step(), step())
    story.fail(act(0), story.claim(act(0)), verdict)
    story.tick()
    assert story.status is SagaStatus.RUNNING

    story.refused(act(1))

    assert story.sent == [undo(0)]


def test_a_late_success_while_the_saga_goes_forward_is_its_completion() -> None:
    story = Story(kind_step(), step(), step())
    late = story.claim(act(0))
    story.lose(act(0))
    assert story.sent == [act(1)]

    assert story.complete(act(0), late).accepted

    assert (story.row(act(0)).status, story.status) == (ExecutionStatus.COMPLETED, SagaStatus.RUNNING)
    assert story.sends == ()


def test_an_unknown_end_that_is_reported_late_makes_it_undone_when_the_saga_turns_back() -> None:
    story = Story(kind_step(), step())
    late = story.claim(act(0))
    story.lose(act(0))
    story.fail(act(0), late, Verdict.TIMEOUT)

    story.refused(act(1))

    assert story.sent == [undo(0)]


# -- late reports past the pivot


def test_c6_a_late_success_never_turns_a_saga_back_that_is_stuck_past_its_pivot() -> None:
    story = Story(kind_step(), pivot(), retriable())
    late = story.claim(act(0))
    story.lose(act(0))
    story.done(act(1)).refused(act(2))
    assert story.status is SagaStatus.FAILED

    story.complete(act(0), late)

    assert story.status is SagaStatus.FAILED
    assert story.state.compensations() == ()


def test_c6_nor_one_whose_pivot_is_in_doubt() -> None:
    story = Story(kind_step(), pivot())
    late = story.claim(act(0))
    story.lose(act(0))
    story.fail(act(1), story.claim(act(1)), Verdict.UNKNOWN)
    story.tick()
    assert story.status is SagaStatus.FAILED

    story.complete(act(0), late)

    assert story.status is SagaStatus.FAILED


def test_c6_nor_does_an_unknown_end_that_is_reported_late() -> None:
    story = Story(kind_step(), pivot(), retriable())
    late = story.claim(act(0))
    story.lose(act(0))
    story.done(act(1)).refused(act(2))

    story.fail(act(0), late, Verdict.TIMEOUT)

    assert story.status is SagaStatus.FAILED
    assert story.state.compensations() == ()


def test_a_late_success_of_a_saga_that_is_completed_promises_no_undo() -> None:
    story = Story(kind_step(), step())
    late = story.claim(act(0))
    story.lose(act(0))
    story.done(act(1))
    assert story.status is SagaStatus.COMPLETED

    story.complete(act(0), late)

    assert story.status is SagaStatus.COMPLETED
    assert [note["outcome"] for note in story.noted("late_success")] != ["will be undone"]


# -- late reports from a position that the saga has left


def lost_before_the_next_position() -> tuple[Story, Completed]:
    """Its holder went silent, the saga went on to further branches, and it has succeeded all the same."""
    story = Story(beside(kind_step(), step()), beside(step(), step(), step()), step())
    late = story.claim(act(0, 0))
    story.done(act(0, 1))
    story.lose(act(0, 0))
    return story, Completed(address=act(0, 0), token=late, result="{}", keys=("price",))


def test_a_late_success_clashes_with_nothing_that_a_later_position_returned() -> None:
    story, late = lost_before_the_next_position()
    story.complete(act(1, 2), story.claim(act(1, 2)), "{}", keys=("price",))

    assert story.happens(late).accepted

    assert story.row(act(0, 0)).status is ExecutionStatus.COMPLETED
    assert story.state.written == {"price": 2}


def test_nor_does_what_a_later_position_returns_clash_with_it() -> None:
    story, late = lost_before_the_next_position()
    story.happens(late)

    story.complete(act(1, 2), story.claim(act(1, 2)), "{}", keys=("price",))

    assert story.row(act(1, 2)).status is ExecutionStatus.COMPLETED
    assert story.status is SagaStatus.RUNNING
