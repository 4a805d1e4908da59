"""Reports of executions whose claim was taken away: decided by the state, not by the report."""

from uuid import UUID, uuid4

import pytest

from sagas.model import ExecutionStatus, SagaStatus, Verdict
from tests.unit.model.story import Story, act, pivot, retriable, step, undo

MAYBE = [Verdict.RETRYABLE, Verdict.UNKNOWN, Verdict.TIMEOUT, Verdict.INTERRUPTED, Verdict.UNUSABLE]


def frozen_while_the_saga_is_undone() -> tuple[Story, UUID]:
    """Step 0 is claimed by somebody who freezes; it is given up, and its compensation is about to run."""
    story = Story(step(idempotent=False))
    late = story.claim(act(0))
    story.lose(act(0))
    assert story.sent == [undo(0)]
    return story, late


# -- C4: the same key absorbed it


def test_c4_i_a_late_success_of_what_somebody_else_completed_is_absorbed() -> None:
    story = Story(step(), step())
    late = story.claim(act(0))
    story.lose(act(0))
    story.done(act(0))

    said = story.complete(act(0), late)

    assert not said.accepted
    assert (story.status, story.sends) == (SagaStatus.RUNNING, ())
    assert story.noted("late_success") == [{"outcome": "absorbed by the idempotency key"}]


def test_c4_i_also_when_the_saga_is_completed() -> None:
    story = Story(step())
    late = story.claim(act(0))
    story.lose(act(0))
    story.done(act(0))

    story.complete(act(0), late)

    assert story.status is SagaStatus.COMPLETED
    assert story.row(act(0)).status is ExecutionStatus.COMPLETED


def test_c4_i_a_late_success_of_what_runs_elsewhere_leaves_a_doubt() -> None:
    """Should the other one be told no, the effect is there all the same."""
    story = Story(step(), step()).done(act(0))
    other = story.claim(act(1))

    story.complete(act(1), uuid4())
    assert story.row(act(1)).status is ExecutionStatus.RUNNING
    story.fail(act(1), other, Verdict.CLEAN_NO)
    story.tick()

    assert story.sent == [undo(1)]


def test_c4_i_a_late_success_of_what_is_unclaimed_is_the_completion() -> None:
    story = Story(step(), step())
    late = story.claim(act(0))
    story.lose(act(0))

    said = story.complete(act(0), late, {"charge": 1})

    assert said.accepted
    assert story.sent == [act(1)]
    assert story.row(act(0)).result == {"charge": 1}
    assert not story.is_claimable(act(0))


def test_c4_ii_a_completion_that_is_repeated_is_a_success() -> None:
    """The answer to its commit was lost."""
    story = Story(step(), step())
    token = story.claim(act(0))
    story.complete(act(0), token)

    said = story.complete(act(0), token)

    assert said.accepted
    assert (story.sends, story.noted("late_success")) == ((), [])


def test_c4_ii_a_late_completion_that_is_repeated_is_a_success_too() -> None:
    story = Story(step(), step())
    late = story.claim(act(0))
    story.lose(act(0))
    story.complete(act(0), late)

    assert story.complete(act(0), late).accepted


def test_c4_ii_a_repeated_completion_is_no_reason_to_undo_twice() -> None:
    story = Story(step(), step())
    late = story.claim(act(0))
    story.lose(act(0))
    story.complete(act(0), late)
    story.refused(act(1)).done(undo(0))

    story.complete(act(0), late)

    assert story.status is SagaStatus.COMPENSATED


def test_a_completion_whose_claim_a_crash_lost_keeps_its_place_in_the_order() -> None:
    """It has no recorded beginning, and what came after it has to be undone before it."""
    story = Story(step(), step(), step())
    before = story.state
    late = story.claim(act(0))
    story.crash(act(0), before)
    assert story.complete(act(0), late).accepted

    story.done(act(1)).refused(act(2))

    assert story.sent == [undo(1)]


# -- C8: undone again


def test_c8_a_late_success_before_the_compensation_is_claimed_needs_nothing_more() -> None:
    story, late = frozen_while_the_saga_is_undone()

    story.complete(act(0), late)
    story.done(undo(0))

    assert story.status is SagaStatus.COMPENSATED
    assert story.undone() == [undo(0)]


def test_c8_a_late_success_while_the_compensation_runs_gets_another_round() -> None:
    story, late = frozen_while_the_saga_is_undone()
    token = story.claim(undo(0))

    story.complete(act(0), late)
    assert story.sends == ()  # never two at once
    story.complete(undo(0), token)

    assert story.sent == [undo(0, 2)]
    assert story.done(undo(0, 2)).status is SagaStatus.COMPENSATED


def test_c8_a_late_success_after_its_undo_reopens_a_compensated_saga() -> None:
    story, late = frozen_while_the_saga_is_undone()
    story.done(undo(0))
    assert story.status is SagaStatus.COMPENSATED

    story.complete(act(0), late)

    assert story.status is SagaStatus.COMPENSATING
    assert story.sent == [undo(0, 2)]
    assert story.done(undo(0, 2)).status is SagaStatus.COMPENSATED


def test_c8_a_compensation_that_was_claimed_once_counts_as_begun() -> None:
    """It may have found nothing, and its key would make the service say so again."""
    story, late = frozen_while_the_saga_is_undone()
    story.claim(undo(0))
    story.lose(undo(0))
    assert story.row(undo(0)).status is ExecutionStatus.PENDING

    story.complete(act(0), late)
    story.done(undo(0))

    assert story.sent == [undo(0, 2)]


def test_c8_a_late_undo_that_began_before_the_effect_does_not_count_for_it() -> None:
    story, late = frozen_while_the_saga_is_undone()
    undoing = story.claim(undo(0))
    story.lose(undo(0))
    story.complete(act(0), late)

    story.complete(undo(0), undoing)

    assert story.sent == [undo(0, 2)]


