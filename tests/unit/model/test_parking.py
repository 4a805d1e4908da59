"""Steps that cannot be called: they wait for a deploy, and then for a person, who has three ways on."""

import pytest

from sagas.model import Address, ExecutionStatus, MailKind, Misdelivered, SagaStatus, Verdict
from tests.unit.model.story import Story, act, beside, error, pivot, retriable, step, tries, undo


def parked_for_good(*steps: object) -> Story:
    """The second step lacks a value; the first is done."""
    story = Story(*(steps or [step(), step(), step()])).done(act(0))
    story.park(act(1), story.claim(act(1)), for_good=True)
    return story


def until_given_up(story: Story, address: Address) -> None:
    """It is tried every minute."""
    while story.row(address).is_live:
        due = story.state.due_at
        assert due is not None
        story.now = max(story.now, due)
        story.tick()
        if story.is_claimable(address):
            story.park(address, story.claim(address))


def test_what_no_deploy_cures_waits_for_a_person_at_once_and_nothing_is_undone() -> None:
    story = parked_for_good()

    assert (story.status, story.sent) == (SagaStatus.FAILED, [])
    assert story.state.error == error("does not fit")
    assert (story.row(act(1)).status, story.row(act(1)).attempts, story.row(act(1)).doubt) == (
        ExecutionStatus.FAILED,
        0,
        False,
    )
    assert [note["reason"] for note in story.noted("needs_a_person")] == ["cannot be called"]


def test_what_a_deploy_may_cure_waits_for_it_and_then_for_a_person() -> None:
    story = Story(step(), step()).done(act(0))
    story.park(act(1), story.claim(act(1)))
    began = story.now
    assert (story.status, story.row(act(1)).status) == (SagaStatus.RUNNING, ExecutionStatus.PENDING)

    until_given_up(story, act(1))

    assert story.status is SagaStatus.FAILED
    assert 300 <= (story.now - began).total_seconds() <= 320
    assert len(story.noted("parked")) == 1


def test_it_is_tried_once_more_when_its_time_is_over() -> None:
    story = Story(step()).later(0)
    story.park(act(0), story.claim(act(0)))
    for _ in range(4):
        story.later(60).tick()
        story.park(act(0), story.claim(act(0)))
    story.later(60).tick()

    assert (story.sent, story.row(act(0)).status) == ([act(0)], ExecutionStatus.PENDING)
    story.done(act(0))  # the deploy has come
    assert story.status is SagaStatus.COMPLETED


def test_a_message_that_is_late_is_no_proof() -> None:
    story = Story(step()).later(0)
    story.park(act(0), story.claim(act(0)))

    story.later(60).tick()
    for _ in range(10):
        story.later(600).tick()

    assert story.status.is_forward


def test_a_task_that_no_worker_knows_waits_for_a_person_too() -> None:
    story = Story(step(), step()).done(act(0))
    for _ in range(40):
        if not story.row(act(1)).is_live:
            break
        story.now = max(story.now, story.state.due_at or story.now)
        story.tick()
        story.happens(Misdelivered(address=act(1), error=error("no such task")))

    assert (story.status, story.row(act(1)).status) == (SagaStatus.FAILED, ExecutionStatus.FAILED)
    assert story.state.error == error("no such task")


def test_a_step_that_failed_by_itself_later_is_not_parked_any_more() -> None:
    story = Story(step(), step(retry=tries(1))).done(act(0))
    story.park(act(1), story.claim(act(1)))
    story.later(60).tick()

    story.refused(act(1))

    assert (story.status, story.sent) == (SagaStatus.COMPENSATING, [undo(0)])


def test_its_time_begins_anew_after_a_retry() -> None:
    story = parked_for_good()

    assert story.retry().accepted
    assert (story.status, story.sent) == (SagaStatus.RUNNING, [act(1)])
    story.later(1000)
    story.park(act(1), story.claim(act(1)))

    assert story.status is SagaStatus.RUNNING
    story.later(60).tick()
    story.done(act(1), act(2))
    assert story.status is SagaStatus.COMPLETED


def test_it_is_skipped_with_a_result() -> None:
    story = parked_for_good()

    assert story.skip(result='{"shipment": 1}').accepted

    assert (story.status, story.row(act(1)).result, story.sent) == (SagaStatus.RUNNING, '{"shipment": 1}', [act(2)])


def test_it_is_cancelled_and_what_was_done_is_undone() -> None:
    story = parked_for_good()

    assert story.cancel().accepted

    assert (story.status, story.sent) == (SagaStatus.COMPENSATING, [undo(0)])
    assert story.state.error is not None
    assert story.state.error.type == "sagas.Cancelled"
    assert story.done(undo(0)).status is SagaStatus.COMPENSATED
    assert undo(1) not in [row.address for row in story.state.steps]


