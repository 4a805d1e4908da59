"""The sweep's look at one execution: is its holder alive, in time, is its message on the way?"""

from sagas.model import Holder, StepStatus
from tests.unit.model.story import Story, act, step, tries


def test_a_healthy_holder_is_left_alone() -> None:
    story = Story(step(timeout=3600.0))
    story.claim(act(0))

    story.later(3599).tick()

    assert story.row(act(0)).status is StepStatus.RUNNING
    assert story.sends == ()


def test_a_step_is_taken_from_a_live_holder_when_its_time_is_over() -> None:
    story = Story(step(timeout=30.0, retry=tries(2)))
    story.claim(act(0))

    story.later(36).tick()

    assert story.sent == [act(0)]
    assert story.row(act(0)).doubt


def test_h5_a_backlog_is_no_loss() -> None:
    """Ten minutes behind a worker that is away: sixty seconds, then four minutes, then ten, not every lease."""
    story = Story(step())
    sends = 0

    for _ in range(600 // 5):
        story.later(5).tick()
        sends += len(story.sent)

    assert sends == 2


def test_h5_patience_has_a_limit() -> None:
    story = Story(step())
    for _ in range(12):
        story.later(600).tick()

    assert story.sent == [act(0)]


def test_h5_a_message_that_was_overtaken_is_sent_again_at_once() -> None:
    story = Story(step())

    story.later(1).evidence(act(0), overtaken=True).tick()

    assert story.sent == [act(0)]
    assert story.noted("dispatched_again") == [{"dispatches": 2, "overtaken": True}]


def test_h5_a_message_that_was_never_published_is_sent_at_once_and_not_counted_as_lost() -> None:
    story = Story(step())

    story.evidence(act(0), dispatched_at=None).tick()

    assert story.sent == [act(0)]
    assert story.noted("dispatched_again") == []


def test_h5_a_claim_resets_the_patience() -> None:
    story = Story(step(max_losses=9))
    for _ in range(3):
        story.later(600).tick()
    story.claim(act(0))
    story.lose(act(0))

    story.later(60).tick()

    assert story.sent == [act(0)]


def test_h4_a_tick_never_leaves_an_instance_due_at_once() -> None:
    """Else it would stay the first that is picked, for ever. The machine asserts it of every tick, too."""
    story = Story(step(timeout=1.0, idempotent=False))
    story.claim(act(0))
    story.cancel()

    for holder in (Holder.ALIVE, Holder.SILENT):
        story.evidence(act(0), holder=holder).tick()
        assert story.due_in() > 0
