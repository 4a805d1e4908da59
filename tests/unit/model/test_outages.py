"""The database was away, and comes back to deadlines that have passed meanwhile (M12)."""

from dataclasses import replace
from datetime import timedelta

from sagas.model import SagaStatus, Tick
from tests.unit.model.story import Story, act, step, undo


def overdue() -> Story:
    """Its deadline passed while nobody could do anything."""
    story = Story(step(), step()).done(act(0))
    story.state = replace(story.state, deadline=story.now + timedelta(seconds=30))
    return story.later(60)


def test_m12_the_first_look_after_an_outage_turns_nobody_back() -> None:
    story = overdue()

    story.happens(Tick(after_outage=True))

    assert story.status is SagaStatus.RUNNING
    assert story.due_in() <= 10  # it is looked at again soon, and then it counts


def test_m12_who_ends_in_that_time_has_ended() -> None:
    story = overdue()
    token = story.claim(act(1))
    story.happens(Tick(after_outage=True))

    story.complete(act(1), token)

    assert story.status is SagaStatus.COMPLETED


def test_m12_the_next_look_turns_it_back() -> None:
    story = overdue()
    story.happens(Tick(after_outage=True))

    story.later(10).tick()

    assert story.status is SagaStatus.COMPENSATING
    assert story.sent == [undo(0)]
    assert story.state.error is not None
    assert story.state.error.message == "timed out"


def test_m12_without_an_outage_it_is_turned_back_at_once() -> None:
    assert overdue().tick().state.status is SagaStatus.COMPENSATING
