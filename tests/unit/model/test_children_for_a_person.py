"""A child saga that waits for a person: its parent waits with it, and is answered by nobody."""

from sagas.model import ChildState, SagaStatus, waits_for_a_person
from tests.support.seen import seen
from tests.unit.model.story import Story, act, child, step, undo


def test_d30_a_parent_waits_at_the_step_whose_child_does() -> None:
    story = Story(step(), child(), step()).done(act(0))
    assert waits_for_a_person(story.plan, story.state) == ()

    story.knows_child(act(1), SagaStatus.FAILED).later().tick()

    assert story.status is SagaStatus.RUNNING
    assert [it.address for it in waits_for_a_person(story.plan, story.state)] == [act(1)]
    assert not story.retry().accepted
    assert not story.skip().accepted


def test_d30_while_it_is_undone_too() -> None:
    story = Story(child(), step())
    story.child_is(act(0), SagaStatus.COMPLETED)
    story.refused(act(1))

    story.knows_child(act(0), SagaStatus.FAILED).later().tick()

    assert story.status is SagaStatus.COMPENSATING
    assert [it.address for it in waits_for_a_person(story.plan, story.state)] == [undo(0)]


def test_d30_another_ones_child_is_no_reason() -> None:
    story = Story(child(), step())
    other = ChildState(id=story.state.id, status=SagaStatus.FAILED)
    assert waits_for_a_person(story.plan, seen(story.state, children=(other,))) == ()
