"""What becomes of a signal that no step will take: a line in the history."""

import pytest

from sagas.model import MailKind, SagaStatus, StepKind, Verdict
from tests.unit.model.story import Story, act, pivot, retriable, step, wait


def test_one_that_comes_after_a_wait_that_was_done_without_leaves_a_line() -> None:
    story = Story(wait("approved", 60.0, then="continue"), step()).later(60)
    story.tick()

    story.signal("approved")

    assert story.noted("signal_too_late") == [{"signal": "approved", "by": "maria", "number": 1}]
    story.later().tick()
    assert len(story.noted("signal_too_late")) == 1


@pytest.mark.parametrize("turned", [True, False])
def test_one_that_comes_after_the_end_leaves_a_line(turned: bool) -> None:
    story = Story(wait("approved", 60.0), step())
    if turned:
        story.later(60).tick()
    else:
        story.signal()
        story.done(act(1))
    assert story.status.is_final

    story.signal("approved")

    assert (len(story.noted("signal_too_late")), story.state.evidence.inbox) == (1, ())


def test_one_that_was_kept_is_not_late_when_the_saga_turns_back() -> None:
    story = Story(step(), wait("approved"), step())
    story.signal("approved")

    story.cancel()

    assert story.noted("signal_too_late") == []


def test_what_is_stuck_past_its_pivot_keeps_what_came_before_and_hears_nothing_after() -> None:
    story = Story(pivot(), retriable(), wait("approved", kind=StepKind.RETRIABLE)).done(act(0))
    token = story.claim(act(1))
    story.arrives(MailKind.SIGNAL, "approved", "1")
    story.fail(act(1), token, Verdict.UNKNOWN, unheard=True)
    assert story.status is SagaStatus.FAILED

    story.signal("approved", "2")

    assert len(story.noted("signal_too_late")) == 1
    story.skip()
    assert (story.status, story.row(act(2)).result) == (SagaStatus.COMPLETED, "1")