def test_c8_a_compensation_whose_claim_may_be_lost_counts_as_begun() -> None:
    story, late = frozen_while_the_saga_is_undone()
    story.evidence(undo(0), epoch_changed=True, dispatched_at=None).tick()

    story.complete(act(0), late)
    story.done(undo(0))

    assert story.sent == [undo(0, 2)]


def test_c8_an_operators_retry_of_a_failed_compensation_is_followed_by_another_round() -> None:
    story, late = frozen_while_the_saga_is_undone()
    story.fail(undo(0), story.claim(undo(0)))
    story.complete(act(0), late)
    assert story.status is SagaStatus.FAILED

    story.retry()
    story.done(undo(0))

    assert story.sent == [undo(0, 2)]


def test_c8_a_late_success_of_a_completed_and_undone_step_is_undone_again() -> None:
    """Somebody else completed it with the same key; the frozen one's effect may have landed after the undo."""
    story = Story(step(), step())
    late = story.claim(act(0))
    story.lose(act(0))
    story.done(act(0)).refused(act(1)).done(undo(0))

    story.complete(act(0), late)

    assert story.sent == [undo(0, 2)]


def test_c8_a_stray_in_a_failed_saga_is_undone_and_it_stays_failed() -> None:
    story = Story(step(), step(), step())
    story.done(act(0))
    late = story.claim(act(1))
    story.lose(act(1))
    story.done(act(1)).refused(act(2)).done(undo(1))
    story.fail(undo(0), story.claim(undo(0)))
    assert story.status is SagaStatus.FAILED

    story.complete(act(1), late)
    assert story.sent == [undo(1, 2)]
    story.done(undo(1, 2))

    assert story.status is SagaStatus.FAILED


def test_c8_a_late_success_with_nothing_to_undo_changes_no_status() -> None:
    story = Story(step(compensation=None, max_losses=0))
    late = story.claim(act(0))
    story.lose(act(0))
    assert story.status is SagaStatus.COMPENSATED

    story.complete(act(0), late)

    assert story.status is SagaStatus.COMPENSATED


@pytest.mark.parametrize("maybe", MAYBE)
def test_c8_a_late_end_that_is_no_clean_no_is_undone_again(maybe: Verdict) -> None:
    """Its effect may have landed after the undo, and somebody reports it."""
    story, late = frozen_while_the_saga_is_undone()
    story.done(undo(0))

    said = story.fail(act(0), late, maybe)

    assert not said.accepted
    assert story.sent == [undo(0, 2)]


def test_c8_a_late_clean_no_changes_nothing() -> None:
    story, late = frozen_while_the_saga_is_undone()
    story.done(undo(0))

    story.fail(act(0), late, Verdict.CLEAN_NO)

    assert story.status is SagaStatus.COMPENSATED


@pytest.mark.parametrize("maybe", MAYBE)
def test_c5_a_late_end_while_somebody_else_runs_it_leaves_its_doubt(maybe: Verdict) -> None:
    story = Story(step())
    before = story.state
    late = story.claim(act(0))
    story.crash(act(0), before).evidence(act(0), epoch_changed=False)
    other = story.claim(act(0))

    story.fail(act(0), late, maybe)
    story.fail(act(0), other, Verdict.CLEAN_NO)
    story.tick()

    assert story.sent == [undo(0)]


@pytest.mark.parametrize("maybe", MAYBE)
def test_a_late_failure_of_what_is_completed_and_stays_so_changes_nothing(maybe: Verdict) -> None:
    story = Story(step(), pivot(), retriable())
    late = story.claim(act(0))
    story.lose(act(0))
    story.done(act(0), act(1)).refused(act(2))
    assert story.status is SagaStatus.FAILED
    before = story.state

    story.fail(act(0), late, maybe)

    assert story.state == before


# -- past the pivot, and compensations


def test_a_late_success_of_a_step_past_the_pivot_waits_for_the_person_who_retries() -> None:
    story = Story(pivot(), retriable(max_losses=0)).done(act(0))
    late = story.claim(act(1))
    story.lose(act(1))
    assert story.status is SagaStatus.FAILED

    story.complete(act(1), late)
    assert story.status is SagaStatus.FAILED
    story.retry()

    assert story.sent == [act(1)]


def test_a_late_success_of_a_compensation_is_its_completion() -> None:
    story = Story(step(), step(), step()).done(act(0), act(1)).refused(act(2))
    late = story.claim(undo(1))
    story.lose(undo(1))

    assert story.complete(undo(1), late).accepted

    assert story.sent == [undo(0)]


def test_a_late_success_of_a_compensation_that_was_given_up_resolves_it() -> None:
    story = Story(step(), step(max_losses=0), step()).done(act(0), act(1)).refused(act(2))
    late = story.claim(undo(1))
    story.lose(undo(1))
    assert story.sent == [undo(0)]

    story.complete(undo(1), late)
    story.done(undo(0))

    assert story.status is SagaStatus.COMPENSATED


def test_c8_an_effect_that_lands_before_an_undo_is_tried_again_by_an_operator_is_undone_in_another_round() -> None:
    """The undo was claimed once and may have found nothing; its key would repeat that answer."""
    story = Story(step(), step())
    late = story.claim(act(0))
    story.lose(act(0))
    story.done(act(0)).refused(act(1))
    story.fail(undo(0), story.claim(undo(0)))
    story.retry()

    story.complete(act(0), late)
    story.done(undo(0))

    assert story.sent == [undo(0, 2)]
    assert story.done(undo(0, 2)).status is SagaStatus.COMPENSATED
