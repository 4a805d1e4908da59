"""A failed saga whose business key was given to another one, as earlier releases did: it does not go on beside that."""

from sagas.model import ExecutionStatus, SagaStatus, Verdict
from tests.support.seen import seen
from tests.unit.model.story import Story, act, pivot, retriable, step, undo


def superseded(story: Story) -> Story:
    assert story.status is SagaStatus.FAILED
    story.state = seen(story.state, is_superseded=True)
    return story


def stuck_forward() -> Story:
    story = Story(pivot(), retriable(), retriable()).done(act(0))
    story.fail(act(1), story.claim(act(1)), Verdict.UNKNOWN, unheard=True)
    return superseded(story)


def in_doubt_at_its_pivot() -> Story:
    story = Story(step(), pivot(), retriable()).done(act(0))
    story.fail(act(1), story.claim(act(1)), Verdict.UNKNOWN, unheard=True)
    return superseded(story)


def stuck_backward() -> Story:
    story = Story(step(), step()).done(act(0)).refused(act(1))
    story.fail(undo(0), story.claim(undo(0)), Verdict.CLEAN_NO)
    return superseded(story)


def test_d28_it_is_neither_retried_nor_skipped() -> None:
    for story in (stuck_forward(), in_doubt_at_its_pivot(), stuck_backward()):
        before = story.state
        assert not story.retry().accepted
        assert not story.skip().accepted
        assert story.state == before


def test_d28_what_happened_is_no_reason_to_go_on_and_what_did_not_turns_it_back() -> None:
    story = in_doubt_at_its_pivot()

    assert not story.resolve(happened=True).accepted
    assert story.resolve(happened=False).accepted

    assert (story.status, story.sent) == (SagaStatus.COMPENSATING, [undo(0)])


def test_d28_what_a_person_has_undone_by_hand_is_undone() -> None:
    story = stuck_backward()

    assert story.skip(undone=True).accepted

    assert (story.status, story.row(undo(0)).status) == (SagaStatus.COMPENSATED, ExecutionStatus.COMPLETED)


def test_d28_when_its_successor_is_gone_it_goes_on() -> None:
    story = stuck_forward()
    story.state = seen(story.state, is_superseded=False)

    assert story.retry().accepted

    assert story.sent == [act(1)]
