"""What follows: turning back, draining, undoing in reverse order, the pivot, and where it all ends."""

from datetime import timedelta

import pytest

from sagas.model import ExecutionStatus, Holder, SagaStatus, Verdict
from sagas.model.undoing import undo_places
from tests.unit.model.story import Story, act, error, pivot, retriable, step, tries, undo


def test_a_first_step_that_says_no_leaves_nothing_to_undo() -> None:
    story = Story(step(), step()).refused(act(0))

    assert story.status is SagaStatus.COMPENSATED
    assert story.state.compensations() == ()


def test_compensations_run_in_reverse_order_one_after_another() -> None:
    story = Story(step(), step(), step(), step()).done(act(0), act(1), act(2)).refused(act(3))

    for position in (2, 1, 0):
        assert story.sent == [undo(position)]
        story.done(undo(position))

    assert story.status is SagaStatus.COMPENSATED
    assert story.undone() == [undo(2), undo(1), undo(0)]


def test_a_compensation_is_not_born_before_its_turn() -> None:
    story = Story(step(), step(), step()).done(act(0), act(1)).refused(act(2))

    assert [row.address for row in story.state.compensations()] == [undo(1)]


def test_a_step_with_nothing_to_undo_is_passed_over() -> None:
    story = Story(step(), step(compensation=None), step()).done(act(0), act(1)).refused(act(2))

    assert story.sent == [undo(0)]


def test_the_compensations_still_to_run_are_foretold_in_their_order() -> None:
    """A window of the chain is made of them."""
    story = Story(step(), step(), step(compensation=None), step()).done(act(0), act(1), act(2)).refused(act(3))
    assert undo_places(story.plan, story.state) == [undo(1), undo(0)]

    story.done(undo(1))

    assert undo_places(story.plan, story.state) == [undo(0)]


def test_another_round_is_foretold_too() -> None:
    story = Story(step(), step())
    late = story.claim(act(0))
    story.lose(act(0))
    story.done(act(0)).refused(act(1))
    story.claim(undo(0))
    story.complete(act(0), late)

    assert undo_places(story.plan, story.state) == [undo(0)]

    story.complete(undo(0), story.row(undo(0)).token or late)

    assert undo_places(story.plan, story.state) == [undo(0, 2)]


# -- C2, C7: leaving forward


def test_c2_what_is_unclaimed_when_the_saga_turns_back_can_never_be_claimed() -> None:
    story = Story(step(), step()).done(act(0))

    story.cancel()

    assert story.row(act(1)).status is ExecutionStatus.SKIPPED
    assert not story.is_claimable(act(1))
    assert story.sent == [undo(0)]


def test_c2_a_message_that_was_about_to_be_sent_again_is_not() -> None:
    """The look that resends what is overdue is the one that finds the deadline passed."""
    story = Story(step(), deadline=timedelta(seconds=60))

    story.later(61).tick()

    assert story.status is SagaStatus.COMPENSATED
    assert story.sends == ()


def test_c2_a_step_that_waits_for_its_retry_is_given_up_in_doubt() -> None:
    story = Story(step(retry=tries(3, backoff=30.0)))
    story.fail(act(0), story.claim(act(0)), Verdict.RETRYABLE)

    story.cancel()

    assert story.row(act(0)).status is ExecutionStatus.FAILED
    assert story.sent == [undo(0)]


def test_c7_what_is_claimed_is_awaited_before_anything_is_undone() -> None:
    story = Story(step(), step()).done(act(0))
    token = story.claim(act(1))

    story.cancel()
    assert story.status is SagaStatus.COMPENSATING
    assert story.sends == ()
    story.complete(act(1), token)

    assert story.sent == [undo(1)]
    assert story.done(undo(1)).sent == [undo(0)]


def test_c7_what_is_awaited_and_fails_is_not_tried_again() -> None:
    story = Story(step(retry=tries(5)))
    token = story.claim(act(0))
    story.cancel()

    story.fail(act(0), token, Verdict.RETRYABLE)

    assert story.sent == [undo(0)]


def test_c7_what_is_awaited_and_says_a_clean_no_needs_no_undo() -> None:
    story = Story(step(), step()).done(act(0))
    token = story.claim(act(1))
    story.cancel()

    story.fail(act(1), token, Verdict.CLEAN_NO)

    assert story.sent == [undo(0)]


@pytest.mark.parametrize("end", [Holder.DEAD, "timeout"])
def test_c7_what_is_awaited_and_dies_is_undone_first(end: Holder | str) -> None:
    story = Story(step(), step(timeout=30.0)).done(act(0))
    story.claim(act(1))
    story.cancel()

    if end == "timeout":
        story.later(36).tick()
    else:
        story.lose(act(1))

    assert story.sent == [undo(1)]


def test_c8_what_a_silent_holder_may_still_do_is_undone_only_when_its_time_is_over() -> None:
    story = Story(step(timeout=30.0))
    story.claim(act(0))
    story.cancel()

    story.lose(act(0), Holder.SILENT)
    assert story.sends == ()
    assert story.due_in() == 35
    story.later(35)
    story.lose(act(0), Holder.SILENT)

    assert story.sent == [undo(0)]


# -- C5: doubt


