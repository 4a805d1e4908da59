"""An instance that has to wait for what others hold begins when it has it, and not before."""

from datetime import timedelta

from sagas.model import ExecutionStatus, IfLocked, MailKind, SagaStatus, StepKind, Verdict
from tests.unit.model.story import Story, act, beside, child, pivot, retriable, step, undo, wait

LOCKS = ("account:{id}",)


def locked_out(**options: object) -> Story:
    return Story(step(), step(), locks=LOCKS, awaits_lock=True, **options)


def test_nothing_begins_while_it_waits() -> None:
    story = locked_out()

    assert (story.state.steps, story.sends) == ((), ())
    assert story.status is SagaStatus.PENDING
    assert story.state.pending == 0


def test_who_waits_in_line_is_woken_and_hardly_looked_at() -> None:
    assert locked_out().due_in() == 3600


def test_what_was_free_begins_at_once() -> None:
    story = Story(step(), step(), locks=LOCKS)

    assert story.sent == [act(0)]


def test_it_begins_when_it_is_granted() -> None:
    story = locked_out()

    story.is_granted()

    assert story.sent == [act(0)]
    assert story.state.evidence.inbox == ()


def test_a_limit_is_a_lock_like_any_other() -> None:
    story = Story(beside(step(), step()), max_concurrent=2, awaits_lock=True)
    assert story.sends == ()

    story.is_granted()

    assert story.sent == [act(0, 0), act(0, 1)]


def test_it_is_woken_in_vain_while_others_still_hold_it() -> None:
    story = locked_out()

    story.arrives(MailKind.WAKE).tick()

    assert story.state.steps == ()
    assert story.due_in() == 3600


def test_a_cancel_ends_it_without_a_step() -> None:
    story = locked_out()

    story.arrives(MailKind.CANCEL, "changed mind").tick()

    assert story.status is SagaStatus.COMPENSATED
    assert story.state.steps == ()


def test_so_does_its_deadline() -> None:
    story = locked_out(deadline=timedelta(seconds=30))
    assert story.due_in() == 30

    story.later(30).tick()

    assert story.status is SagaStatus.COMPENSATED


def test_a_saga_that_does_not_wait_is_compensated_before_its_first_step() -> None:
    story = locked_out(if_locked=IfLocked.REFUSE)

    assert story.status is SagaStatus.COMPENSATED
    assert story.state.error is not None
    assert story.state.error.type == "sagas.ResourceLocked"
    assert story.state.steps == ()


def test_a_signal_that_comes_meanwhile_is_kept() -> None:
    story = Story(wait("approved"), step(), locks=LOCKS, awaits_lock=True)
    story.signal("approved")
    assert story.state.steps == ()

    story.is_granted()

    assert story.sent == [act(1)]


def test_what_has_begun_is_held_up_no_more() -> None:
    """Evidence that nothing can produce, and that would do no harm."""
    story = locked_out()
    story.is_granted()

    story.done(act(0)).refused(act(1))

    assert story.sent == [undo(0)]


# -- after a failure it needs a place again, to go forward


def stuck(*steps: object) -> Story:
    """It has failed past its pivot, and given its place back."""
    story = Story(step(), pivot(), *(steps or [retriable(), retriable()]), max_concurrent=1).done(act(0), act(1))
    if not steps:
        story.fail(act(2), story.claim(act(2)), Verdict.UNKNOWN, unheard=True)
        assert story.status is SagaStatus.FAILED
    return story


def test_d29_what_is_retried_waits_for_its_place_and_then_begins() -> None:
    story = stuck().is_full()

    assert story.retry().accepted
    assert (story.status, story.sent, story.due_in()) == (SagaStatus.RUNNING, [], 3600)
    assert not story.is_claimable(act(2))  # by a message of the dispatch before
    story.later(3600).tick()
    assert (story.sent, story.is_claimable(act(2))) == ([], False)

    story.is_granted()

    assert story.sent == [act(2)]
    story.done(act(2), act(3))
    assert story.status is SagaStatus.COMPLETED


def test_d29_with_a_place_it_begins_at_once() -> None:
    story = stuck()

    assert story.retry().accepted

    assert story.sent == [act(2)]


def test_d29_what_follows_a_skipped_step_waits_for_the_place_too() -> None:
    story = stuck().is_full()

    assert story.skip().accepted
    assert (story.status, story.state.at(act(3))) == (SagaStatus.RUNNING, None)

    story.is_granted()

    assert story.sent == [act(3)]


def test_d29_what_has_nothing_left_to_do_ends_without_a_place() -> None:
    story = stuck().is_full()
    story.retry()
    story.is_granted()
    story.done(act(2))
    story.fail(act(3), story.claim(act(3)), Verdict.UNKNOWN, unheard=True)

    assert story.is_full().skip().accepted

    assert story.status is SagaStatus.COMPLETED


def test_d29_a_child_saga_that_is_tried_again_starts_with_the_place() -> None:
    story = stuck(child(kind=StepKind.RETRIABLE))
    story.child_is(act(2), SagaStatus.COMPENSATED)
    assert story.status is SagaStatus.FAILED

    assert story.is_full().retry().accepted
    assert (story.said.children, story.row(act(2)).status) == ((), ExecutionStatus.PENDING)
    story.later().tick()
    assert story.said.children == ()

    story.is_granted()

    assert [it.address for it in story.said.children] == [act(2)]


def test_d29_an_undo_waits_for_no_place() -> None:
    story = Story(step(), step(), max_concurrent=1).done(act(0)).refused(act(1))
    story.fail(undo(0), story.claim(undo(0)))
    assert story.status is SagaStatus.FAILED

    assert story.is_full().retry().accepted

    assert story.sent == [undo(0)]
