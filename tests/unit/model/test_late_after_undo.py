"""A success whose action's undo has run already, or was answered by a person."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from sagas.model import IfInDoubt, SagaStatus, Verdict
from tests.unit.model.story import Story, act, step, undo


def undone_without_a_result() -> Story:
    story = Story(step())
    story.fail(act(0), story.claim(act(0)), Verdict.UNKNOWN)
    story.tick()
    assert story.done(undo(0)).status is SagaStatus.COMPENSATED
    return story


def said_not_to_have_happened() -> Story:
    story = Story(step(if_in_doubt=IfInDoubt.PERSON))
    story.fail(act(0), story.claim(act(0)), Verdict.UNKNOWN)
    story.tick()
    assert story.resolve(happened=False).accepted
    assert story.status is SagaStatus.COMPENSATED
    return story


BEFORE = pytest.mark.parametrize("before", [undone_without_a_result, said_not_to_have_happened])


@BEFORE
def test_c8_the_next_round_of_an_undo_has_the_late_result_and_a_repeated_report_adds_none(
    before: Callable[[], Story],
) -> None:
    story, token = before(), uuid4()

    for _ in range(2):
        story.complete(act(0), token, '{"charge_id": "ch_1"}')

    assert story.row(act(0)).result == '{"charge_id": "ch_1"}'
    again = undo(0, story.state.steps[-1].address.round)
    assert story.done(again).status is SagaStatus.COMPENSATED
    story.complete(act(0), token, '{"charge_id": "ch_1"}')
    assert story.status is SagaStatus.COMPENSATED


@BEFORE
def test_c8_a_next_round_that_fails_for_good_can_be_retried(before: Callable[[], Story]) -> None:
    story = before()
    story.complete(act(0), uuid4(), '{"charge_id": "ch_1"}')
    again = undo(0, story.state.steps[-1].address.round)
    story.fail(again, story.claim(again), Verdict.UNUSABLE)
    assert story.status is SagaStatus.FAILED

    assert story.retry().accepted

    assert story.status is SagaStatus.COMPENSATING
    assert story.done(again).status is SagaStatus.COMPENSATED


def test_c8_a_late_result_is_at_hand_when_a_failed_undo_is_tried_again() -> None:
    story = Story(step())
    story.fail(act(0), story.claim(act(0)), Verdict.UNKNOWN)
    story.tick()
    story.fail(undo(0), story.claim(undo(0)), Verdict.UNUSABLE)
    assert story.status is SagaStatus.FAILED

    story.complete(act(0), uuid4(), '{"charge_id": "ch_1"}')

    assert story.status is SagaStatus.FAILED
    assert story.row(act(0)).result == '{"charge_id": "ch_1"}'
    assert story.retry().accepted
    story.done(undo(0))
    assert story.done(undo(0, 2)).status is SagaStatus.COMPENSATED
