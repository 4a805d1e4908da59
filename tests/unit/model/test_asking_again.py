"""A body asks to be tried again (`self.retry`), or its worker says why it has ended it."""

from datetime import timedelta

import pytest

from sagas.model import Address, Asked, Ended, ExecutionStatus, SagaStatus, Verdict
from tests.unit.model.story import Story, act, error, pivot, retriable, step, tries, undo

HOUR = 3600.0


def asks(story: Story, address: Address, asked: Asked, verdict: Verdict = Verdict.RETRYABLE) -> None:
    story.fail(address, story.claim(address), verdict, asked=asked)


def ends(story: Story, address: Address, verdict: Verdict, delivery: str = "mine") -> None:
    """The worker has ended the process that runs it."""
    story.claim(address)
    story.evidence(address, delivery="mine")
    story.happens(Ended(delivery=delivery, error=error("ended"), verdict=verdict))


def test_d19_what_a_body_asks_for_is_waited_for_and_nothing_is_sent_before() -> None:
    story = Story(step(retry=tries(2)))

    asks(story, act(0), Asked(wait=HOUR))

    assert story.sent == []
    assert story.row(act(0)).not_before == story.now + timedelta(seconds=HOUR)
    assert story.due_in() == HOUR
    assert not story.is_claimable(act(0))


def test_d19_a_short_wait_is_a_countdown() -> None:
    story = Story(step(retry=tries(2, backoff=60.0)))

    asks(story, act(0), Asked(wait=0.5))

    assert [(send.address, send.countdown) for send in story.sends] == [(act(0), 0.5)]


def test_d19_what_says_no_time_waits_as_the_policy_says() -> None:
    story = Story(step(retry=tries(2, backoff=60.0)))

    asks(story, act(0), Asked())

    assert story.due_in() == 60.0


def test_d19_nothing_waits_longer_than_a_week() -> None:
    story = Story(step(retry=tries(2)))

    asks(story, act(0), Asked(wait=30 * 24 * HOUR))

    assert story.due_in() == 7 * 24 * HOUR


def test_d19_attempts_are_counted_by_the_steps_policy() -> None:
    story = Story(step(retry=tries(2)))

    asks(story, act(0), Asked(wait=0.0))
    asks(story, act(0), Asked(wait=0.0))
    story.tick()

    assert story.row(act(0)).status is ExecutionStatus.FAILED
    assert story.status is SagaStatus.COMPENSATING


def test_d19_a_poll_uses_no_attempt_and_writes_a_counter() -> None:
    story = Story(step(retry=tries(2)))

    for _ in range(9):
        asks(story, act(0), Asked(wait=1.0, polls=True))
    asks(story, act(0), Asked(wait=1.0))
    row = story.row(act(0))

    assert (row.attempts, row.polls, row.failures, row.status) == (10, 9, 1, ExecutionStatus.PENDING)
    assert len(story.noted("attempt_failed")) == 1


def test_d19_polls_end_within_their_limit_which_counts_from_the_first_of_them() -> None:
    story = Story(step(poll_for=100.0))

    asks(story, act(0), Asked(wait=60.0, polls=True))
    story.later(60.0)
    asks(story, act(0), Asked(wait=60.0, polls=True))
    story.tick()

    assert story.row(act(0)).status is ExecutionStatus.FAILED
    assert story.row(act(0)).doubt
    assert story.noted("poll_limit_passed") == [{"seconds": 100.0, "polls": 2}]
    assert len(story.noted("attempt_failed")) == 1
    assert story.status is SagaStatus.COMPENSATING


def test_d19_a_person_who_retries_a_step_that_polled_in_vain_gives_it_all_of_its_time_again() -> None:
    story = Story(pivot(), retriable(poll_for=100.0)).done(act(0))
    asks(story, act(1), Asked(wait=100.0, polls=True))
    story.tick()
    assert story.status is SagaStatus.FAILED

    story.later(HOUR).retry()
    asks(story, act(1), Asked(wait=60.0, polls=True))

    assert story.row(act(1)).polls == 1
    assert story.row(act(1)).status is ExecutionStatus.PENDING


def test_d19_what_is_not_idempotent_is_not_tried_again_for_asking() -> None:
    story = Story(step(idempotent=False, retry=tries(5)))

    asks(story, act(0), Asked(wait=1.0, polls=True))
    story.tick()

    assert story.row(act(0)).status is ExecutionStatus.FAILED


def test_d19_a_compensation_may_poll_too() -> None:
    story = Story(step(), step()).done(act(0)).refused(act(1))

    for _ in range(3):
        asks(story, undo(0), Asked(wait=1.0, polls=True))
    story.done(undo(0))

    assert story.status is SagaStatus.COMPENSATED


def test_d20_what_its_worker_ended_by_the_limit_is_an_attempt_and_no_loss() -> None:
    story = Story(step(retry=tries(2)))

    ends(story, act(0), Verdict.TIMEOUT)
    once = story.row(act(0))
    ends(story, act(0), Verdict.TIMEOUT)
    twice = story.row(act(0))

    assert (once.status, once.attempts, once.losses) == (ExecutionStatus.PENDING, 1, 0)
    assert (twice.status, twice.attempts, twice.losses, twice.doubt) == (ExecutionStatus.FAILED, 2, 0, True)
    assert story.status is SagaStatus.COMPENSATING  # nothing else asks what follows


def test_d20_without_a_report_it_is_a_loss_that_uses_up_no_attempt() -> None:
    story = Story(step(retry=tries(1)))
    story.claim(act(0))

    story.lose(act(0))

    assert (story.row(act(0)).status, story.row(act(0)).failures) == (ExecutionStatus.PENDING, 0)


def test_d20_a_report_of_another_delivery_says_nothing() -> None:
    story = Story(step())

    ends(story, act(0), Verdict.TIMEOUT, delivery="another")

    assert not story.said.accepted
    assert story.row(act(0)).status is ExecutionStatus.RUNNING


def test_a_step_that_a_person_has_stopped_is_not_run_again_whatever_its_policy_says() -> None:
    story = Story(step(retry=tries(9)))

    ends(story, act(0), Verdict.STOPPED)

    assert (story.status, story.sent) == (SagaStatus.COMPENSATING, [undo(0)])


@pytest.mark.parametrize("stopped", [act(0), act(1)])
def test_past_the_point_of_no_return_it_fails_for_a_person(stopped: Address) -> None:
    story = Story(pivot(retry=tries(9)), retriable(retry=tries(9)))
    if stopped == act(1):
        story.done(act(0))

    ends(story, stopped, Verdict.STOPPED)

    assert story.status is SagaStatus.FAILED


def test_an_interruption_that_ends_its_process_is_followed_up_at_once() -> None:
    story = Story(step(max_losses=0))

    story.fail(act(0), story.claim(act(0)), Verdict.INTERRUPTED, unheard=True)

    assert story.status is SagaStatus.COMPENSATING
