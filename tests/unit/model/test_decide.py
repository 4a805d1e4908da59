"""Forward: claims, completions, failures, losses, stops, and the sweep's look at all of them."""

import pytest

from sagas.model import Claimed, ExecutionStatus, Parked, SagaStatus, Verdict
from tests.unit.model.story import Story, act, error, pivot, retriable, step, tries, undo


def test_a_start_gives_birth_to_the_first_step_and_sends_it() -> None:
    story = Story(step(), step())

    assert [row.address for row in story.state.steps] == [act(0)]
    assert [send.address for send in story.said.sends] == [act(0)]
    assert story.status is SagaStatus.PENDING


def test_a_completion_gives_birth_to_the_next_step_and_sends_it() -> None:
    story = Story(step(), step()).done(act(0))

    assert story.status is SagaStatus.RUNNING
    assert story.sent == [act(1)]


def test_the_last_completion_ends_the_instance() -> None:
    story = Story(step(), pivot(), retriable()).done(act(0), act(1), act(2))

    assert story.status is SagaStatus.COMPLETED
    assert story.state.due_at is None
    assert story.state.finished_at == story.now


def test_a_claim_is_refused_while_somebody_else_holds_it() -> None:
    story = Story(step())
    story.claim(act(0))

    assert not story.is_claimable(act(0))


def test_a_claim_that_is_repeated_with_its_own_token_is_granted_and_counted_once() -> None:
    story = Story(step())
    token = story.claim(act(0))

    said = story.happens(Claimed(address=act(0), token=token))

    assert said.accepted
    assert story.row(act(0)).attempts == 1


def test_an_execution_that_was_never_born_can_neither_be_claimed_nor_end() -> None:
    story = Story(step(), step())
    token = story.claim(act(0))

    assert not story.is_claimable(act(1))
    assert not story.complete(act(1), token).accepted
    assert not story.fail(act(1), token).accepted


# -- failures


def test_a_clean_no_is_not_tried_again() -> None:
    story = Story(step(retry=tries(5)))

    story.fail(act(0), story.claim(act(0)), Verdict.CLEAN_NO)

    assert story.row(act(0)).status is ExecutionStatus.FAILED
    assert story.sent == []


def test_a_retryable_failure_is_tried_again_until_the_policy_is_used_up() -> None:
    story = Story(step(retry=tries(3)))

    for _ in range(3):
        assert story.row(act(0)).status is ExecutionStatus.PENDING
        story.fail(act(0), story.claim(act(0)), Verdict.RETRYABLE)
        story.later(5)

    assert story.row(act(0)).status is ExecutionStatus.FAILED


def test_an_unknown_outcome_that_the_policy_does_not_try_again_is_in_doubt() -> None:
    story = Story(step(retry=tries(3)))

    story.fail(act(0), story.claim(act(0)), Verdict.UNKNOWN)

    assert (story.row(act(0)).status, story.row(act(0)).doubt) == (ExecutionStatus.FAILED, True)


def test_a_short_wait_is_a_countdown() -> None:
    story = Story(step(retry=tries(2, backoff=4.0)))

    story.fail(act(0), story.claim(act(0)), Verdict.RETRYABLE)

    assert [send.countdown for send in story.sends] == [4.0]


def test_a_longer_wait_holds_no_message_and_is_sent_when_it_is_over() -> None:
    story = Story(step(retry=tries(2, backoff=30.0)))

    story.fail(act(0), story.claim(act(0)), Verdict.RETRYABLE)

    assert story.sent == []
    assert story.due_in() == 30
    story.later(29).tick()
    assert story.sent == []
    story.later(1).tick()
    assert story.sent == [act(0)]


def test_an_old_message_does_not_cut_the_wait_short() -> None:
    story = Story(step(retry=tries(2, backoff=30.0)))
    story.fail(act(0), story.claim(act(0)), Verdict.RETRYABLE)

    assert not story.is_claimable(act(0))
    assert story.later(30).is_claimable(act(0))