def test_what_is_in_doubt_from_before_is_undone_with_it() -> None:
    story = Story(step(), step(retry=tries(3))).done(act(0))
    story.fail(act(1), story.claim(act(1)), Verdict.RETRYABLE)
    story.park(act(1), story.claim(act(1)), for_good=True)
    assert (story.status, story.row(act(1)).doubt) == (SagaStatus.FAILED, True)

    assert story.cancel().accepted

    assert story.sent == [undo(1)]


def test_its_parent_can_have_it_cancelled_too() -> None:
    story = parked_for_good()

    story.arrives(MailKind.CANCEL, "its parent turned back").tick()

    assert story.status is SagaStatus.COMPENSATING


@pytest.mark.parametrize("doubt", [False, True])
def test_a_pivot_is_cancelled_where_it_has_certainly_not_happened(doubt: bool) -> None:
    story = Story(step(), pivot(retry=tries(3)), retriable()).done(act(0))
    if doubt:
        story.fail(act(1), story.claim(act(1)), Verdict.RETRYABLE)
    story.park(act(1), story.claim(act(1)), for_good=True)
    assert story.status is SagaStatus.FAILED

    assert story.cancel().accepted is not doubt

    assert story.status is (SagaStatus.FAILED if doubt else SagaStatus.COMPENSATING)
    if doubt:
        assert story.resolve(happened=False).accepted
        assert story.status is SagaStatus.COMPENSATING


def test_past_the_pivot_there_is_no_cancel() -> None:
    story = parked_for_good(pivot(), retriable())

    assert not story.cancel().accepted

    assert story.status is SagaStatus.FAILED
    assert story.skip().accepted
    assert story.status is SagaStatus.COMPLETED


def test_a_branch_beside_it_ends_first_and_one_that_fails_turns_the_saga_back() -> None:
    for fails in (False, True):
        story = Story(step(), beside(step(), step())).done(act(0))
        other = story.claim(act(1, 1))
        story.park(act(1, 0), story.claim(act(1, 0)), for_good=True)
        assert story.status is SagaStatus.RUNNING

        if fails:
            story.fail(act(1, 1), other, Verdict.CLEAN_NO)
            assert (story.status, story.sent) == (SagaStatus.COMPENSATING, [undo(0)])
            story.fail(undo(0), story.claim(undo(0)), Verdict.CLEAN_NO)
            assert story.retry().accepted  # of the undo
            assert story.sent == [undo(0)]
        else:
            story.complete(act(1, 1), other)
            assert story.status is SagaStatus.FAILED
            assert story.cancel().accepted
            assert story.sent == [undo(1, branch=1)]


def test_a_best_effort_that_cannot_be_called_hurts_nobody() -> None:
    story = Story(step(), step(best_effort=True, compensation=None), step()).done(act(0))

    story.park(act(1), story.claim(act(1)), for_good=True)

    assert (story.status, story.sent) == (SagaStatus.RUNNING, [act(2)])


@pytest.mark.parametrize("at_once", [True, False])
def test_an_undo_that_cannot_be_called_lets_the_others_go_on(at_once: bool) -> None:
    story = Story(step(), step(), step()).done(act(0), act(1)).refused(act(2))
    assert story.sent == [undo(1)]

    story.park(undo(1), story.claim(undo(1)), for_good=at_once)
    if not at_once:
        assert story.sent == []
        until_given_up(story, undo(1))

    assert story.sent == [undo(0)]
    story.done(undo(0))
    assert story.status is SagaStatus.FAILED
    assert [note["reason"] for note in story.noted("needs_a_person")] == ["its compensation cannot be called"]
    assert not story.cancel().accepted
    assert story.retry().accepted
    assert story.sent == [undo(1)]
    assert story.done(undo(1)).status is SagaStatus.COMPENSATED


def test_a_late_success_of_it_is_recorded_for_the_person() -> None:
    story = Story(step(), step(retry=tries(3)), step()).done(act(0))
    token = story.claim(act(1))
    story.lose(act(1))
    story.park(act(1), story.claim(act(1)), for_good=True)
    assert story.status is SagaStatus.FAILED

    story.complete(act(1), token, "{}")

    assert (story.status, story.row(act(1)).doubt) == (SagaStatus.FAILED, True)
    assert story.row(act(1)).is_parked
    assert story.resolve(happened=True).accepted
    assert story.sent == [act(2)]
