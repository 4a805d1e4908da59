"""Undo concerns one handler, and turning back the run (contract 5 and 11)."""

import pytest

from sagas.model import ExecutionStatus, Holder, SagaStatus, Verdict
from sagas.model.choreography.state import Letter
from sagas.model.vocabulary import Reason
from tests.unit.model.choreography.graphs import graph, handler
from tests.unit.model.choreography.story import RunStory
from tests.unit.model.story import tries

LINE = graph(
    handler("reserve", "A", undo="release", undo_when=("D",), publishes=("B",)),
    handler("charge", "B", undo="refund", publishes=("C", "D")),
    handler("mail", ("C", "D", "X")),
    ends=("C",),
    refuses=("R",),
    on_cancel="X",
)


def test_v5_an_undo_event_undoes_its_handler_and_reaches_those_that_hear_it() -> None:
    run = RunStory(LINE).does(1, "reserve", "B").does(2, "charge", "D")

    assert run.status is SagaStatus.COMPENSATING
    assert run.stands("mail") == ["pending"]
    run.undoes(1, "reserve", "R").does(3, "mail")

    assert run.state.closed["reserve"] == 3


def test_v7_an_undo_waits_for_nothing_but_its_own_action() -> None:
    """Also behind a dead head of its own handler."""
    plan = graph(handler("one", "A", undo="undo", undo_when=("D",)), ends=("E",))
    run = RunStory(plan).comes("A").comes("A").does(1, "one")
    run.fails(2, "one", verdict=Verdict.UNKNOWN)

    run.comes("D")

    assert run.row(1, "one", 1).status is ExecutionStatus.PENDING
    assert run.row(2, "one", 1).status is ExecutionStatus.PENDING
    assert run.stands("one") == ["completed", "failed", "skipped"]
    assert run.row(2, "one").dead_at is None


def test_many_undo_events_are_one_undo() -> None:
    plan = graph(handler("one", "A", undo="undo", undo_when=("D",)), ends=("E",))
    run = RunStory(plan).does(1, "one").comes("D").comes("D").undoes(1, "one").comes("D").comes("E")

    assert not run.has(1, "one", 2)
    assert run.status is SagaStatus.COMPENSATED


def test_v6_e4_an_undo_event_before_its_action_refuses_that_and_all_that_come_later() -> None:
    plan = graph(handler("one", "B", undo="undo", undo_when=("D",)), ends=("E",))
    run = RunStory(plan).comes("D").comes("B").comes("B")

    for number in (3, 4):
        row = run.row(number, "one")
        assert (row.status, row.error and row.error.type) == (ExecutionStatus.SKIPPED, Reason.HANDLER_CLOSED)
    run.comes("E")

    assert run.status is SagaStatus.COMPENSATED
    assert not run.has(3, "one", 1)


@pytest.mark.parametrize("how", ["backoff", "replay", "lost", "crash"])
def test_v4_voiding_an_action_that_was_ever_attempted_leaves_doubt_and_an_undo(how: str) -> None:
    plan = graph(
        handler("one", "A", undo="undo", undo_when=("D",), retry=tries(3, backoff=60.0, on=("shop.Refused",))),
        ends=("E",),
    )
    run = RunStory(plan)
    if how == "crash":
        run.evidence(run.at(1, "one"), epoch_changed=True)
    elif how == "replay":
        run.fails(1, "one", verdict=Verdict.UNKNOWN)
        run.replays(1, "one")
    elif how == "backoff":
        run.fails(1, "one", verdict=Verdict.RETRYABLE)
    else:
        run.takes(1, "one")
        run.evidence(run.at(1, "one"), holder=Holder.DEAD).tick()
    assert run.row(1, "one").status is ExecutionStatus.PENDING

    run.comes("D")

    assert (run.row(1, "one").status, run.row(1, "one").doubt) == (ExecutionStatus.FAILED, True)
    assert run.row(1, "one", 1).status is ExecutionStatus.PENDING


def test_an_untouched_action_is_voided_without_an_undo() -> None:
    plan = graph(handler("one", "A", undo="undo", undo_when=("D",)), ends=("E",))
    run = RunStory(plan).comes("D").comes("E")

    assert run.stands("one") == ["skipped"]
    assert run.status is SagaStatus.COMPENSATED
    assert not run.has(1, "one", 1)


def test_v8_a_completion_whose_handler_is_closed_publishes_nothing_and_is_undone() -> None:
    run = RunStory(LINE)
    token = run.takes(1, "reserve")
    run.comes("D")
    assert not run.has(1, "reserve", 1), "its undo waits for it"

    run.ends(1, "reserve", token, "B")

    assert "B" not in run.types
    assert [event.type for event in run.muted] == ["B"]
    assert run.row(1, "reserve", 1).status is ExecutionStatus.PENDING


