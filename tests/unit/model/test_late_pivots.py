"""Reports about the pivot of a saga that has turned back: nothing undoes it, so a person has to."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from sagas.model import Decision, ExecutionStatus, SagaStatus, Verdict, waits_for_a_person
from sagas.model.draft import HAPPENED_AND_STAYS
from tests.unit.model.story import Story, act, pivot, retriable, step, undo
from tests.unit.model.test_late import MAYBE


def of_a_pivot_that_did_not_happen(*, undone: bool = True) -> Story:
    """As a person has said."""
    story = Story(step(), pivot(), retriable()).done(act(0))
    story.fail(act(1), story.claim(act(1)), Verdict.UNKNOWN)
    story.tick()
    assert story.resolve(happened=False).accepted
    if undone:
        assert story.done(undo(0)).status is SagaStatus.COMPENSATED
    return story


def test_a_pivot_that_succeeds_after_its_saga_was_undone_waits_for_a_person() -> None:
    story = of_a_pivot_that_did_not_happen()

    said = story.complete(act(1), uuid4(), '{"parcel": 7}')

    assert not said.accepted
    assert (story.status, story.sends) == (SagaStatus.FAILED, ())
    assert [step.name for step in waits_for_a_person(story.plan, story.state)] == ["step1"]
    pivot_row, asked = story.row(act(1)), story.row(undo(1))
    assert (pivot_row.status, pivot_row.result) == (ExecutionStatus.COMPLETED, '{"parcel": 7}')
    assert asked.error is not None
    assert asked.error.message == HAPPENED_AND_STAYS
    assert story.noted("needs_a_person")[-1] == {"reason": "its pivot was reported after it had turned back"}


@pytest.mark.parametrize("maybe", MAYBE)
def test_a_pivot_that_may_have_happened_after_its_saga_was_undone_waits_for_an_answer(maybe: Verdict) -> None:
    story = of_a_pivot_that_did_not_happen()

    story.fail(act(1), uuid4(), maybe)

    assert story.status is SagaStatus.FAILED
    assert story.row(act(1)).doubt
    assert story.resolve(happened=False).state.status is SagaStatus.COMPENSATED
    assert not story.row(act(1)).doubt


def test_a_late_clean_no_of_a_pivot_changes_nothing() -> None:
    story = of_a_pivot_that_did_not_happen()

    story.fail(act(1), uuid4(), Verdict.CLEAN_NO)

    assert story.status is SagaStatus.COMPENSATED


def test_a_pivot_that_said_no_and_succeeds_all_the_same_waits_for_a_person() -> None:
    story = Story(step(), pivot()).done(act(0)).refused(act(1)).done(undo(0))

    story.complete(act(1), uuid4())

    assert story.status is SagaStatus.FAILED


def test_a_pivot_that_never_began_and_succeeds_all_the_same_waits_for_a_person() -> None:
    story = Story(step(), pivot()).done(act(0))
    story.cancel()
    story.done(undo(0))
    assert story.row(act(1)).status is ExecutionStatus.SKIPPED

    story.fail(act(1), uuid4(), Verdict.UNKNOWN)

    assert (story.row(act(1)).status, story.row(act(1)).doubt) == (ExecutionStatus.FAILED, True)
    assert story.status is SagaStatus.FAILED


def test_while_its_saga_is_being_undone_it_is_undone_to_the_end_and_then_fails() -> None:
    """Half of it undone, it can go neither way."""
    story = of_a_pivot_that_did_not_happen(undone=False)

    story.complete(act(1), uuid4())
    assert story.status is SagaStatus.COMPENSATING
    story.done(undo(0))

    assert story.status is SagaStatus.FAILED
    assert [step.name for step in waits_for_a_person(story.plan, story.state)] == ["step1"]


def test_it_keeps_no_undo_from_running() -> None:
    story = Story(step(), step(), pivot(), stop_at_failed_undo=True).done(act(0), act(1)).refused(act(2))

    story.complete(act(2), uuid4())

    assert story.done(undo(1)).sent == [undo(0)]


@pytest.mark.parametrize("stops", [False, True])
def test_beside_an_undo_that_failed_a_person_is_told_of_both_and_never_goes_forward(*, stops: bool) -> None:
    story = Story(step(), step(), pivot(), stop_at_failed_undo=stops).done(act(0), act(1)).refused(act(2))
    story.fail(undo(1), story.claim(undo(1)), Verdict.UNKNOWN)
    if not stops:
        story.done(undo(0))
    assert story.status is SagaStatus.FAILED

    story.complete(act(2), uuid4())

    assert story.status is SagaStatus.FAILED
    assert [step.name for step in waits_for_a_person(story.plan, story.state)] == ["step2", "step1"]
    assert story.noted("needs_a_person")[-1] == {"reason": "its pivot was reported after it had turned back"}
    assert story.retry().accepted
    assert story.status is SagaStatus.COMPENSATING
    story.done(undo(1))
    if stops:
        story.done(undo(0))
    assert story.status is SagaStatus.FAILED
    assert story.resolve("step2", happened=True, undo=False).state.status is SagaStatus.COMPENSATED


def test_there_is_nothing_to_retry_about_it() -> None:
    story = of_a_pivot_that_did_not_happen()
    story.complete(act(1), uuid4())

    assert not story.retry().accepted
    assert not story.cancel().accepted
    assert story.status is SagaStatus.FAILED


@pytest.mark.parametrize(
    "answer",
    [
        lambda story: story.resolve(happened=True, undo=False),
        lambda story: story.resolve("step1", happened=True, undo=False, result='{"parcel": 7}'),
        lambda story: story.skip(undone=True),
        lambda story: story.skip("step1"),
    ],
    ids=["happened and undone", "happened with a result", "undone by hand", "skipped"],
)
def test_a_person_ends_it_and_it_never_goes_forward(answer: Callable[[Story], Decision]) -> None:
    story = of_a_pivot_that_did_not_happen()
    story.complete(act(1), uuid4())

    assert answer(story).accepted

    assert (story.status, story.sends) == (SagaStatus.COMPENSATED, ())
    assert story.state.at(act(2)) is None


@pytest.mark.parametrize("happened", [True, False])
def test_of_one_that_has_succeeded_nobody_can_say_that_it_did_not_nor_that_it_is_to_be_undone_now(
    *, happened: bool
) -> None:
    story = of_a_pivot_that_did_not_happen()
    story.complete(act(1), uuid4())

    assert not story.resolve(happened=happened).accepted


def test_reported_again_by_the_same_execution_it_is_known() -> None:
    story, token = of_a_pivot_that_did_not_happen(), uuid4()
    story.complete(act(1), token)
    story.skip()

    assert story.complete(act(1), token).accepted

    assert story.status is SagaStatus.COMPENSATED


@pytest.mark.parametrize("succeeds", [True, False])
def test_reported_by_another_execution_after_the_answer_it_is_asked_about_again(*, succeeds: bool) -> None:
    story = of_a_pivot_that_did_not_happen()
    story.complete(act(1), uuid4())
    story.resolve(happened=True, undo=False)
    assert story.status is SagaStatus.COMPENSATED

    if succeeds:
        story.complete(act(1), uuid4())
    else:
        story.fail(act(1), uuid4(), Verdict.TIMEOUT)

    assert story.status is SagaStatus.FAILED
    assert story.row(undo(1, 2)).status is ExecutionStatus.FAILED
    assert story.skip().state.status is SagaStatus.COMPENSATED


def test_what_may_have_happened_and_then_reports_its_success_is_certain() -> None:
    story = of_a_pivot_that_did_not_happen()
    story.fail(act(1), uuid4(), Verdict.UNKNOWN)

    story.complete(act(1), uuid4(), '{"parcel": 7}')

    assert story.row(act(1)).status is ExecutionStatus.COMPLETED
    asked = story.row(undo(1))
    assert asked.error is not None
    assert asked.error.message == HAPPENED_AND_STAYS
    assert not story.resolve(happened=False).accepted
