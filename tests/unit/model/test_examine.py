"""The sweep's look at one execution: is its holder alive, in time, is its message on the way?"""

from datetime import timedelta

from sagas.model import ExecutionStatus, Holder
from tests.unit.model.story import Story, act, step, tries


def test_a_healthy_holder_is_left_alone() -> None:
    story = Story(step(timeout=3600.0))
    story.claim(act(0))

    story.later(3599).tick()

    assert story.row(act(0)).status is ExecutionStatus.RUNNING
    assert story.sends == ()


def test_a_step_is_taken_from_a_live_holder_when_its_time_is_over() -> None:
    story = Story(step(timeout=30.0, retry=tries(2)))
    story.claim(act(0))

    story.later(36).tick()

    assert story.sent == [act(0)]
    assert story.row(act(0)).doubt


def test_h5_what_is_out_is_left_alone_however_long_its_queue_is() -> None:
    story = Story(step())

    for _ in range(600 // 5):
        story.later(5).tick()
        assert story.sent == []
    assert story.due_in() == 3600


def test_h5_what_nobody_has_heard_of_for_an_hour_is_sent_again() -> None:
    story = Story(step())

    story.later(3600).tick()

    assert story.sent == [act(0)]
    assert story.row(act(0)).dispatches == 2


def test_b16_a_moment_far_ahead_is_no_reason_for_patience() -> None:
    """After a failover the clock of the database may have gone back."""
    story = Story(step())
    ahead = story.now + timedelta(hours=2)

    story.evidence(act(0), dispatched_at=ahead).tick()

    assert story.sent == [act(0)]


def test_h5_what_is_to_be_sent_is_sent() -> None:
    story = Story(step())

    story.evidence(act(0), dispatched_at=None).tick()

    assert story.sent == [act(0)]


def test_h4_a_tick_never_leaves_an_instance_due_at_once() -> None:
    """Else it would stay the first that is picked, for ever. The machine asserts it of every tick, too."""
    story = Story(step(timeout=1.0, idempotent=False))
    story.claim(act(0))
    story.cancel()

    for holder in (Holder.ALIVE, Holder.SILENT):
        story.evidence(act(0), holder=holder).tick()
        assert story.due_in() > 0