@pytest.mark.parametrize("unknown", [Verdict.RETRYABLE, Verdict.TIMEOUT, Verdict.INTERRUPTED])
def test_c5_i_doubt_survives_a_later_clean_no(unknown: Verdict) -> None:
    """Charged, then killed; the second attempt is declined: the charge is there all the same."""
    story = Story(step(), step(retry=tries(5))).done(act(0))
    story.fail(act(1), story.claim(act(1)), unknown)

    story.refused(act(1))

    assert story.sent == [undo(1)]


def test_c5_i_doubt_survives_a_loss() -> None:
    story = Story(step())
    story.claim(act(0))
    story.lose(act(0))

    story.refused(act(0))

    assert story.sent == [undo(0)]


def test_c5_ii_attempts_that_all_ended_in_unknown_outcomes_are_compensated() -> None:
    story = Story(step(retry=tries(2)))
    for _ in range(2):
        story.fail(act(0), story.claim(act(0)), Verdict.RETRYABLE)

    story.tick()

    assert story.sent == [undo(0)]


def test_c5_iii_a_result_that_can_not_be_kept_undoes_its_own_step_and_never_runs_it_again() -> None:
    story = Story(step(), step(retry=tries(5))).done(act(0))

    story.fail(act(1), story.claim(act(1)), Verdict.UNUSABLE)
    assert story.sends == ()
    story.tick()

    assert story.sent == [undo(1)]
    assert story.done(undo(1)).sent == [undo(0)]


def test_only_a_completion_clears_doubt() -> None:
    story = Story(step(), step())
    story.claim(act(0))
    story.lose(act(0))
    assert story.row(act(0)).doubt

    story.done(act(0))

    assert not story.row(act(0)).doubt


# -- H13: compensations that fail


def test_h13_when_a_compensation_has_failed_for_good_the_others_still_run() -> None:
    """The transaction that records the failure sends the next: Celery ends the chain at the exception."""
    story = Story(step(), step(), step()).done(act(0), act(1)).refused(act(2))

    story.fail(undo(1), story.claim(undo(1)))

    assert story.sent == [undo(0)]


def test_an_instance_with_an_unresolved_compensation_ends_failed() -> None:
    story = Story(step(), step(), step()).done(act(0), act(1)).refused(act(2))
    story.fail(undo(1), story.claim(undo(1)))

    story.done(undo(0))

    assert story.status is SagaStatus.FAILED
    assert len(story.noted("needs_a_person")) == 1


def test_a_compensation_that_is_retried_keeps_its_place() -> None:
    story = Story(step(), step(compensation_retry=tries(2)), step()).done(act(0), act(1)).refused(act(2))

    story.fail(undo(1), story.claim(undo(1)), Verdict.RETRYABLE)

    assert story.sent == [undo(1)]


# -- an operator


def test_an_operators_retry_undoes_only_what_is_missing() -> None:
    story = Story(step(), step(), step(), step()).done(act(0), act(1), act(2)).refused(act(3))
    story.fail(undo(2), story.claim(undo(2)))
    story.done(undo(1))
    story.fail(undo(0), story.claim(undo(0)))
    assert story.status is SagaStatus.FAILED

    assert story.retry().accepted
    assert story.sent == [undo(2)]
    assert story.done(undo(2)).sent == [undo(0)]
    story.done(undo(0))

    assert story.status is SagaStatus.COMPENSATED
    assert story.row(undo(1)).attempts == 1


def test_an_old_message_starts_no_compensation_before_its_turn() -> None:
    """The broker may still hold one from before the operator's retry."""
    story = Story(step(), step(), step()).done(act(0), act(1)).refused(act(2))
    for position in (1, 0):
        story.fail(undo(position), story.claim(undo(position)))

    story.retry()

    assert story.is_claimable(undo(1))
    assert not story.is_claimable(undo(0))


def test_a_compensation_that_waits_for_its_turn_is_no_reason_to_look() -> None:
    story = Story(step(), step(compensation_retry=tries(2, backoff=40.0)), step())
    story.done(act(0), act(1)).refused(act(2))
    for position in (1, 0):
        story.fail(undo(position), story.claim(undo(position)))
    story.retry()

    story.fail(undo(1), story.claim(undo(1)), Verdict.RETRYABLE)

    assert story.due_in() == 40


def test_an_operators_retry_repeats_the_step_past_the_pivot_with_fresh_budgets() -> None:
    story = Story(pivot(), retriable(retry=tries(2))).done(act(0))
    for _ in range(2):
        story.fail(act(1), story.claim(act(1)), Verdict.RETRYABLE)
    story.tick()
    assert story.status is SagaStatus.FAILED

    story.retry()

    assert story.status is SagaStatus.RUNNING
    assert (story.sent, story.row(act(1)).attempts, story.row(act(1)).failures) == ([act(1)], 2, 0)
    story.fail(act(1), story.claim(act(1)), Verdict.RETRYABLE)
    assert story.done(act(1)).status is SagaStatus.COMPLETED
    assert story.row(act(1)).attempts == 4  # told as they were


def test_only_a_failed_instance_can_be_retried() -> None:
    story = Story(step())

    assert not story.retry().accepted


def test_the_cancelling_of_what_turns_back_anyway_is_no_error() -> None:
    story = Story(step(), step()).done(act(0)).refused(act(1))

    assert story.cancel().accepted
    assert story.state.error == error()
