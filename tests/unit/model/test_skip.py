"""An operator skips what a failed instance is stuck at: somebody vouches for it, and it goes on."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from sagas.model import ExecutionStatus, SagaStatus, Verdict
from sagas.model.undoing import undo_places
from tests.unit.model.story import Story, act, pivot, retriable, step, tries, undo


def stuck_at_pivot(*steps: dict[str, Any], deadline: timedelta | None = None) -> Story:
    """Its pivot was given up in doubt."""
    place = act(len(steps))
    story = Story(*steps, pivot(), retriable(), deadline=deadline).done(*map(act, range(len(steps))))
    story.fail(place, story.claim(place), Verdict.UNKNOWN)
    story.tick()
    assert story.status is SagaStatus.FAILED
    return story


def stuck_at_undos(*positions: int, of: int = 3) -> Story:
    """All its steps but the last were done; the undos of these positions fail for good."""
    story = Story(*(step() for _ in range(of))).done(*map(act, range(of - 1))).refused(act(of - 1))
    for position in reversed(range(of - 1)):
        if position in positions:
            story.fail(undo(position), story.claim(undo(position)))
        else:
            story.done(undo(position))
    assert story.status is SagaStatus.FAILED
    return story


def frozen_then_stuck() -> tuple[Story, UUID]:
    """A first attempt froze, a second one completed, and the undo of the step failed for good."""
    story = Story(step(), step())
    late = story.claim(act(0))
    story.lose(act(0))
    story.done(act(0)).refused(act(1))
    story.fail(undo(0), story.claim(undo(0)))
    assert story.status is SagaStatus.FAILED
    return story, late


# -- a step past which it could not go


def test_a_skipped_pivot_counts_as_done_and_the_next_step_is_sent() -> None:
    story = stuck_at_pivot(step())

    assert story.skip().accepted

    assert (story.status, story.sent) == (SagaStatus.RUNNING, [act(2)])
    assert story.row(act(1)).status is ExecutionStatus.SKIPPED
    assert story.state.finished_at is None
    assert story.done(act(2)).status is SagaStatus.COMPLETED


def test_a_skipped_retriable_counts_as_done_too() -> None:
    story = Story(pivot(), retriable(), retriable()).done(act(0)).refused(act(1))

    story.skip("step1")

    assert story.sent == [act(2)]


def test_skipping_the_last_step_completes_the_saga_at_once() -> None:
    story = Story(pivot(), retriable()).done(act(0)).refused(act(1))

    story.skip()

    assert (story.status, story.sends) == (SagaStatus.COMPLETED, ())
    assert story.state.finished_at is not None


def test_its_result_is_the_one_that_the_operator_gives() -> None:
    story = stuck_at_pivot()

    story.skip(result='{"shipment_id":"4711"}')

    assert story.row(act(0)).result == '{"shipment_id":"4711"}'


def test_it_is_no_longer_in_doubt_and_no_longer_an_error_of_the_saga() -> None:
    story = stuck_at_pivot()
    assert story.row(act(0)).doubt

    story.skip()

    assert not story.row(act(0)).doubt
    assert story.state.error is None


def test_an_old_message_of_a_skipped_step_finds_nothing_to_claim() -> None:
    story = stuck_at_pivot()

    story.skip()

    assert not story.is_claimable(act(0))


def test_c6_a_cancel_after_a_skipped_pivot_is_refused() -> None:
    story = stuck_at_pivot(step())
    story.skip()

    assert not story.cancel().accepted

    assert (story.status, story.state.stop) == (SagaStatus.RUNNING, None)


def test_c6_a_cancel_that_was_recorded_while_the_pivot_ran_is_forgotten_with_its_skip() -> None:
    story = Story(step(), pivot(), retriable()).done(act(0))
    token = story.claim(act(1))
    story.cancel()
    story.fail(act(1), token, Verdict.UNKNOWN)
    story.tick()

    story.skip()

    assert (story.state.stop, story.sent) == (None, [act(2)])
    story.later(600).tick()
    assert story.status is SagaStatus.RUNNING


def test_c6_a_deadline_that_passes_after_a_skipped_pivot_does_nothing() -> None:
    story = stuck_at_pivot(step(), deadline=timedelta(seconds=60))
    story.skip()

    story.later(600).tick()

    assert story.status is SagaStatus.RUNNING
    assert story.noted("deadline_passed") == []
    assert story.done(act(2)).status is SagaStatus.COMPLETED


def test_c6_a_deadline_that_passed_while_it_was_failed_does_nothing_either() -> None:
    story = stuck_at_pivot(step(), deadline=timedelta(seconds=60))

    story.later(600).skip()

    assert (story.status, story.sent) == (SagaStatus.RUNNING, [act(2)])


def test_a_retry_after_a_skip_runs_only_what_failed_since() -> None:
    story = stuck_at_pivot(step())
    story.skip()
    story.refused(act(2))
    assert story.status is SagaStatus.FAILED

    story.retry()

    assert story.sent == [act(2)]
    assert story.row(act(1)).status is ExecutionStatus.SKIPPED


@pytest.mark.parametrize("ends_well", [True, False])
def test_c6_a_late_report_of_a_skipped_pivot_is_recorded_and_changes_no_status(ends_well: bool) -> None:
    story = Story(step(), pivot(max_losses=0), retriable()).done(act(0))
    late = story.claim(act(1))
    story.lose(act(1))
    story.skip()

    if ends_well:
        story.complete(act(1), late)
        assert story.noted("late_success") == [{"outcome": "recorded for the person who looks at it"}]
    else:
        story.fail(act(1), late, Verdict.UNKNOWN)

    assert (story.status, story.row(act(1)).status) == (SagaStatus.RUNNING, ExecutionStatus.SKIPPED)
    assert story.done(act(2)).status is SagaStatus.COMPLETED


# -- a compensation that would not succeed


def test_a_skipped_compensation_counts_as_resolved_and_the_saga_as_compensated() -> None:
    story = stuck_at_undos(0)
    error = story.state.error

    assert story.skip().accepted

    assert (story.status, story.sends) == (SagaStatus.COMPENSATED, ())
    assert story.row(undo(0)).status is ExecutionStatus.SKIPPED
    assert story.row(act(0)).status is ExecutionStatus.COMPLETED
    assert story.state.error == error is not None


def test_of_two_failed_compensations_the_other_one_still_needs_a_person() -> None:
    story = stuck_at_undos(0, 2, of=4)
    calls = len(story.noted("needs_a_person"))

    assert story.skip("step2").accepted

    assert (story.status, story.sends) == (SagaStatus.FAILED, ())
    assert len(story.noted("needs_a_person")) == calls, "the person knows"
    assert story.skip("step0").accepted
    assert story.status is SagaStatus.COMPENSATED


def test_a_retry_after_the_skip_of_one_of_two_runs_only_the_other() -> None:
    story = stuck_at_undos(0, 2, of=4)
    story.skip("step2")

    story.retry()

    assert (story.status, story.sent) == (SagaStatus.COMPENSATING, [undo(0)])
    assert story.done(undo(0)).status is SagaStatus.COMPENSATED
    assert story.undone() == [undo(1), undo(0)]


def test_an_old_message_of_a_skipped_compensation_finds_nothing_to_claim() -> None:
    story = stuck_at_undos(0)

    story.skip()

    assert not story.is_claimable(undo(0))


def test_c8_an_effect_that_is_reported_after_its_undo_was_skipped_is_undone_in_another_round() -> None:
    story, late = frozen_then_stuck()
    story.skip()
    assert story.status is SagaStatus.COMPENSATED

    story.complete(act(0), late)

    assert (story.status, story.sent) == (SagaStatus.COMPENSATING, [undo(0, 2)])
    assert story.done(undo(0, 2)).status is SagaStatus.COMPENSATED


def frozen_then_skipped_beside_another() -> tuple[Story, UUID]:
    """The same with a second step, whose undo has failed for good too and still needs a person."""
    story = Story(step(), step(), step())
    late = story.claim(act(0))
    story.lose(act(0))
    story.done(act(0), act(1)).refused(act(2))
    for position in (1, 0):
        story.fail(undo(position), story.claim(undo(position)))
    story.skip("step0")
    assert story.status is SagaStatus.FAILED
    return story, late


def test_c8_so_is_one_while_another_undo_still_needs_a_person() -> None:
    story, late = frozen_then_skipped_beside_another()

    story.complete(act(0), late)

    assert story.sent == [undo(0, 2)]
    assert story.done(undo(0, 2)).status is SagaStatus.FAILED


def test_c8_one_that_is_reported_while_another_undo_runs_comes_after_it_and_is_foretold() -> None:
    story, late = frozen_then_skipped_beside_another()
    story.retry()
    running = story.claim(undo(1))

    story.complete(act(0), late)

    assert story.sends == ()
    assert undo_places(story.plan, story.state) == [undo(1), undo(0, 2)]
    story.complete(undo(1), running)
    assert story.sent == [undo(0, 2)]


def test_c8_an_effect_that_was_reported_before_the_skip_is_undone_in_another_round_too() -> None:
    """Whether the person knew of it, nobody knows."""
    story, late = frozen_then_stuck()
    story.complete(act(0), late)
    assert story.status is SagaStatus.FAILED

    story.skip()

    assert (story.status, story.sent) == (SagaStatus.COMPENSATING, [undo(0, 2)])


def test_a_late_success_of_a_skipped_undo_is_recorded_and_changes_nothing() -> None:
    story = Story(step(max_losses=0), step()).done(act(0)).refused(act(1))
    late = story.claim(undo(0))
    story.lose(undo(0))
    story.skip()

    said = story.complete(undo(0), late)

    assert not said.accepted
    assert (story.status, story.row(undo(0)).status) == (SagaStatus.COMPENSATED, ExecutionStatus.SKIPPED)
    assert len(story.noted("late_success")) == 1


def test_it_ends_when_it_is_skipped_and_not_when_it_failed() -> None:
    one, two = stuck_at_undos(0), stuck_at_undos(0, 1)
    failed_at = two.state.finished_at

    one.later(3600).skip()
    two.later(3600).skip("step1")

    assert one.state.finished_at == one.now
    assert two.state.finished_at == failed_at


# -- refused


def unharmed(story: Story, step: str | None = None, result: str | None = None) -> bool:
    before, notes = story.state, len(story.notes)
    said = story.skip(step, result)
    assert not said.accepted
    return (said.state, said.sends, len(story.notes)) == (before, (), notes)


def test_only_a_failed_saga_can_be_skipped_past() -> None:
    running = Story(pivot(), retriable()).done(act(0))
    compensating = Story(step(), step()).done(act(0)).refused(act(1))
    compensated = Story(step(), step()).refused(act(0))
    completed = Story(step()).done(act(0))

    for story in (Story(step()), running, compensating, compensated, completed):
        assert unharmed(story), story.status
        assert unharmed(story, "step0"), story.status


@pytest.mark.parametrize("name", ["step0", "step2", "", "none of them"])
def test_what_it_is_not_stuck_at_cannot_be_skipped(name: str) -> None:
    assert unharmed(stuck_at_pivot(step()), name)


def test_a_compensation_that_is_done_cannot_be_skipped() -> None:
    assert unharmed(stuck_at_undos(0), "step1")


def test_where_it_is_stuck_at_several_one_must_be_named() -> None:
    assert unharmed(stuck_at_undos(0, 1))


def test_a_compensation_has_no_result() -> None:
    story = stuck_at_undos(0)

    assert unharmed(story, "step0", "{}")

    assert story.skip("step0").accepted


def test_what_was_skipped_cannot_be_skipped_again() -> None:
    story = stuck_at_pivot(step())
    story.skip("step1")
    story.refused(act(2))

    assert unharmed(story, "step1")


# -- what is kept


def test_the_history_says_who_skipped_what_and_why() -> None:
    for story, place in ((stuck_at_pivot(step()), act(1)), (stuck_at_undos(1), undo(1))):
        story.skip()

        (note,) = [note for note in story.notes if note.event == "skip_requested"]
        assert (note.address, note.step) == (place, "step1")
        assert note.detail == {"reason": "done by hand", "by": "maria"}


def test_what_it_failed_with_stays_to_be_read() -> None:
    story = Story(pivot(), retriable(retry=tries(1))).done(act(0)).refused(act(1))

    story.skip()

    assert story.row(act(1)).error is not None
    assert story.row(act(1)).attempts == 1