def test_a_service_that_asks_for_a_longer_wait_gets_it() -> None:
    story = Story(step(retry=tries(2)))

    story.fail(act(0), story.claim(act(0)), Verdict.RETRYABLE, retry_after=120.0)

    assert story.due_in() == 120


@pytest.mark.parametrize("absurd", [1e12, 1e30, float("inf")])
def test_a_service_that_asks_for_an_absurd_wait_gets_a_week(absurd: float) -> None:
    story = Story(step(retry=tries(2)))

    story.fail(act(0), story.claim(act(0)), Verdict.RETRYABLE, retry_after=absurd)

    assert story.due_in() == 7 * 24 * 3600


def test_the_first_error_that_decided_it_is_the_instances() -> None:
    story = Story(step(), step())
    story.done(act(0))

    story.fail(act(1), story.claim(act(1)), error=error("declined"))
    story.tick()

    assert story.state.error is not None
    assert story.state.error.message == "declined"


def test_every_failed_attempt_is_noted_with_its_traceback() -> None:
    story = Story(step(retry=tries(2)))

    story.fail(act(0), story.claim(act(0)), Verdict.RETRYABLE)

    [noted] = story.noted("attempt_failed")
    assert (noted["traceback"], noted["attempt"]) == ("Traceback …", 1)


def test_h2_a_failure_is_recorded_by_the_token_and_the_consequence_drawn_by_whoever_asks() -> None:
    story = Story(step(), step())
    story.done(act(0))

    story.fail(act(1), story.claim(act(1)))
    assert story.status is SagaStatus.RUNNING
    story.tick()

    assert story.status is SagaStatus.COMPENSATING


def test_h2_an_error_callback_of_an_attempt_that_is_being_repeated_changes_nothing() -> None:
    """It can not say which attempt failed, so the rows decide."""
    story = Story(step(retry=tries(2)))
    story.fail(act(0), story.claim(act(0)), Verdict.RETRYABLE)
    story.claim(act(0))
    before = story.state.steps

    story.tick()

    assert story.state.steps == before
    assert story.sent == []


def test_h2_losses_use_up_no_attempt() -> None:
    """A deploy's SIGKILL under a step that is tried once."""
    story = Story(step(retry=tries(1), max_losses=3))

    for _ in range(3):
        story.claim(act(0))
        story.lose(act(0))
        assert story.sent == [act(0)]

    assert story.row(act(0)).failures == 0
    story.done(act(0))
    assert story.status is SagaStatus.COMPLETED


def test_h2_losses_have_a_budget_of_their_own() -> None:
    story = Story(step(retry=tries(9), max_losses=1))
    story.claim(act(0))
    story.lose(act(0))
    story.claim(act(0))

    story.lose(act(0))

    assert story.row(act(0)).status is ExecutionStatus.FAILED
    assert story.row(act(0)).doubt


def test_a_process_that_is_told_to_stop_counts_as_a_loss() -> None:
    story = Story(step(retry=tries(1), max_losses=1))

    story.fail(act(0), story.claim(act(0)), Verdict.INTERRUPTED)

    assert story.sent == [act(0)]
    assert (story.row(act(0)).losses, story.row(act(0)).failures) == (1, 0)


def test_m7_a_failure_after_the_completion_changes_nothing() -> None:
    """A limit that strikes between the commit and the return."""
    story = Story(step(), step())
    token = story.claim(act(0))
    story.complete(act(0), token)
    before = story.state.steps

    said = story.fail(act(0), token, Verdict.TIMEOUT)

    assert not said.accepted
    assert story.state.steps == before


def test_m7_nor_does_it_when_the_saga_has_turned_back_since() -> None:
    story = Story(step(), step())
    token = story.claim(act(0))
    story.complete(act(0), token)
    story.refused(act(1)).done(undo(0))
    before = story.state.steps

    said = story.fail(act(0), token, Verdict.TIMEOUT)

    assert not said.accepted
    assert (story.status, story.state.steps) == (SagaStatus.COMPENSATED, before)


