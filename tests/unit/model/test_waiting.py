"""Steps that no worker runs: they wait for time or for a signal, and hold neither worker nor message."""

from datetime import timedelta
from typing import Any

import pytest

from sagas.model import ExecutionStatus, MailKind, SagaStatus, StepKind, Verdict
from tests.unit.model.story import Story, act, beside, pivot, retriable, sleep, step, tries, undo, wait

# -- Sleep


def test_a_sleep_has_no_message_and_is_due_when_its_time_is_over() -> None:
    story = Story(step(), sleep(90.0), step()).done(act(0))

    assert story.sends == ()
    assert story.due_in() == 90
    assert story.row(act(1)).status is ExecutionStatus.PENDING


def test_no_worker_can_claim_what_waits() -> None:
    story = Story(sleep(90.0), wait()).later(90)
    assert not story.is_claimable(act(0))
    story.tick()

    assert not story.is_claimable(act(1))


def test_the_next_step_is_sent_once_the_time_is_over() -> None:
    story = Story(step(), sleep(90.0), step()).done(act(0))

    assert story.later(89).tick().sends == ()
    story.later(1).tick()

    assert story.row(act(1)).status is ExecutionStatus.COMPLETED
    assert story.sent == [act(2)]


def test_a_saga_may_begin_and_end_with_a_sleep() -> None:
    story = Story(sleep(5.0), step(), sleep(5.0))

    assert story.later(5).tick().sends[0].address == act(1)
    story.done(act(1)).later(5).tick()

    assert story.status is SagaStatus.COMPLETED


def test_a_sleep_is_nothing_to_undo() -> None:
    story = Story(step(), sleep(5.0), step()).done(act(0)).later(5)
    story.tick()

    story.refused(act(2))

    assert story.sent == [undo(0)]


def test_a_cancel_does_not_wait_for_the_end_of_a_sleep() -> None:
    story = Story(step(), sleep(3600.0), step()).done(act(0))

    story.cancel()

    assert story.row(act(1)).status is ExecutionStatus.SKIPPED
    assert story.sent == [undo(0)]


def test_a_deadline_does_not_wait_for_it_either() -> None:
    story = Story(step(), sleep(3600.0), step(), deadline=timedelta(seconds=60)).done(act(0))
    assert story.due_in() < 60

    story.later(60).tick()

    assert story.sent == [undo(0)]


def test_a_lane_that_sleeps_lets_the_others_work() -> None:
    story = Story(beside([sleep(30.0), step()], [step(), step()]), step())
    assert story.sent == [act(0, 2)]

    story.done(act(0, 2)).later(30).tick()

    assert story.sent == [act(0, 1)]
    assert story.done(act(0, 1), act(0, 3)).sent == [act(1)]


def test_a_sleep_under_another_epoch_is_no_step_in_doubt() -> None:
    """It has no message, so there was no claim that a crash could have lost."""
    story = Story(step(), sleep(60.0), step()).done(act(0))

    story.evidence(act(1), epoch_changed=True).cancel()

    assert (story.row(act(1)).status, story.row(act(1)).doubt) == (ExecutionStatus.SKIPPED, False)


# -- WaitFor


@pytest.mark.parametrize("beside_it", [[], [step()], [beside(step(), step())]], ids=["alone", "a step", "branches"])
def test_m5_what_waits_is_always_due(beside_it: list[Any]) -> None:
    """Due never and not final, it would be found by nobody when its signal does not come."""
    story = Story(wait(seconds=3600.0), *beside_it)

    assert story.status.is_forward
    assert story.due_in() == 3600
    story.later(3599).tick()
    assert story.due_in() == 1


def test_a_signal_ends_the_wait_and_its_payload_is_the_result() -> None:
    story = Story(step(), wait("approved"), step()).done(act(0))

    story.signal("approved", '{"by": "maria"}')

    assert story.row(act(1)).result == '{"by": "maria"}'
    assert story.sent == [act(2)]
    assert story.noted("signal_received") == [{"signal": "approved", "by": "maria"}]
    assert story.state.evidence.inbox == ()


def test_a_signal_that_came_before_the_wait_is_kept_for_it() -> None:
    story = Story(step(), wait("approved"), step())
    story.signal("approved", '{"by": "maria"}')
    assert len(story.state.evidence.inbox) == 1

    story.done(act(0))

    assert story.row(act(1)).status is ExecutionStatus.COMPLETED
    assert story.sent == [act(2)]
    assert story.state.evidence.inbox == ()


