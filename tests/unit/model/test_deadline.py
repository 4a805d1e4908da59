"""A deadline is kept, whatever else happens meanwhile (D26)."""

from datetime import timedelta

import pytest

from sagas.model import ExecutionStatus, SagaStatus, Verdict
from tests.unit.model.story import Story, act, beside, pivot, retriable, step, tries, undo

TEN_SECONDS = timedelta(seconds=10)


def test_d26_after_the_deadline_no_action_begins() -> None:
    story = Story(step(), step(), deadline=TEN_SECONDS).done(act(0)).later(10)

    assert not story.is_claimable(act(1))


def test_d26_a_claim_that_comes_too_late_turns_the_saga_back() -> None:
    story = Story(step(), step(), deadline=TEN_SECONDS).done(act(0)).later(10)

    with pytest.raises(AssertionError, match="could not be claimed"):
        story.claim(act(1))

    assert story.status is SagaStatus.COMPENSATING
    assert story.sent == [undo(0)]


def test_d26_what_was_completed_too_late_counts_and_nothing_follows_but_the_turn_back() -> None:
    story = Story(step(), step(), deadline=TEN_SECONDS)
    token = story.claim(act(0))

    story.later(10).complete(act(0), token)

    assert story.row(act(0)).status is ExecutionStatus.COMPLETED
    assert story.state.at(act(1)) is None
    assert (story.status, story.sent) == (SagaStatus.COMPENSATING, [undo(0)])
    assert story.state.error is not None
    assert story.state.error.type == "sagas.DeadlineExceeded"


def test_d26_where_nothing_is_left_to_do_it_is_completed() -> None:
    story = Story(step(), step(), deadline=TEN_SECONDS).done(act(0))
    token = story.claim(act(1))

    story.later(10).complete(act(1), token)

    assert story.status is SagaStatus.COMPLETED
    assert story.noted("deadline_passed") == []


def test_d26_a_lane_whose_step_was_completed_too_late_does_not_go_on() -> None:
    story = Story(beside([step(), step()], step()), deadline=TEN_SECONDS)
    tokens = [story.claim(act(0, 0)), story.claim(act(0, 2))]

    story.later(10).complete(act(0, 0), tokens[0])

    assert story.state.at(act(0, 1)) is None
    assert story.status is SagaStatus.COMPENSATING


def test_d26_a_step_is_not_tried_again_after_the_deadline() -> None:
    story = Story(step(), step(retry=tries(30)), deadline=TEN_SECONDS).done(act(0))

    story.fail(act(1), story.claim(act(1)), Verdict.RETRYABLE)
    assert story.status is SagaStatus.RUNNING
    token = story.claim(act(1))
    story.later(10).fail(act(1), token, Verdict.RETRYABLE)

    assert story.status is SagaStatus.COMPENSATING
    assert story.row(act(1)).attempts == 2
    assert story.row(act(1)).status is ExecutionStatus.FAILED
    assert story.sent == [undo(1)]


def test_d26_a_pivot_that_was_claimed_in_time_is_tried_again() -> None:
    story = Story(step(), pivot(retry=tries(3)), retriable(), deadline=TEN_SECONDS).done(act(0))
    story.fail(act(1), story.claim(act(1)), Verdict.RETRYABLE)

    story.later(10).done(act(1), act(2))

    assert story.status is SagaStatus.COMPLETED


def test_d26_a_pivot_that_was_not_claimed_in_time_does_not_begin() -> None:
    story = Story(step(), pivot(), retriable(), deadline=TEN_SECONDS).done(act(0)).later(10)

    assert not story.is_claimable(act(1))


def test_d26_a_pivot_that_was_merely_parked_has_not_begun() -> None:
    story = Story(step(), pivot(), deadline=TEN_SECONDS).done(act(0))
    story.park(act(1), story.claim(act(1)))

    story.later(10).tick()

    assert story.status is SagaStatus.COMPENSATING


def test_d26_past_the_pivot_a_deadline_that_passed_does_not_make_it_due_for_ever() -> None:
    story = Story(pivot(), retriable(), deadline=TEN_SECONDS).done(act(0))
    story.claim(act(1))

    story.later(10).tick()

    assert story.status is SagaStatus.RUNNING
    assert story.due_in() > 0


def test_d26_an_undo_begins_after_the_deadline() -> None:
    story = Story(step(), step(), deadline=TEN_SECONDS).done(act(0)).later(10)
    story.tick()

    assert story.done(undo(0)).status is SagaStatus.COMPENSATED
