"""How a saga is undone where it says so: side by side, up to the first failure, within a deadline, in part."""

from typing import Any

import pytest

from sagas.model import ExecutionStatus, SagaStatus, UndoOutcome, Verdict
from sagas.model.undoing import undo_places
from tests.unit.model.story import Story, act, beside, child, pivot, step, tries, undo

# -- undo_at_once


def three_lanes_undone_at_once(**options: Any) -> Story:
    """Lanes of two, one and one steps, all done, after a step and before one that says no."""
    lanes = beside([step(), step()], step(), step(), undo_at_once=True, **options)
    story = Story(step(), lanes, step()).done(act(0))
    return story.done(*(act(1, branch) for branch in (0, 2, 1, 3))).refused(act(2))


def test_the_lanes_of_a_position_are_undone_side_by_side_and_each_in_reverse() -> None:
    story = three_lanes_undone_at_once()
    assert set(story.sent) == {undo(1, branch=1), undo(1, branch=2), undo(1, branch=3)}

    story.done(undo(1, branch=2))
    assert story.sent == []
    story.done(undo(1, branch=1))

    assert story.sent == [undo(1)]


def test_what_came_before_is_undone_when_all_the_lanes_are() -> None:
    story = three_lanes_undone_at_once()

    story.done(undo(1, branch=1), undo(1, branch=3), undo(1, branch=2))
    assert not story.is_claimable(undo(0))
    story.done(undo(1))

    assert story.sent == [undo(0)]
    assert story.done(undo(0)).status is SagaStatus.COMPENSATED


def test_a_step_behind_the_lanes_is_undone_before_them() -> None:
    story = Story(beside(step(), step(), undo_at_once=True), step(), step())

    story.done(act(0, 0), act(0, 1), act(1)).refused(act(2))

    assert story.sent == [undo(1)]
    assert set(story.done(undo(1)).sent) == {undo(0), undo(0, branch=1)}


def test_a_lane_whose_undo_fails_for_good_holds_up_none_of_the_others() -> None:
    story = three_lanes_undone_at_once()

    story.fail(undo(1, branch=1), story.claim(undo(1, branch=1)))
    assert story.sent == [undo(1)]
    story.done(undo(1), undo(1, branch=2), undo(1, branch=3), undo(0))

    assert story.status is SagaStatus.FAILED
    assert story.row(undo(1, branch=1)).status is ExecutionStatus.FAILED


def test_an_operators_retry_of_two_lanes_sends_both() -> None:
    story = Story(beside(step(), step(), undo_at_once=True), step())
    story.done(act(0, 0), act(0, 1)).refused(act(1))
    for branch in (0, 1):
        story.fail(undo(0, branch=branch), story.claim(undo(0, branch=branch)))
    assert story.status is SagaStatus.FAILED

    story.retry()

    assert set(story.sent) == {undo(0), undo(0, branch=1)}


def test_independent_steps_are_all_undone_side_by_side() -> None:
    story = Story(step(), step(compensation=None), step(), beside(step(), [step(), step()]), step(), undo_at_once=True)

    story.done(act(0), act(1), act(2), *(act(3, branch) for branch in (0, 1, 2))).refused(act(4))

    assert set(story.sent) == {undo(0), undo(2), undo(3), undo(3, branch=2)}
    assert story.done(undo(0), undo(3, branch=2)).sent == [undo(3, branch=1)]


def test_a_child_is_undone_beside_other_lanes() -> None:
    story = Story(beside(child(), step(), undo_at_once=True), step()).done(act(0, 1))
    story.child_is(act(0, 0), SagaStatus.COMPLETED)

    story.refused(act(1))

    assert story.sent == [undo(0, branch=1)]
    assert len(story.posts) == 1
    story.done(undo(0, branch=1))
    assert story.status is SagaStatus.COMPENSATING
    story.child_is(act(0, 0), SagaStatus.COMPENSATED)
    assert story.status is SagaStatus.COMPENSATED


def test_an_effect_that_lands_late_is_undone_before_what_stands_before_it() -> None:
    story = Story(step(), step(max_losses=3), step(), undo_at_once=False)
    late = story.done(act(0)).claim(act(1))
    story.lose(act(1))
    story.done(act(1)).refused(act(2)).done(undo(1))
    token = story.claim(undo(0))

    story.complete(act(1), late)
    assert story.sends == ()
    story.complete(undo(0), token)

    assert story.sent == [undo(1, 2)]


@pytest.mark.parametrize("seconds", [-2.0, -1.0])
@pytest.mark.parametrize("undo_at_once", [False, True])
def test_in_a_lane_the_later_step_is_undone_first_whatever_the_clock_says(seconds: float, undo_at_once: bool) -> None:
    """Set back by a time server, or of a standby that was promoted; or the moments are just the same."""
    story = Story(beside([step(), step()], step(compensation=None), undo_at_once=undo_at_once), step())
    story.done(act(0, 0)).later(seconds).done(act(0, 1), act(0, 2))

    story.refused(act(1))

    assert story.sent == [undo(0, branch=1)]


