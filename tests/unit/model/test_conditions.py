"""A step whose condition is false is done without having run, and is never undone."""

import pytest

from sagas.model import Completed, ExecutionStatus, SagaStatus, Verdict
from tests.unit.model.story import Story, act, beside, pivot, retriable, step, tries, undo


def test_the_saga_goes_on_past_a_step_that_is_skipped() -> None:
    story = Story(step(), step(when="wanted"), step()).done(act(0)).skipped(act(1))

    assert story.row(act(1)).status is ExecutionStatus.SKIPPED
    assert story.sent == [act(2)]


def test_a_skipped_step_counts_no_attempt() -> None:
    story = Story(step(when="wanted"), step()).skipped(act(0))

    assert story.row(act(0)).attempts == 0


def test_a_saga_of_skipped_steps_is_completed() -> None:
    story = Story(step(when="wanted"), beside(step(when="wanted"), step(when="wanted")))

    story.skipped(act(0), act(1, 0), act(1, 1))

    assert story.status is SagaStatus.COMPLETED


def test_a_skipped_step_is_not_undone() -> None:
    story = Story(step(), step(when="wanted"), step()).done(act(0)).skipped(act(1)).refused(act(2))

    assert story.sent == [undo(0)]
    assert story.done(undo(0)).status is SagaStatus.COMPENSATED
    assert story.row(act(1)).status is ExecutionStatus.SKIPPED


def test_beside_others_a_skipped_step_is_a_done_one() -> None:
    story = Story(beside([step(when="wanted"), step()], step()), step())

    assert story.skipped(act(0, 0)).sent == [act(0, 1)]
    assert story.done(act(0, 1), act(0, 2)).sent == [act(1)]


def test_one_that_is_skipped_while_the_saga_drains_is_not_undone() -> None:
    story = Story(step(when="wanted"), step())
    token = story.claim(act(0))
    story.cancel()

    story.complete(act(0), token, skipped=True)

    assert story.status is SagaStatus.COMPENSATED
    assert story.state.compensations() == ()


def test_a_skipped_pivot_is_past_all_the_same() -> None:
    story = Story(step(), pivot(when="wanted"), retriable()).done(act(0)).skipped(act(1))

    assert not story.cancel().accepted
    assert story.refused(act(2)).status is SagaStatus.FAILED


# -- two workers had it


def test_a_skip_that_is_reported_by_its_own_token_again_changes_nothing() -> None:
    """The answer to a commit can be lost."""
    story = Story(step(when="wanted"), step())
    token = story.claim(act(0))
    story.complete(act(0), token, skipped=True)
    before = story.state

    said = story.complete(act(0), token, skipped=True)

    assert said.accepted
    assert story.state.steps == before.steps
    assert story.status is SagaStatus.RUNNING


def test_m7_a_limit_that_strikes_after_the_skip_changes_nothing() -> None:
    story = Story(step(when="wanted"), step())
    token = story.claim(act(0))
    story.complete(act(0), token, skipped=True)
    before = story.state

    story.fail(act(0), token, Verdict.TIMEOUT)

    assert story.state.steps == before.steps


def skipped_by_the_second() -> tuple[Story, Completed]:
    """The first worker went silent before it looked at the condition; the second one skipped the step."""
    story = Story(step(when="wanted"), step(), pivot(), retriable())
    late = story.claim(act(0))
    story.lose(act(0))
    story.skipped(act(0))
    return story, Completed(address=act(0), token=late, skipped=True)


def test_c4_a_late_skip_of_a_skipped_step_does_not_turn_the_saga_back() -> None:
    story, late = skipped_by_the_second()

    story.happens(late)

    assert story.status is SagaStatus.RUNNING
    assert story.row(act(0)).status is ExecutionStatus.SKIPPED


def test_c6_least_of_all_past_its_pivot() -> None:
    story, late = skipped_by_the_second()
    story.done(act(1), act(2))

    story.happens(late)

    assert story.status is SagaStatus.RUNNING
    assert story.state.compensations() == ()


def test_c6_nor_when_it_is_stuck_past_its_pivot() -> None:
    story, late = skipped_by_the_second()
    story.done(act(1), act(2)).refused(act(3))
    assert story.status is SagaStatus.FAILED

    story.happens(late)

    assert story.status is SagaStatus.FAILED


def test_a_late_skip_of_an_unclaimed_step_skips_it() -> None:
    story = Story(step(when="wanted"), step())
    late = story.claim(act(0))
    story.lose(act(0))

    assert story.complete(act(0), late, skipped=True).accepted

    assert story.row(act(0)).status is ExecutionStatus.SKIPPED
    assert story.sent == [act(1)]


def test_c9_a_skip_whose_claim_a_crash_has_lost_is_a_state_that_can_be_saved() -> None:
    """No attempt is counted in the row, so none can be taken off."""
    story = Story(step(when="wanted"), step())
    before = story.state
    token = story.claim(act(0))
    story.crash(act(0), before)

    story.complete(act(0), token, skipped=True)

    assert story.row(act(0)).attempts == 0
    assert story.row(act(0)).status is ExecutionStatus.SKIPPED


def test_a_late_skip_is_no_reason_to_undo_what_was_undone() -> None:
    """Given up in doubt and undone; then it turns out that nothing had happened."""
    story = Story(step(when="wanted", max_losses=0), step())
    late = story.claim(act(0))
    story.lose(act(0))
    story.done(undo(0))
    assert story.status is SagaStatus.COMPENSATED

    story.complete(act(0), late, skipped=True)

    assert story.status is SagaStatus.COMPENSATED


# -- conditions may change their mind: they are functions of the application


@pytest.mark.parametrize("verdict", [Verdict.RETRYABLE, Verdict.TIMEOUT, Verdict.INTERRUPTED])
def test_c5_a_step_that_may_have_happened_is_undone_although_its_condition_is_false_by_now(verdict: Verdict) -> None:
    """LockRequest, called, killed; then a deploy changed the condition. Only a completion clears doubt."""
    story = Story(step(predicate="shop.is_wanted", retry=tries(2)), step())
    story.fail(act(0), story.claim(act(0)), verdict)
    assert story.row(act(0)).doubt
    story.skipped(act(0))

    story.refused(act(1))

    assert story.sent == [undo(0)]


def test_c5_also_when_the_first_one_reports_its_success_late() -> None:
    story = Story(step(predicate="shop.is_wanted", max_losses=3), step())
    late = story.claim(act(0))
    story.lose(act(0))
    story.skipped(act(0))
    story.complete(act(0), late)
    assert story.status is SagaStatus.RUNNING

    story.refused(act(1))

    assert story.sent == [undo(0)]


def test_c9_doubt_about_a_lost_claim_outlives_a_late_skip() -> None:
    """Two claims, each lost with a crash of the database: the first body may have acted, the second was not called."""
    story = Story(step(predicate="shop.is_wanted"), step())
    before = story.state
    story.claim(act(0))
    story.crash(act(0), before)
    second = story.claim(act(0))
    story.crash(act(0), before)

    story.complete(act(0), second, skipped=True)
    story.refused(act(1))

    assert story.sent == [undo(0)]
