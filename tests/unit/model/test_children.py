"""A step that starts another saga, and waits for its end; and the other saga, as its parent undoes it."""

from uuid import uuid4

import pytest

from sagas.model import ErrorInfo, ExecutionStatus, MailKind, SagaStatus, StepKind
from sagas.model.draft import AT_ONCE
from tests.unit.model.story import Story, act, beside, child, pivot, retriable, step, undo

PARENT = uuid4()
DECLINED = ErrorInfo(type="shop.Declined", message="no credit", step="pay")


def waits_for_its_child() -> Story:
    return Story(step(), child(), step()).done(act(0))


# -- the parent


def test_the_child_is_started_in_the_transaction_in_which_its_step_is_born() -> None:
    story = waits_for_its_child()

    [started] = story.said.children
    assert started.address == act(1)
    assert started.id == story.child_of(act(1))
    assert story.sends == ()


def test_a_child_tells_so_nobody_has_to_look_often() -> None:
    story = waits_for_its_child()

    assert story.due_in() == 3600


def test_looking_at_it_starts_no_second_one() -> None:
    story = waits_for_its_child()

    for status in (SagaStatus.PENDING, SagaStatus.RUNNING, SagaStatus.FAILED):
        assert story.child_is(act(1), status).children == ()
        assert story.row(act(1)).is_live


def test_when_the_child_is_completed_so_is_its_step_with_the_childs_results() -> None:
    story = waits_for_its_child()

    story.child_is(act(1), SagaStatus.COMPLETED, result='{"paid": true}')

    assert story.row(act(1)).result == '{"paid": true}'
    assert story.sent == [act(2)]


def test_a_child_whose_news_got_lost_is_found_by_the_sweep() -> None:
    story = waits_for_its_child()

    story.knows_child(act(1), SagaStatus.COMPLETED).later(3600).tick()

    assert story.sent == [act(2)]


def test_a_child_that_turned_back_turns_its_parent_back_with_its_error() -> None:
    story = waits_for_its_child()

    story.child_is(act(1), SagaStatus.COMPENSATED, error=DECLINED)

    assert story.state.error == DECLINED
    assert story.sent == [undo(0)]
    assert [note["message"] for note in story.noted("child_compensated")] == ["no credit"]


def test_a_child_that_waits_for_a_person_lets_its_parent_wait() -> None:
    story = waits_for_its_child()

    story.child_is(act(1), SagaStatus.FAILED)

    assert story.status is SagaStatus.RUNNING
    assert story.row(act(1)).is_live
    assert story.state.due_at is not None


def test_a_completed_child_is_undone_as_a_unit_when_its_turn_comes() -> None:
    story = waits_for_its_child()
    story.child_is(act(1), SagaStatus.COMPLETED)
    story.refused(act(2))
    assert story.sends == ()
    [post] = story.posts
    assert (post.to, post.mail.kind) == (story.child_of(act(1)), MailKind.UNDO)

    story.child_is(act(1), SagaStatus.COMPENSATING)
    assert story.sends == ()
    story.child_is(act(1), SagaStatus.COMPENSATED)

    assert story.row(undo(1)).status is ExecutionStatus.COMPLETED
    assert story.sent == [undo(0)]
    assert story.done(undo(0)).status is SagaStatus.COMPENSATED


def test_a_child_whose_undo_needs_a_person_lets_its_parent_wait_too() -> None:
    story = waits_for_its_child()
    story.child_is(act(1), SagaStatus.COMPLETED)
    story.refused(act(2))

    story.child_is(act(1), SagaStatus.FAILED)

    assert story.status is SagaStatus.COMPENSATING
    assert story.row(undo(1)).is_live
    assert story.state.due_at is not None


def test_a_parent_that_turns_back_cancels_its_child_and_waits_for_its_end() -> None:
    story = waits_for_its_child()

    story.cancel()

    [post] = story.posts
    assert (post.to, post.mail.kind) == (story.child_of(act(1)), MailKind.CANCEL)
    assert (story.status, story.sends) == (SagaStatus.COMPENSATING, ())
    story.child_is(act(1), SagaStatus.COMPENSATED)
    assert story.sent == [undo(0)]


def test_a_child_that_completes_all_the_same_is_undone() -> None:
    story = waits_for_its_child()
    story.cancel()

    story.child_is(act(1), SagaStatus.COMPLETED)

    assert [post.mail.kind for post in story.posts] == [MailKind.CANCEL, MailKind.UNDO]
    assert story.row(undo(1)).is_live


