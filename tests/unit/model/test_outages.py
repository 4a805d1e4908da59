"""The database was away, and comes back to deadlines that have passed meanwhile (M12, D26)."""

from dataclasses import replace
from datetime import timedelta

from sagas.model import SagaStatus
from tests.unit.model.story import Story, act, step, undo


def overdue() -> Story:
    """Its deadline passed, 30 seconds after the last that was heard of it, in the first half of an outage."""
    story = Story(step(), step()).done(act(0))
    story.state = replace(story.state, deadline=story.now + timedelta(seconds=30))
    return story.later(60)


def test_m12_the_first_look_after_an_outage_turns_nobody_back() -> None:
    story = overdue().outage(60)

    story.tick()

    assert story.status is SagaStatus.RUNNING
    assert story.state.deadline == story.now + timedelta(seconds=30)  # what was left of it


def test_m12_who_ends_in_that_time_has_ended() -> None:
    story = overdue().outage(60)

    story.done(act(1))

    assert story.status is SagaStatus.COMPLETED


def test_d26_what_is_claimed_before_the_first_sweep_after_an_outage_is_not_too_late() -> None:
    story = overdue().outage(60, lasts=True)

    story.claim(act(1))

    assert story.status is SagaStatus.RUNNING


def test_d26_a_deadline_is_not_moved_twice_by_one_outage() -> None:
    # Given: a look while the outage lasts, one right after it and another one
    story = overdue().outage(60, lasts=True)
    story.tick()

    story.outage(60).tick()
    story.tick()

    assert story.state.deadline == story.now + timedelta(seconds=30)


def test_m12_when_what_was_left_is_over_it_is_turned_back() -> None:
    story = overdue().outage(60)
    story.tick()

    story.later(31).tick()

    assert story.status is SagaStatus.COMPENSATING
    assert story.sent == [undo(0)]
    assert story.state.error is not None
    assert story.state.error.message == "timed out"


def test_d26_a_deadline_that_passed_before_the_outage_has_passed() -> None:
    assert overdue().outage(20).tick().state.status is SagaStatus.COMPENSATING


def test_m12_without_an_outage_it_is_turned_back_at_once() -> None:
    assert overdue().tick().state.status is SagaStatus.COMPENSATING