# -- doubt


def test_a_step_that_is_not_idempotent_is_never_run_twice() -> None:
    for verdict in (Verdict.RETRYABLE, Verdict.TIMEOUT, Verdict.INTERRUPTED):
        story = Story(step(retry=tries(5), idempotent=False))
        story.fail(act(0), story.claim(act(0)), verdict)
        assert (story.row(act(0)).status, story.row(act(0)).doubt) == (ExecutionStatus.FAILED, True)


def test_c9_a_step_unclaimed_under_another_epoch_is_in_doubt() -> None:
    story = Story(step())
    before = story.state
    story.claim(act(0))
    story.crash(act(0), before)

    story.cancel()

    assert story.row(act(0)).doubt
    assert story.sent == [undo(0)]


def test_c9_doubt_about_a_lost_claim_outlives_the_next_dispatch() -> None:
    story = Story(step())
    story.evidence(act(0), epoch_changed=True, dispatched_at=None).tick()
    assert story.sent == [act(0)]

    story.refused(act(0))

    assert story.status is SagaStatus.COMPENSATING


def test_c9_doubt_about_a_lost_claim_outlives_the_next_claim() -> None:
    story = Story(step())
    story.evidence(act(0), epoch_changed=True)

    story.refused(act(0))

    assert story.status is SagaStatus.COMPENSATING


def test_c9_a_step_that_is_not_idempotent_is_not_sent_again_after_a_crash() -> None:
    story = Story(step(idempotent=False))

    story.evidence(act(0), epoch_changed=True, dispatched_at=None).tick()

    assert story.sent == [undo(0)]


# -- parked


def test_h11_a_step_whose_parameters_do_not_fit_waits_for_a_deploy_and_is_no_clean_no() -> None:
    story = Story(step(), step()).done(act(0))

    story.park(act(1), story.claim(act(1)))

    row = story.row(act(1))
    assert (row.status, row.attempts, row.doubt) == (ExecutionStatus.PENDING, 0, False)
    assert story.due_in() == 60
    story.later(60).tick()
    assert story.sent == [act(1)]
    story.done(act(1))
    assert story.status is SagaStatus.COMPLETED


def test_h11_a_parked_step_is_noted_once() -> None:
    story = Story(step())
    for _ in range(3):
        story.park(act(0), story.claim(act(0)))
        story.later(60).tick()

    assert len(story.noted("parked")) == 1


def test_h11_a_parked_compensation_waits_too() -> None:
    story = Story(step(), step()).done(act(0)).refused(act(1))

    story.park(undo(0), story.claim(undo(0)))

    assert story.status is SagaStatus.COMPENSATING
    story.later(60).tick()
    assert story.sent == [undo(0)]


def test_parking_by_somebody_who_does_not_hold_the_claim_is_refused() -> None:
    story = Story(step())
    token = story.claim(act(0))
    story.lose(act(0))

    said = story.happens(Parked(address=act(0), token=token, error=error()))

    assert not said.accepted
    assert story.row(act(0)).not_before is None


# -- events that do not apply


def test_h4_an_event_that_does_not_apply_is_refused_and_changes_nothing() -> None:
    """An instance on which `decide` raised would stay the first in every sweep."""
    story = Story(step())
    stranger = story.claim(act(0))
    story.lose(act(0))
    story.done(act(0))
    before = story.state

    for said in (story.retry(), story.cancel(), story.fail(act(0), stranger), story.park(act(0), stranger)):
        assert not said.accepted
        assert said.state == before


def test_h9_what_is_due_counts_from_the_clock_that_is_given() -> None:
    """Not from the beginning of somebody's transaction: `decide` reads no clock of its own."""
    story = Story(step(), step())
    token = story.claim(act(0))

    story.later(600).complete(act(0), token)

    assert story.due_in() == 3600