def test_a_child_is_cancelled_once() -> None:
    story = waits_for_its_child()
    story.cancel()

    for _ in range(3):
        story.later(3600).tick()

    assert len(story.posts) == 1


def test_a_child_that_was_never_started_is_not_cancelled() -> None:
    """Its step is born and voided by the same decision."""
    story = Story(step(), beside(step(), child()), step())
    token = story.claim(act(0))
    story.arrives(MailKind.CANCEL, "changed mind")

    story.complete(act(0), token)

    assert (story.said.children, story.said.posts) == ((), ())


def test_a_branch_that_fails_beside_a_child_has_it_cancelled() -> None:
    story = Story(beside(step(), child()), step())
    [started] = story.said.children

    story.fail(act(0, 0), story.claim(act(0, 0)))

    assert [(post.to, post.mail.kind) for post in story.posts] == [(started.id, MailKind.CANCEL)]
    assert story.status is SagaStatus.COMPENSATING
    story.child_is(act(0, 1), SagaStatus.COMPENSATED)
    assert story.status is SagaStatus.COMPENSATED


def test_children_side_by_side_have_ids_of_their_own() -> None:
    story = Story(beside(child(), child()), step())

    assert len({started.id for started in story.said.children}) == 2
    story.child_is(act(0, 1), SagaStatus.COMPLETED, result='{"b": 1}')
    assert story.row(act(0, 0)).is_live
    story.child_is(act(0, 0), SagaStatus.COMPLETED)

    assert story.sent == [act(1)]


def test_a_child_that_returned_what_a_branch_has_is_undone() -> None:
    story = Story(beside(child(), step()), step())
    story.complete(act(0, 1), story.claim(act(0, 1)), "{}", keys=("price",))

    story.child_is(act(0, 0), SagaStatus.COMPLETED, result='{"price": 1}')

    assert story.state.error is not None
    assert story.state.error.type == "sagas.KeyClash"
    assert story.sent == [undo(0, branch=1)]
    story.done(undo(0, branch=1))
    assert [post.mail.kind for post in story.posts] == [MailKind.UNDO]
    story.child_is(act(0, 0), SagaStatus.COMPENSATED)
    assert story.status is SagaStatus.COMPENSATED


def test_only_what_the_parent_wants_of_it_is_merged_and_can_clash() -> None:
    story = Story(beside(child(child_output=("paid",)), step()), step())
    story.complete(act(0, 1), story.claim(act(0, 1)), "{}", keys=("price",))

    story.child_is(act(0, 0), SagaStatus.COMPLETED, result='{"price": 1, "paid": true}')

    assert story.row(act(0, 0)).result == '{"paid": true}'
    assert story.sent == [act(1)]


def stuck_at_its_child() -> Story:
    story = Story(pivot(), child(kind=StepKind.RETRIABLE), retriable()).done(act(0))
    story.child_is(act(1), SagaStatus.COMPENSATED, error=DECLINED)
    assert story.status is SagaStatus.FAILED
    return story


def test_past_the_pivot_an_operators_retry_starts_another_child() -> None:
    story = stuck_at_its_child()
    former = story.child_of(act(1))

    story.retry()

    [started] = story.said.children
    assert started.id != former
    assert story.row(act(1)).is_live  # what became of the former one is no news
    story.child_is(act(1), SagaStatus.COMPLETED)
    assert story.sent == [act(2)]


def test_past_the_pivot_an_operator_may_skip_a_child() -> None:
    story = stuck_at_its_child()

    assert story.skip(result='{"paid": true}').accepted

    assert story.sent == [act(2)]


def test_the_end_of_a_child_that_is_found_by_another_event_is_not_forgotten() -> None:
    """Its message is read by whatever comes next; who was to have it looked at may have died."""
    story = Story(beside(child(), step(best_effort=True)), step())
    token = story.claim(act(0, 1))
    story.knows_child(act(0, 0), SagaStatus.COMPLETED).arrives(MailKind.CHILD)

    story.fail(act(0, 1), token)

    assert story.row(act(0, 0)).status is ExecutionStatus.COMPLETED or story.due_in() <= 60


# -- the child


def completed_child(*steps: dict[str, object]) -> Story:
    story = Story(*(steps or (step(), step())), parent=PARENT)
    for position in range(len(story.plan.steps)):
        story.done(act(position))
    assert story.status is SagaStatus.COMPLETED
    return story


