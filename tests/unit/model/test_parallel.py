"""Steps of one position run side by side, in lanes; the saga goes on when all lanes are done."""

import pytest

from sagas.model import Address, ExecutionStatus, SagaStatus, StepKind, Verdict
from tests.unit.model.story import Story, act, beside, pivot, retriable, sleep, step, tries, undo

A, B, C = act(0, 0), act(0, 1), act(0, 2)


def pair_and_a_last(**options: object) -> Story:
    """Two lanes of one step, and a step that follows."""
    return Story(beside(step(), step(), **options), step())


# -- forward


def test_a_start_gives_birth_to_the_first_step_of_every_lane() -> None:
    story = Story(beside([step(), step()], step(), step()), step())

    assert [row.address for row in story.state.steps] == [act(0, 0), act(0, 2), act(0, 3)]
    assert story.sent == [act(0, 0), act(0, 2), act(0, 3)]
    assert story.state.pending == 3


def test_all_heads_of_a_position_are_born_by_the_completion_of_the_one_before() -> None:
    story = Story(step(), beside(step(), step())).done(act(0))

    assert story.sent == [act(1, 0), act(1, 1)]


def test_the_next_position_is_born_when_the_last_lane_is_done_and_not_before() -> None:
    story = Story(beside(step(), step(), step()), step())

    assert story.done(B).sent == []
    assert story.done(C).sent == []
    assert story.done(A).sent == [act(1)]


def test_in_a_lane_one_step_follows_the_other_whatever_the_other_lanes_do() -> None:
    story = Story(beside([step(), step(), step()], step()), step())

    assert story.done(act(0, 0)).sent == [act(0, 1)]
    assert story.done(act(0, 3)).sent == []
    assert story.done(act(0, 1)).sent == [act(0, 2)]
    assert story.done(act(0, 2)).sent == [act(1)]


def test_the_last_lane_of_the_last_position_ends_the_instance() -> None:
    story = Story(beside(step(), step())).done(A)
    assert story.status is SagaStatus.RUNNING

    assert story.done(B).status is SagaStatus.COMPLETED


def test_a_branch_that_is_retried_holds_up_its_own_lane_alone() -> None:
    story = Story(beside([step(retry=tries(2)), step()], [step(), step()]), step())

    story.fail(A, story.claim(A), Verdict.RETRYABLE)

    assert story.sent == [A]
    assert story.done(act(0, 2)).sent == [act(0, 3)]


# -- keys


def test_two_branches_that_return_one_key_are_an_error_and_both_are_undone() -> None:
    story = pair_and_a_last()
    first, second = story.claim(A), story.claim(B)
    story.complete(A, first, "{}", keys=("price", "seat"))

    story.complete(B, second, "{}", keys=("price",))

    assert story.status is SagaStatus.COMPENSATING
    assert story.state.error is not None
    assert story.state.error.type == "sagas.KeyClash"
    assert "'step0a' and 'step0b' both return 'price'" in story.state.error.message
    assert story.sent == [undo(0, branch=1)]
    assert story.done(undo(0, branch=1)).sent == [undo(0)]


def test_a_branch_whose_result_clashes_is_never_run_again_for_it() -> None:
    story = pair_and_a_last(retry=tries(5))
    story.complete(A, story.claim(A), "{}", keys=("price",))

    story.complete(B, story.claim(B), "{}", keys=("price",))

    assert (story.row(B).status, story.row(B).doubt) == (ExecutionStatus.FAILED, True)


def test_the_steps_of_one_lane_may_return_the_same_key() -> None:
    story = Story(beside([step(), step()], step()), step())
    for address in (act(0, 0), act(0, 1)):
        story.complete(address, story.claim(address), "{}", keys=("price",))

    assert story.done(act(0, 2)).sent == [act(1)]


def test_what_the_branches_of_an_earlier_position_returned_clashes_with_nothing() -> None:
    story = Story(beside(step(), step()), beside(step(), step()))
    story.complete(A, story.claim(A), "{}", keys=("price",))
    story.done(B)
    assert story.state.written is None

    for branch in (0, 1):
        address = act(1, branch)
        story.complete(address, story.claim(address), "{}", keys=(("price",), ("seat",))[branch])

    assert story.status is SagaStatus.COMPLETED


# -- one of them fails


def test_a_branch_that_says_no_turns_the_saga_back_in_the_same_transaction() -> None:
    """A completion that came in between would let the next step of its lane begin."""
    story = Story(beside(step(), [step(), step()]), step())
    story.claim(B)

    story.fail(A, story.claim(A))

    assert story.status is SagaStatus.COMPENSATING


def test_c7_what_runs_beside_it_is_awaited_and_nothing_follows_in_its_lane() -> None:
    story = Story(beside(step(), [step(), step()]), step())
    token = story.claim(B)

    story.fail(A, story.claim(A))
    assert story.sends == ()
    story.complete(B, token)

    assert [row.address for row in story.state.actions()] == [A, B]
    assert story.sent == [undo(0, branch=1)]


def test_c2_what_is_unclaimed_beside_it_can_never_be_claimed() -> None:
    story = pair_and_a_last()

    story.fail(A, story.claim(A))

    assert story.row(B).status is ExecutionStatus.SKIPPED
    assert not story.is_claimable(B)
    assert story.status is SagaStatus.COMPENSATED