def test_a_signal_that_was_there_before_the_start_ends_a_first_wait_at_once() -> None:
    story = Story(step(), wait("a"), wait("b"), beside(wait("c"), step()))
    for name in "cba":
        story.signal(name)

    story.done(act(0))

    assert story.sent == [act(3, 1)]
    assert story.row(act(3, 0)).status is ExecutionStatus.COMPLETED


def test_another_signal_is_left_for_whoever_waits_for_it() -> None:
    story = Story(wait("approved"), step())

    story.signal("paid")

    assert story.row(act(0)).is_live
    assert [mail.name for mail in story.state.evidence.inbox] == ["paid"]


def test_one_signal_ends_one_wait_and_the_oldest_goes_first() -> None:
    story = Story(wait("part"), wait("part"), step())
    story.arrives(MailKind.SIGNAL, "part", "1").arrives(MailKind.SIGNAL, "part", "2")

    story.tick()

    assert [story.row(act(position)).result for position in (0, 1)] == ["1", "2"]
    assert story.sent == [act(2)]


def test_two_branches_that_wait_for_the_same_signal_need_two() -> None:
    story = Story(beside(wait("part"), wait("part")), step())

    story.signal("part")
    assert story.sent == []
    assert sum(row.is_live for row in story.state.steps) == 1
    story.signal("part")

    assert story.sent == [act(1)]


def test_a_signal_that_nobody_waits_for_any_more_stays_where_it_is() -> None:
    story = Story(wait("approved"), step())
    story.signal("approved")

    story.signal("approved")
    story.done(act(1))

    assert story.status is SagaStatus.COMPLETED
    assert len(story.state.evidence.inbox) == 1
    assert len(story.noted("signal_too_late")) == 1


def test_one_that_comes_at_the_last_moment_is_before_the_timeout() -> None:
    story = Story(step(), wait("approved", 60.0), step()).done(act(0))

    story.later(61).signal("approved")

    assert story.row(act(1)).status is ExecutionStatus.COMPLETED


def test_a_signal_that_does_not_come_turns_the_saga_back() -> None:
    story = Story(step(), wait("approved", 60.0), step()).done(act(0))
    assert story.due_in() == 60

    story.later(60).tick()

    assert story.status is SagaStatus.COMPENSATING
    assert story.state.error is not None
    assert story.state.error.type == "sagas.SignalTimeout"
    assert "no signal 'approved' came within 0:01:00" in story.state.error.message
    assert story.sent == [undo(0)]


def test_or_the_saga_goes_on_without_it() -> None:
    story = Story(pivot(), wait("approved", 60.0, then="continue", kind=StepKind.RETRIABLE), retriable()).done(act(0))

    story.later(60).tick()

    assert story.sent == [act(2)]
    assert story.row(act(1)).result is None
    assert story.noted("signal_timed_out") == [{"signal": "approved", "on_timeout": "continue"}]


def test_a_wait_that_times_out_beside_others_lets_them_drain_first() -> None:
    story = Story(beside(wait("approved", 60.0), step()), step())
    token = story.claim(act(0, 1))

    story.later(60).tick()
    assert story.status is SagaStatus.COMPENSATING
    assert story.sends == ()
    story.complete(act(0, 1), token)

    assert story.sent == [undo(0, branch=1)]


def test_a_signal_that_comes_while_the_saga_turns_back_changes_nothing() -> None:
    story = Story(step(), wait("approved"), step()).done(act(0))
    story.cancel()

    story.signal("approved")

    assert story.row(act(1)).status is ExecutionStatus.SKIPPED
    assert story.status is SagaStatus.COMPENSATING


@pytest.mark.parametrize("verdict", [Verdict.CLEAN_NO, Verdict.UNKNOWN, Verdict.UNUSABLE])
def test_whatever_event_finds_a_signal_gives_it_to_the_step_that_waits(verdict: Verdict) -> None:
    """Who was to have it looked at may have died, and what reads the inbox marks all of it as seen: no sweep would
    come back for it before the wait is over."""
    story = Story(beside(wait("approved", 3 * 24 * 3600.0), step(best_effort=True)), step())
    token = story.claim(act(0, 1))
    story.arrives(MailKind.SIGNAL, "approved")

    story.fail(act(0, 1), token, verdict)

    assert story.row(act(0, 0)).status is ExecutionStatus.COMPLETED or story.due_in() <= 60