@pytest.mark.parametrize("end", [SagaStatus.COMPLETED, SagaStatus.COMPENSATED])
def test_a_child_tells_its_parent_how_it_ended(end: SagaStatus) -> None:
    story = Story(step(), parent=PARENT)

    if end is SagaStatus.COMPLETED:
        story.done(act(0))
    else:
        story.refused(act(0))

    assert [(post.to, post.mail.kind) for post in story.posts] == [(PARENT, MailKind.CHILD)]


def test_one_that_waits_for_a_person_tells_nothing_until_it_is_resolved() -> None:
    story = Story(pivot(), retriable(), parent=PARENT).done(act(0)).refused(act(1))
    assert story.posts == []

    story.skip()

    assert [post.to for post in story.posts] == [PARENT]


def test_a_completed_child_is_undone_in_its_own_reverse_order() -> None:
    story = completed_child(step(), step(compensation=None), step())

    story.arrives(MailKind.UNDO).tick()

    assert story.status is SagaStatus.COMPENSATING
    assert story.state.finished_at is None
    assert story.sent == [undo(2)]
    assert story.done(undo(2)).sent == [undo(0)]
    assert story.done(undo(0)).status is SagaStatus.COMPENSATED
    assert [post.mail.kind for post in story.posts] == [MailKind.CHILD, MailKind.CHILD]


def test_a_completed_child_with_nothing_to_undo_is_compensated_at_once() -> None:
    story = completed_child(step(compensation=None))

    story.arrives(MailKind.UNDO).tick()

    assert story.status is SagaStatus.COMPENSATED
    assert len(story.posts) == 2


def test_asking_twice_undoes_once() -> None:
    story = completed_child(step())
    story.arrives(MailKind.UNDO).tick()
    story.done(undo(0))

    story.arrives(MailKind.UNDO).tick()

    assert story.status is SagaStatus.COMPENSATED
    assert len(story.state.compensations()) == 1
    assert story.state.evidence.inbox == ()


def test_a_child_whose_undo_fails_waits_for_a_person() -> None:
    story = completed_child(step())
    story.arrives(MailKind.UNDO).tick()

    story.fail(undo(0), story.claim(undo(0)))
    assert story.status is SagaStatus.FAILED
    assert len(story.posts) == 1
    story.skip(undone=True)

    assert story.status is SagaStatus.COMPENSATED
    assert len(story.posts) == 2


# -- a branch that fails and cancels the others


def cancelled_by(story: Story) -> list[str | None]:
    return [post.mail.payload for post in story.posts if post.mail.kind is MailKind.CANCEL]


@pytest.mark.parametrize(("cancels", "payload"), [(True, AT_ONCE), (False, None)])
def test_it_tells_a_child_beside_it_to_stop_what_runs(cancels: bool, payload: str | None) -> None:
    story = Story(beside(step(), child(), cancels_siblings=cancels), step())

    story.fail(act(0, 0), story.claim(act(0, 0)))

    assert cancelled_by(story) == [payload]


@pytest.mark.parametrize(("payload", "stops"), [(AT_ONCE, (act(0),)), (None, ())])
def test_a_child_that_is_told_so_stops_what_runs(payload: str | None, stops: tuple[object, ...]) -> None:
    story = Story(step(), step(), parent=PARENT)
    story.claim(act(0))

    story.arrives(MailKind.CANCEL, "its parent turned back", payload).tick()

    assert (story.status, story.said.stops) == (SagaStatus.COMPENSATING, stops)


def test_one_that_has_turned_back_already_stops_what_it_waits_for() -> None:
    story = Story(beside(step(), step(), child()), parent=PARENT)
    story.claim(act(0, 1))
    story.fail(act(0, 0), story.claim(act(0, 0)))
    assert (story.status, story.said.stops, cancelled_by(story)) == (SagaStatus.COMPENSATING, (), [None])

    story.arrives(MailKind.CANCEL, "its parent turned back", AT_ONCE).tick()

    assert (story.said.stops, cancelled_by(story)) == ((act(0, 1),), [None, AT_ONCE])


def test_it_reaches_the_child_of_a_child() -> None:
    story = Story(child(), parent=PARENT)

    story.arrives(MailKind.CANCEL, "its parent turned back", AT_ONCE).tick()

    assert cancelled_by(story) == [AT_ONCE]


def test_a_pivot_that_runs_in_a_child_belongs_to_itself() -> None:
    story = Story(pivot(), parent=PARENT)
    story.claim(act(0))

    story.arrives(MailKind.CANCEL, "its parent turned back", AT_ONCE).tick()

    assert (story.status.is_forward, story.said.stops) == (True, ())