def test_two_branches_that_say_no_are_one_failure() -> None:
    story = pair_and_a_last()
    one, other = story.claim(A), story.claim(B)

    story.fail(A, one)
    story.fail(B, other)

    assert story.status is SagaStatus.COMPENSATED


def test_branches_are_undone_in_the_reverse_order_of_their_first_claims() -> None:
    story = Story(beside(step(), step(), step()), step())
    tokens = {address: story.claim(address) for address in (B, C, A)}
    for address in (A, B, C):
        story.complete(address, tokens[address])

    story.refused(act(1))

    for branch in (0, 2, 1):
        assert story.sent == [undo(0, branch=branch)]
        story.done(undo(0, branch=branch))
    assert story.status is SagaStatus.COMPENSATED


@pytest.mark.parametrize(("cancels", "stops"), [(True, [B]), (False, [])])
def test_whoever_runs_beside_it_is_told_to_stop_where_the_saga_says_so(cancels: bool, stops: list[Address]) -> None:
    story = Story(beside(step(), step(), step(), cancels_siblings=cancels), step()).done(C)
    story.claim(B)

    story.fail(A, story.claim(A))

    assert list(story.said.stops) == stops


# -- after the pivot


def test_past_the_pivot_a_branch_that_was_given_up_lets_its_siblings_finish() -> None:
    story = Story(pivot(), beside(retriable(), [retriable(), retriable()]), retriable()).done(act(0))

    story.fail(act(1, 0), story.claim(act(1, 0)))

    assert story.status is SagaStatus.RUNNING
    assert story.done(act(1, 1)).sent == [act(1, 2)]
    story.done(act(1, 2))
    assert story.status is SagaStatus.FAILED
    assert [note["reason"] for note in story.noted("needs_a_person")] == ["retriable step failed for good"]


def test_a_branch_that_was_given_up_keeps_the_last_sibling_from_going_on() -> None:
    """The completion's statement knows the counter alone."""
    story = Story(pivot(), beside(retriable(), retriable()), retriable()).done(act(0))

    story.fail(act(1, 0), story.claim(act(1, 0)))

    assert story.state.pending == 2


def test_a_branch_that_was_given_up_beside_a_long_sleep_is_looked_at_when_that_is_over() -> None:
    """A sleep ends by a look, and no worker completes beside it: until then there is nothing to see."""
    story = Story(pivot(), beside(retriable(), sleep(4000.0, kind=StepKind.RETRIABLE)), retriable()).done(act(0))

    story.fail(act(1, 0), story.claim(act(1, 0)))

    assert story.due_in() > 3900
    assert story.later(4000).tick().state.status is SagaStatus.FAILED


def test_an_operators_retry_repeats_every_branch_that_was_given_up() -> None:
    story = Story(pivot(), beside(retriable(), retriable(), retriable()), retriable()).done(act(0), act(1, 1))
    for branch in (0, 2):
        story.fail(act(1, branch), story.claim(act(1, branch)))
    assert story.status is SagaStatus.FAILED

    assert story.retry().accepted

    assert story.sent == [act(1, 0), act(1, 2)]
    assert story.done(act(1, 0), act(1, 2)).sent == [act(2)]


def test_an_operator_skips_branches_that_were_given_up_one_by_one_and_by_name() -> None:
    story = Story(pivot(), beside(retriable(), [retriable(), retriable()]), retriable()).done(act(0))
    for branch in (0, 1):
        story.fail(act(1, branch), story.claim(act(1, branch)))
    assert story.status is SagaStatus.FAILED

    assert not story.skip().accepted
    assert story.skip("step1b").accepted
    assert story.sent == [act(1, 2)]
    story.done(act(1, 2))
    assert story.status is SagaStatus.FAILED

    assert story.skip().accepted
    assert story.sent == [act(2)]


# -- losses and reports that come late


def test_a_sweep_that_gives_a_branch_up_turns_the_saga_back_at_once() -> None:
    story = Story(beside(step(max_losses=0), [step(), step()]), step())
    story.claim(A)
    token = story.claim(B)

    story.lose(A)
    assert story.status is SagaStatus.COMPENSATING
    story.complete(B, token)

    assert story.sent == [undo(0, branch=1)]
    assert story.done(undo(0, branch=1)).sent == [undo(0)]


def test_a_late_success_of_an_unclaimed_branch_is_its_completion() -> None:
    story = pair_and_a_last().done(B)
    late = story.claim(A)
    story.lose(A)

    assert story.complete(A, late).accepted

    assert story.sent == [act(1)]


def test_a_late_success_whose_key_a_sibling_has_returned_meanwhile_is_undone() -> None:
    story = pair_and_a_last()
    late = story.claim(A)
    story.lose(A)
    story.complete(B, story.claim(B), "{}", keys=("price",))

    story.complete(A, late, "{}", keys=("price",))

    assert story.status is SagaStatus.COMPENSATING
    assert story.row(A).doubt
    story.done(story.sent[0])
    story.done(story.sent[0])
    assert story.status is SagaStatus.COMPENSATED
    assert set(story.undone()) == {undo(0), undo(0, branch=1)}


def test_a_branch_that_acted_while_the_others_were_being_undone_is_undone_too() -> None:
    story = Story(beside(step(max_losses=0), step()), step())
    late = story.claim(A)
    story.done(B)
    story.lose(A)
    story.done(undo(0, branch=1)).done(undo(0))
    assert story.status is SagaStatus.COMPENSATED

    story.complete(A, late)

    assert story.sent == [undo(0, 2)]