def test_nor_does_the_clock_change_the_order_of_positions() -> None:
    story = Story(step(), step(), step()).done(act(0)).later(-10).done(act(1))

    story.refused(act(2))

    assert story.sent == [undo(1)]


def test_c9_what_began_after_a_step_whose_claim_a_crash_has_lost_is_undone_before_it() -> None:
    """Of a best effort the saga goes on, so it is not the last that began although nobody knows when it did."""
    story = Story(step(best_effort=True, idempotent=False), step(), step())
    story.evidence(act(0), epoch_changed=True, dispatched_at=None).tick()
    assert (story.row(act(0)).doubt, story.row(act(0)).first_claimed_at) == (True, None)

    story.done(act(1)).refused(act(2))

    assert story.sent == [undo(1)]
    assert story.done(undo(1)).sent == [undo(0)]


def test_c9_also_what_follows_it_in_its_lane() -> None:
    story = Story(beside([step(best_effort=True, idempotent=False), step()], step(compensation=None)), step())
    story.evidence(act(0, 0), epoch_changed=True, dispatched_at=None).tick()

    story.done(act(0, 1), act(0, 2)).refused(act(1))

    assert story.sent == [undo(0, branch=1)]
    assert story.done(undo(0, branch=1)).sent == [undo(0)]


def test_no_window_foretells_what_is_undone_side_by_side() -> None:
    story = Story(step(), step(), beside(step(), step(), undo_at_once=True), step())
    story.done(act(0), act(1), act(2, 0), act(2, 1)).refused(act(3))
    assert undo_places(story.plan, story.state) == []

    story.done(undo(2), undo(2, branch=1))

    assert undo_places(story.plan, story.state) == [undo(1), undo(0)]


# -- stop_at_failed_undo


def stops_at_the_first_failure() -> Story:
    story = Story(step(), step(), step(), step(), stop_at_failed_undo=True)
    story.done(act(0), act(1), act(2)).refused(act(3)).done(undo(2))
    story.fail(undo(1), story.claim(undo(1)))
    return story


def test_the_first_undo_that_fails_keeps_those_behind_it_from_running() -> None:
    story = stops_at_the_first_failure()

    assert (story.status, story.sends) == (SagaStatus.FAILED, ())
    assert story.state.at(undo(0)) is None
    assert len(story.noted("needs_a_person")) == 1


@pytest.mark.parametrize("how", ["retry", "skip", "by hand"])
def test_they_run_once_a_person_has_resolved_it(how: str) -> None:
    story = stops_at_the_first_failure()

    if how == "retry":
        story.retry()
        story.done(undo(1))
    else:
        story.skip(undone=how == "by hand")

    assert story.sent == [undo(0)]
    assert story.done(undo(0)).status is SagaStatus.COMPENSATED


def test_a_retry_that_fails_stops_again() -> None:
    story = stops_at_the_first_failure()
    story.retry()

    story.fail(undo(1), story.claim(undo(1)))

    assert story.status is SagaStatus.FAILED
    assert story.state.at(undo(0)) is None


def test_what_is_undone_beside_the_failed_one_is_awaited() -> None:
    story = Story(beside(step(), step(), undo_at_once=True), step(), stop_at_failed_undo=True)
    story.done(act(0, 0), act(0, 1)).refused(act(1))
    token = story.claim(undo(0))

    story.fail(undo(0, branch=1), story.claim(undo(0, branch=1)))
    assert story.status is SagaStatus.COMPENSATING
    story.complete(undo(0), token)

    assert story.status is SagaStatus.FAILED


def test_nothing_is_on_its_way_in_a_saga_that_stopped() -> None:
    """An effect that landed late is to be undone again before the failed one is retried, and that fails too."""
    story = Story(step(), step(), step(), stop_at_failed_undo=True)
    late = story.done(act(0)).claim(act(1))
    story.lose(act(1))
    story.done(act(1)).refused(act(2)).done(undo(1))
    token = story.claim(undo(0))
    story.complete(act(1), late)
    story.fail(undo(0), token)
    assert story.status is SagaStatus.FAILED

    story.retry()
    assert story.sent == [undo(1, 2)]
    story.fail(undo(1, 2), story.claim(undo(1, 2)))

    assert story.status is SagaStatus.FAILED
    assert not any(row.is_live for row in story.state.steps)


# -- compensation_deadline


def undone_within(seconds: float, **options: Any) -> Story:
    policy = tries(9, on=("builtins.Exception",), backoff=4.0, factor=1.0)
    story = Story(step(), step(compensation_deadline=seconds, compensation_retry=policy, **options), step())
    return story.done(act(0), act(1)).refused(act(2))


