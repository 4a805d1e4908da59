"""Late events that a person has delivered to one handler: the run stays as it has ended, however that goes (V18)."""

from collections.abc import Callable

import pytest

from sagas.model import ExecutionStatus, Holder, SagaStatus, Verdict
from sagas.model.choreography import IfDead
from sagas.model.choreography.state import Letter
from tests.unit.model.choreography.graphs import graph, handler
from tests.unit.model.choreography.story import RunStory
from tests.unit.model.story import START, tries

#: ``pay`` may have been done by a customer after the order was cancelled; ``repay`` hears of nothing but a dispute.
SHOP = graph(
    handler("reserve", "A", undo="release", publishes=("B",)),
    handler("ship", "B", publishes=("E",)),
    handler("book", ("P", "E"), publishes=("Q", "N")),
    handler("repay", "Q", retry=tries(2, backoff=600.0)),
    ends=("E",),
    refuses=("R",),
)


def completed() -> RunStory:
    run = RunStory(SHOP).does(1, "reserve", "B").does(2, "ship", "E").does(3, "book")
    assert run.status is SagaStatus.COMPLETED
    return run


def compensated() -> RunStory:
    run = RunStory(SHOP).does(1, "reserve").comes("R").undoes(1, "reserve")
    assert run.status is SagaStatus.COMPENSATED
    return run


def failed() -> RunStory:
    run = RunStory(SHOP).does(1, "reserve", "B").comes("E")
    run.fails(2, "ship")
    run.does(3, "book")
    assert run.status is SagaStatus.FAILED
    return run


ENDS = {"completed": completed, "compensated": compensated, "failed": failed}


@pytest.mark.parametrize("ended", ENDS.values(), ids=ENDS)
def test_v18_a_late_event_is_delivered_to_the_handler_that_a_person_names_and_its_run_stays_as_it_was(
    ended: Callable[[], RunStory],
) -> None:
    run = ended().comes("P")
    before, number = run.state, run.state.numbered
    assert run.letters[number] is Letter.LATE

    assert run.delivers(number, "book").accepted

    assert (run.status, run.state.finished_at, run.state.error) == (before.status, before.finished_at, before.error)
    assert (run.state.pending, run.said.sends[0].address) == (1, run.at(number, "book"))
    assert run.state.due_at is not None
    run.does(number, "book")
    assert (run.status, run.state.finished_at) == (before.status, before.finished_at)
    assert (run.state.pending, run.state.due_at) == (0, None)
    assert run.late == {}


@pytest.mark.parametrize("ended", ENDS.values(), ids=ENDS)
def test_v18_a_late_delivery_that_is_given_up_is_a_letter_again_and_its_run_stays_as_it_was(
    ended: Callable[[], RunStory],
) -> None:
    run = ended().comes("Q")
    before, number = run.state, run.state.numbered
    run.delivers(number, "repay")

    run.fails(number, "repay", verdict=Verdict.RETRYABLE)
    assert run.row(number, "repay").status is ExecutionStatus.PENDING
    assert run.state.due_at == run.row(number, "repay").not_before, "the sweep tries it again"
    run.later(601.0).tick()
    run.fails(number, "repay", verdict=Verdict.RETRYABLE)

    row = run.row(number, "repay")
    assert (row.dead_at, row.doubt) == (run.now, True)
    assert (run.status, run.state.finished_at, run.state.due_at) == (before.status, before.finished_at, None)
    assert run.replays(number, "repay").accepted
    run.does(number, "repay")
    assert run.stands("repay") == ["completed"]
    assert (run.status, run.state.finished_at) == (before.status, before.finished_at)


def test_v18_what_a_late_delivery_returns_is_a_late_letter_if_a_handler_hears_it() -> None:
    for run in (completed().comes("P"), failed().comes("P"), compensated().comes("P")):
        number = run.state.numbered
        run.delivers(number, "book")

        run.does(number, "book", "Q", "N")

        assert run.types[number:] == ["Q", "N"]
        assert {it for it in run.letters if it > number} == {number + 1}, "no handler hears N"
        assert not run.has(number + 1, "repay")
        assert run.delivers(number + 1, "repay").accepted


