"""The pivot: from its claim on it belongs to itself, and never backwards out of doubt."""

from datetime import timedelta

from sagas.model import SagaStatus, Verdict
from tests.unit.model.story import Story, act, pivot, retriable, step, tries, undo


def test_c6_a_pivot_nobody_has_claimed_can_be_cancelled() -> None:
    story = Story(step(), pivot()).done(act(0))

    assert story.cancel().accepted

    assert story.sent == [undo(0)]


def test_c6_from_its_claim_on_a_cancel_only_counts_if_the_pivot_says_no() -> None:
    story = Story(step(), pivot()).done(act(0))
    token = story.claim(act(1))

    story.cancel("changed mind")
    assert story.status is SagaStatus.RUNNING
    story.fail(act(1), token, Verdict.CLEAN_NO)
    story.tick()

    assert story.status is SagaStatus.COMPENSATING
    assert story.state.error is not None
    assert story.state.error.message == "changed mind"


def test_c6_a_pivot_that_succeeds_outlives_the_cancel() -> None:
    story = Story(step(), pivot(), retriable()).done(act(0))
    token = story.claim(act(1))
    story.cancel()

    story.complete(act(1), token)

    assert story.sent == [act(2)]
    assert story.done(act(2)).status is SagaStatus.COMPLETED


def test_c6_so_it_is_with_a_deadline() -> None:
    story = Story(pivot(), retriable(), deadline=timedelta(seconds=10))
    token = story.claim(act(0))

    story.later(60).tick()
    assert story.status.is_forward
    story.complete(act(0), token)

    assert story.sent == [act(1)]


def test_c6_a_deadline_that_passes_before_the_pivot_turns_back() -> None:
    story = Story(step(), pivot(), deadline=timedelta(seconds=10)).done(act(0))
    assert story.due_in() <= 9

    story.later(10).tick()

    assert story.sent == [undo(0)]
    assert story.state.error is not None
    assert story.state.error.type == "sagas.DeadlineExceeded"


def test_c6_a_pivot_in_doubt_is_retried_and_then_left_to_a_person() -> None:
    story = Story(step(), pivot(retry=tries(2))).done(act(0))
    story.fail(act(1), story.claim(act(1)), Verdict.RETRYABLE)
    assert story.sent == [act(1)]

    story.refused(act(1))

    assert story.status is SagaStatus.FAILED
    assert story.state.compensations() == ()
    assert len(story.noted("needs_a_person")) == 1


def test_c6_a_pivot_in_doubt_can_not_be_cancelled() -> None:
    story = Story(step(), pivot(retry=tries(2, backoff=30.0))).done(act(0))
    story.fail(act(1), story.claim(act(1)), Verdict.RETRYABLE)

    story.cancel()

    assert story.status is SagaStatus.RUNNING


def test_c6_a_pivot_whose_claim_may_be_lost_can_not_be_cancelled() -> None:
    story = Story(step(), pivot()).done(act(0))

    story.evidence(act(1), epoch_changed=True).cancel()

    assert story.status is SagaStatus.RUNNING


def test_c6_a_pivot_that_is_not_idempotent_is_never_run_twice_and_never_undone() -> None:
    story = Story(step(), pivot(idempotent=False)).done(act(0))
    story.claim(act(1))

    story.lose(act(1))

    assert story.status is SagaStatus.FAILED


def test_a_pivot_that_says_a_clean_no_turns_back() -> None:
    story = Story(step(), pivot()).done(act(0)).refused(act(1))

    assert story.sent == [undo(0)]


def test_past_the_pivot_a_cancel_is_refused() -> None:
    story = Story(pivot(), retriable()).done(act(0))

    assert not story.cancel().accepted
    assert story.status is SagaStatus.RUNNING


def test_a_step_past_the_pivot_that_would_not_succeed_is_left_to_a_person() -> None:
    story = Story(step(), pivot(), retriable()).done(act(0), act(1)).refused(act(2))

    assert story.status is SagaStatus.FAILED
    assert story.state.compensations() == ()