# -- what a signal brings beside what branches return


def test_a_signal_that_brings_what_a_branch_has_returned_turns_the_saga_back() -> None:
    story = Story(beside(wait("approved"), step()), step())
    story.complete(act(0, 1), story.claim(act(0, 1)), "{}", keys=("price",))

    story.signal("approved", '{"price": 1}')

    assert story.state.error is not None
    assert story.state.error.type == "sagas.KeyClash"
    assert story.row(act(0, 0)).status is ExecutionStatus.FAILED
    assert story.sent == [undo(0, branch=1)]
    assert story.state.evidence.inbox == ()


def test_a_branch_that_returns_what_a_signal_has_brought_does_too() -> None:
    story = Story(beside(wait("approved"), step()), step())
    story.signal("approved", '{"price": 1}')

    story.complete(act(0, 1), story.claim(act(0, 1)), "{}", keys=("price",))

    assert story.state.error is not None
    assert story.state.error.type == "sagas.KeyClash"
    assert story.sent == [undo(0, branch=1)]


@pytest.mark.parametrize("payload", [None, "7", '["price"]', '"price"'])
def test_a_payload_that_is_no_mapping_clashes_with_nothing(payload: str | None) -> None:
    story = Story(beside(wait("approved"), step()), step())
    story.complete(act(0, 1), story.claim(act(0, 1)), "{}", keys=("price",))

    story.signal("approved", payload)

    assert story.row(act(0, 0)).result == payload
    assert story.sent == [act(1)]


def test_past_the_pivot_a_person_lets_it_wait_for_another_signal() -> None:
    kind = {"kind": StepKind.RETRIABLE}
    story = Story(pivot(), beside(wait("approved", then="continue", **kind), retriable()), retriable()).done(act(0))
    story.complete(act(1, 1), story.claim(act(1, 1)), "{}", keys=("price",))
    story.signal("approved", '{"price": 1}')
    assert story.status is SagaStatus.FAILED

    story.retry()
    assert story.row(act(1, 0)).is_live
    story.signal("approved", '{"by": "maria"}')

    assert story.sent == [act(2)]


# -- what others have to say


def test_a_cancel_in_the_inbox_is_a_cancel() -> None:
    story = Story(step(), step()).done(act(0))

    story.arrives(MailKind.CANCEL, "changed mind").tick()

    assert story.status is SagaStatus.COMPENSATING
    assert story.noted("stop_requested") == [{"reason": "changed mind", "kind": "cancelled", "by": "maria"}]
    assert story.state.evidence.inbox == ()


def test_a_cancel_in_the_inbox_comes_before_whatever_finds_it() -> None:
    story = Story(step(), step(), step()).done(act(0))
    token = story.claim(act(1))
    story.arrives(MailKind.CANCEL, "changed mind")

    story.complete(act(1), token)

    assert story.state.at(act(2)) is None
    assert story.sent == [undo(1)]


def test_a_cancel_past_the_pivot_is_read_and_has_no_effect() -> None:
    story = Story(pivot(), retriable()).done(act(0))

    story.arrives(MailKind.CANCEL, "changed mind").tick()

    assert story.status is SagaStatus.RUNNING
    assert story.state.evidence.inbox == ()


def test_a_cancel_that_comes_too_late_does_not_make_a_failure_one_of_somebody_else() -> None:
    """The worker that reports it holds its claim, and is told so."""
    story = Story(pivot(), retriable(retry=tries(3))).done(act(0))
    token = story.claim(act(1))
    story.arrives(MailKind.CANCEL, "changed mind")

    assert story.fail(act(1), token, Verdict.RETRYABLE).accepted


def test_nor_does_it_make_an_operators_retry_a_refused_one() -> None:
    story = Story(pivot(), retriable()).done(act(0)).refused(act(1))
    story.arrives(MailKind.CANCEL, "changed mind")

    assert story.retry().accepted


def test_only_a_parent_can_have_a_completed_saga_undone() -> None:
    story = Story(step()).done(act(0))

    story.arrives(MailKind.UNDO).tick()

    assert story.status is SagaStatus.COMPLETED