def test_a_closed_handler_whose_action_ends_in_a_clean_no_has_nothing_to_undo() -> None:
    run = RunStory(LINE)
    token = run.takes(1, "reserve")
    run.comes("D").does(2, "mail")

    run.fails(1, "reserve", token)

    assert (run.row(1, "reserve").dead_at, run.has(1, "reserve", 1)) == (None, False)


def test_turning_back_undoes_in_the_reverse_order_of_first_claim() -> None:
    run = RunStory(LINE).does(1, "reserve", "B").does(2, "charge")

    run.cancels()
    assert run.status is SagaStatus.COMPENSATING
    assert run.types == ["A", "B", "X"]
    assert not run.has(1, "reserve", 1)
    run.undoes(2, "charge")
    assert run.row(1, "reserve", 1).status is ExecutionStatus.PENDING
    run.undoes(1, "reserve").does(3, "mail")

    assert run.status is SagaStatus.COMPENSATED
    assert run.trouble is not None
    assert run.trouble.type == Reason.CANCELLED


def test_turning_back_waits_for_what_its_closed_handlers_still_run() -> None:
    run = RunStory(LINE).does(1, "reserve", "B")
    token = run.takes(2, "charge")

    run.cancels()
    assert not run.has(1, "reserve", 1)
    run.ends(2, "charge", token, "C")

    assert run.row(2, "charge", 1).status is ExecutionStatus.PENDING
    assert not run.has(1, "reserve", 1)
    assert run.types == ["A", "B", "X"]


def test_a_refusing_end_turns_back_and_tells_of_it() -> None:
    run = RunStory(LINE).does(1, "reserve", "R")

    assert run.types == ["A", "R", "X"]
    run.undoes(1, "reserve").does(3, "mail")

    assert run.status is SagaStatus.COMPENSATED
    assert run.trouble is not None
    assert run.trouble.type == Reason.REFUSED


def test_v28_after_the_turn_events_are_recorded_and_have_no_deliveries() -> None:
    run = RunStory(LINE).does(1, "reserve", "B")
    run.cancels()

    run.undoes(1, "reserve", "B")

    assert run.types == ["A", "B", "X", "B"]
    assert not run.has(4, "charge")
    assert not run.letters


def test_v28_an_event_from_outside_after_the_turn_is_a_late_letter() -> None:
    run = RunStory(LINE)
    run.cancels()

    run.comes("B")

    assert run.letters == {3: Letter.LATE}


def test_v18_an_event_after_the_end_is_a_late_letter_and_changes_nothing() -> None:
    run = RunStory(LINE).does(1, "reserve", "B").does(2, "charge", "C").does(3, "mail")

    run.comes("D").comes("B")

    assert run.status is SagaStatus.COMPLETED
    assert run.letters == {4: Letter.LATE, 5: Letter.LATE}
    assert not run.state.closed


def test_v19_the_first_end_wins() -> None:
    run = RunStory(LINE).does(1, "reserve", "B").does(2, "charge", "C").comes("R")

    assert (run.state.ended_by, run.state.turned_at) == (3, None)
    run.does(3, "mail")
    assert run.status is SagaStatus.COMPLETED


def test_v19_actions_that_were_born_before_the_end_run_and_none_is_born_after_it() -> None:
    run = RunStory(LINE).comes("C").does(1, "reserve", "B")

    assert run.has(2, "mail")
    assert not run.has(3, "charge")
    assert run.letters == {3: Letter.LATE}
    assert run.status is SagaStatus.RUNNING
    run.does(2, "mail")
    assert run.status is SagaStatus.COMPLETED


def test_a_run_that_has_ended_is_not_cancelled() -> None:
    run = RunStory(LINE).comes("C")

    assert not run.cancels().accepted
    assert run.state.turned_at is None


def test_v11_a_deadline_turns_back_a_run_that_waits_for_a_person() -> None:
    plan = graph(handler("one", "A", undo="undo"), handler("two", "B"), ends=("E",))
    run = RunStory(plan, deadline=100.0).does(1, "one", "B")
    run.fails(2, "two")
    assert run.status is SagaStatus.FAILED
    assert run.state.due_at is not None

    run.later(200).tick()
    run.undoes(1, "one")

    assert run.status is SagaStatus.FAILED, "the letter of a handler without an undo is still in the way"
    run.skips(2, "two")
    assert run.status is SagaStatus.COMPENSATED


def test_a_cancel_that_a_caller_has_left_turns_back_what_came_before_it() -> None:
    run = RunStory(LINE).arrives("B").posts_a_cancel()

    run.tick()

    assert run.types == ["A", "B", "X"]
    assert run.stands("charge") == ["skipped"]