def test_v18_what_a_late_delivery_of_a_failed_run_returns_is_late_also_if_it_waits_for_its_number() -> None:
    run = RunStory(SHOP).does(1, "reserve", "B").comes("R")
    run.fails(1, "reserve", round_=1)
    run.does(2, "ship")
    assert run.status is SagaStatus.FAILED
    run.comes("P")
    number = run.state.numbered
    run.delivers(number, "book")
    token = run.takes(number, "book")
    run.at_once = 1  # a flood of two is one
    run.arrives("N").arrives("N")

    run.ends(number, "book", token, "Q")
    while run.inbox:
        run.tick()

    assert run.types[-1] == "Q"
    assert run.letters[run.state.numbered] is Letter.LATE


def test_v18_a_late_delivery_waits_for_the_dead_letter_of_its_run_and_does_not_end_it() -> None:
    run = failed().comes("B")
    number = run.state.numbered
    run.delivers(number, "ship")
    assert run.stands("ship") == ["failed", "held"]

    assert run.replays(2, "ship").accepted
    assert run.status is SagaStatus.RUNNING
    run.does(2, "ship")

    assert run.stands("ship") == ["completed", "pending"]
    assert run.status is SagaStatus.COMPLETED
    run.does(number, "ship")
    assert run.status is SagaStatus.COMPLETED


def test_v18_late_deliveries_of_one_handler_go_one_after_the_other_and_a_dead_one_holds_the_next() -> None:
    run = completed().comes("P").comes("P")
    run.delivers(5, "book")
    run.delivers(4, "book")
    assert (run.row(4, "book").status, run.row(5, "book").status) == (ExecutionStatus.HELD, ExecutionStatus.PENDING)

    run.fails(5, "book")
    assert run.row(4, "book").status is ExecutionStatus.PENDING
    run.fails(4, "book")
    run.replays(5, "book")

    assert run.row(5, "book").status is ExecutionStatus.HELD, "it is behind the dead letter of an earlier event"
    run.skips(4, "book")
    run.does(5, "book")
    assert (run.status, run.state.pending) == (SagaStatus.COMPLETED, 0)


def test_v18_a_handler_that_turns_its_run_back_leaves_a_letter_too() -> None:
    plan = graph(handler("one", "A", undo="undo"), handler("two", "P", if_dead=IfDead.COMPENSATE), refuses=("R",))
    run = RunStory(plan).does(1, "one").comes("R").undoes(1, "one").comes("P")
    run.delivers(3, "two")

    run.fails(3, "two")

    assert run.row(3, "two").dead_at == run.now
    assert run.status is SagaStatus.COMPENSATED


def test_v18_a_late_delivery_of_a_dead_process_is_tried_again() -> None:
    run = compensated().comes("P")
    run.delivers(3, "book")
    token = run.takes(3, "book")

    run.evidence(run.at(3, "book"), holder=Holder.DEAD).tick()

    assert (run.row(3, "book").status, run.row(3, "book").doubt) == (ExecutionStatus.PENDING, True)
    assert run.status is SagaStatus.COMPENSATED
    assert run.ends(3, "book", token).accepted, "it has ended after all"
    assert (run.row(3, "book").status, run.state.pending) == (ExecutionStatus.COMPLETED, 0)


def test_v18_who_does_not_hear_it_gets_it_only_if_its_task_takes_it() -> None:
    run = completed().comes("P")

    refused = run.delivers(4, "repay")
    assert "repay does not hear P, and its task is not annotated to take it; those that hear it: book" in str(
        refused.refusal
    )
    assert run.delivers(4, "repay", takes=True).accepted
    run.does(4, "repay")

    assert run.status is SagaStatus.COMPLETED


def test_v18_a_late_event_is_not_delivered_where_that_does_not_fit() -> None:
    run = compensated().comes("A").comes("P")

    assert "no handler 'charge'; those that hear A: reserve" in str(run.delivers(3, "charge").refusal)
    assert "is closed" in str(run.delivers(3, "reserve").refusal)
    assert "has changed" in str(run.delivers(4, "book", seen=START).refusal)
    assert run.late.keys() == {3, 4}
    assert run.delivers(4, "book").accepted
    for again in ("book", "repay"):
        assert "has changed" in str(run.delivers(4, again, takes=True).refusal)
    turning = RunStory(SHOP).does(1, "reserve").comes("R").comes("P")
    assert "has not ended yet" in str(turning.delivers(3, "book").refusal)