def test_an_undo_is_not_tried_again_after_its_deadline() -> None:
    story = undone_within(10.0)
    for _ in range(2):
        story.fail(undo(1), story.claim(undo(1)), Verdict.RETRYABLE)
        assert story.sent == [undo(1)]
        story.later(4)

    story.fail(undo(1), story.claim(undo(1)), Verdict.RETRYABLE)

    assert story.row(undo(1)).status is ExecutionStatus.FAILED
    assert story.noted("compensation_deadline_passed") == [{"seconds": 10.0}]
    assert story.sent == [undo(0)]
    assert story.done(undo(0)).status is SagaStatus.FAILED


def test_nor_is_it_when_the_wait_before_the_next_try_would_end_after_it() -> None:
    story = undone_within(10.0)

    story.fail(undo(1), story.claim(undo(1)), Verdict.RETRYABLE, retry_after=30.0)

    assert story.row(undo(1)).status is ExecutionStatus.FAILED


def test_nor_when_its_process_died_after_it() -> None:
    story = undone_within(10.0, max_losses=9)
    story.claim(undo(1))

    story.later(11).lose(undo(1))

    assert story.row(undo(1)).status is ExecutionStatus.FAILED


def test_it_counts_from_the_first_claim_so_that_a_backlog_uses_nothing_up() -> None:
    story = undone_within(10.0).later(3600)

    story.fail(undo(1), story.claim(undo(1)), Verdict.RETRYABLE)

    assert story.sent == [undo(1)]


def test_an_action_knows_no_such_deadline() -> None:
    story = Story(step(compensation_deadline=1.0, retry=tries(3)))
    token = story.claim(act(0))

    story.later(60).fail(act(0), token, Verdict.RETRYABLE)

    assert story.sent == [act(0)]


def test_an_operators_retry_gets_a_try_all_the_same() -> None:
    story = undone_within(10.0)
    story.fail(undo(1), story.claim(undo(1)), Verdict.RETRYABLE, retry_after=30.0)
    story.done(undo(0)).later(3600)

    story.retry()

    assert story.done(undo(1)).status is SagaStatus.COMPENSATED


# -- what a compensation says of itself


def about_to_undo_two(**options: Any) -> Story:
    return Story(step(), step(), step(), **options).done(act(0), act(1)).refused(act(2))


def test_one_that_can_only_be_done_by_hand_waits_for_a_person_and_the_others_run() -> None:
    story = about_to_undo_two()

    story.undone_as(UndoOutcome.MANUAL, undo(1))
    assert story.row(undo(1)).status is ExecutionStatus.FAILED
    assert story.sent == [undo(0)]
    story.done(undo(0))

    assert story.status is SagaStatus.FAILED
    assert len(story.noted("needs_a_person")) == 1


def test_it_is_not_tried_again_whatever_the_policy_says() -> None:
    story = Story(step(compensation_retry=tries(9)), step()).done(act(0)).refused(act(1))

    story.undone_as(UndoOutcome.MANUAL, undo(0))

    assert story.status is SagaStatus.FAILED


def test_a_person_who_has_done_it_says_so_and_the_saga_is_compensated() -> None:
    story = about_to_undo_two().undone_as(UndoOutcome.MANUAL, undo(1)).done(undo(0))

    assert story.skip(undone=True).accepted

    assert story.row(undo(1)).status is ExecutionStatus.COMPLETED
    assert story.status is SagaStatus.COMPENSATED
    assert story.noted("resolved_by_hand") == [{"reason": "done by hand", "by": "maria"}]


def test_an_action_cannot_have_been_undone_by_hand() -> None:
    story = Story(pivot())
    story.fail(act(0), story.claim(act(0)), Verdict.UNKNOWN)
    story.tick()
    assert story.status is SagaStatus.FAILED

    assert not story.skip(undone=True).accepted


def test_one_that_got_as_far_as_it_can_is_done_and_says_so_in_the_history() -> None:
    story = about_to_undo_two().undone_as(UndoOutcome.PARTIAL, undo(1))

    assert story.row(undo(1)).status is ExecutionStatus.COMPLETED
    assert len(story.noted("undone_in_part")) == 1
    assert story.done(undo(0)).status is SagaStatus.COMPENSATED


def test_one_for_a_person_stops_the_others_where_the_saga_says_so() -> None:
    story = about_to_undo_two(stop_at_failed_undo=True)

    story.undone_as(UndoOutcome.MANUAL, undo(1))

    assert (story.status, story.sends) == (SagaStatus.FAILED, ())


def test_what_a_person_undid_by_hand_and_lands_late_is_undone_again() -> None:
    story = Story(step(), step())
    late = story.claim(act(0))
    story.lose(act(0))
    story.done(act(0)).refused(act(1)).undone_as(UndoOutcome.MANUAL, undo(0))
    story.skip(undone=True)
    assert story.status is SagaStatus.COMPENSATED

    story.complete(act(0), late)

    assert story.sent == [undo(0, 2)]
