"""A run by example: numbers, order, dead letters, undo, turning back, statuses (contract 3 to 6 and 11)."""

from datetime import timedelta

import pytest

from sagas.model import ExecutionStatus, Holder, SagaStatus, Verdict
from sagas.model.choreography import IfDead, Order
from sagas.model.choreography.events import Edit, PutOff
from sagas.model.choreography.state import NUMBERED_AT_ONCE
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
#: One handler that hears A, in order, and one that hears A and B in any order.
STREAM = graph(handler("one", "A"), handler("any", ("A", "B"), order=Order.NONE), ends=("E",))


def test_a_run_goes_from_event_to_event_until_one_that_ends_it() -> None:
    run = RunStory(LINE)
    assert run.status is SagaStatus.PENDING

    run.does(1, "reserve", "B")
    assert (run.status, run.types) == (SagaStatus.RUNNING, ["A", "B"])
    run.does(2, "charge", "C")
    assert (run.status, run.state.ended_by) == (SagaStatus.RUNNING, 3)
    run.does(3, "mail")

    assert run.status is SagaStatus.COMPLETED
    assert not run.letters


def test_a_choreography_without_ends_is_over_when_nothing_is_open() -> None:
    run = RunStory(graph(handler("one", "A", publishes=("B",)), handler("two", "B")))

    run.does(1, "one", "B")
    assert run.status is SagaStatus.RUNNING
    run.does(2, "two")

    assert run.status is SagaStatus.COMPLETED


def test_a_run_that_rests_without_its_end_is_not_over() -> None:
    run = RunStory(STREAM)

    run.does(1, "any").does(1, "one")

    assert run.status is SagaStatus.RUNNING
    assert run.state.due_at is not None
    run.comes("E")
    assert run.status is SagaStatus.COMPLETED


def test_v16_an_event_that_comes_before_its_run_waits_and_is_not_the_first() -> None:
    run = RunStory(STREAM, started=False)
    run.arrives("B").arrives("A")

    run.tick()

    assert run.types == ["A", "B"]
    assert run.stands("any") == ["pending", "pending"]


def test_v1_events_are_numbered_in_the_order_of_their_insertion_a_hundred_at_a_look() -> None:
    run = RunStory(STREAM)
    for _ in range(NUMBERED_AT_ONCE + 1):
        run.arrives("B")

    run.tick()
    assert run.state.numbered == NUMBERED_AT_ONCE + 1
    assert run.state.due_at == run.now
    run.tick()

    assert [event.row for event in map(run.events.__getitem__, sorted(run.events))] == list(range(1, 103))


def test_a_completion_that_publishes_waits_behind_events_that_have_no_number_yet() -> None:
    run = RunStory(LINE)
    token = run.takes(1, "reserve")
    for _ in range(NUMBERED_AT_ONCE + 1):
        run.arrives("A")

    run.ends(1, "reserve", token, "B")
    assert "B" not in run.types
    run.tick()

    assert run.types[-1] == "B"


def test_v3_a_held_delivery_is_released_by_whatever_ends_the_one_before() -> None:
    run = RunStory(STREAM).comes("A").comes("A")
    assert run.stands("one") == ["pending", "held", "held"]

    run.does(1, "one")
    assert run.stands("one") == ["completed", "pending", "held"]
    token = run.takes(2, "one")
    run.evidence(run.at(2, "one"), holder=Holder.DEAD)
    run.fails(2, "one", token)
    assert run.stands("one") == ["completed", "failed", "held"]
    run.skips(2, "one")

    assert run.stands("one") == ["completed", "skipped", "pending"]


def test_a_handler_without_an_order_gets_everything_at_once() -> None:
    run = RunStory(STREAM).comes("A").comes("B")

    assert run.stands("any") == ["pending"] * 3


def test_a_dead_letter_holds_later_events_of_its_handler_alone() -> None:
    run = RunStory(STREAM).comes("A")

    run.fails(1, "one")

    assert run.row(1, "one").dead_at == run.now
    assert run.stands("one") == ["failed", "held"]
    assert run.stands("any") == ["pending", "pending"]


def test_v11_a_run_is_failed_only_when_nothing_moves_any_more() -> None:
    run = RunStory(STREAM)

    run.fails(1, "one")
    assert run.status is SagaStatus.PENDING
    run.does(1, "any")
    assert run.status is SagaStatus.FAILED
    run.comes("B")
    assert run.status is SagaStatus.RUNNING
    run.does(2, "any")

    assert run.status is SagaStatus.FAILED


def test_a_replay_delivers_again_under_the_same_key_with_all_attempts_and_in_order() -> None:
    run = RunStory(STREAM).comes("A")
    run.fails(1, "one", verdict=Verdict.UNKNOWN)

    assert run.replays(1, "one").accepted

    row = run.row(1, "one")
    assert (row.status, row.failures, row.doubt, row.dead_at) == (ExecutionStatus.PENDING, 0, True, None)
    assert row.edits == 0
    run.does(1, "one").does(2, "one")
    assert run.stands("one") == ["completed", "completed"]


def test_v27_a_letter_that_has_changed_since_it_was_seen_is_refused() -> None:
    run = RunStory(STREAM)
    run.fails(1, "one")
    run.replays(1, "one")

    again = run.replays(1, "one")

    assert (again.accepted, again.refusal) == (False, "it has changed since it was looked at")


def test_v12_an_edit_of_what_is_in_doubt_needs_a_persons_word() -> None:
    run = RunStory(STREAM)
    run.fails(1, "one", verdict=Verdict.UNKNOWN)

    refused = run.replays(1, "one", edit=Edit(payload="{}"))
    assert "vouch for it" in str(refused.refusal)
    done = run.replays(1, "one", edit=Edit(payload="{}", fields=("total",), vouched=True))

    row = run.row(1, "one")
    assert (row.edits, row.input, row.doubt) == (1, "{}", False)
    told = done.notes[-1]
    assert (told.detail["edited"], told.detail["vouched"]) == (["total"], "not done")


def test_an_edit_of_what_certainly_did_nothing_needs_no_word_and_an_undo_has_no_payload_of_its_own() -> None:
    run = RunStory(
        graph(handler("one", "A", undo="undo", compensation_retry=tries(1)), ends=("E",), refuses=("F",))
    ).comes("A")
    run.fails(1, "one")
    assert run.replays(1, "one", edit=Edit(payload="{}")).accepted
    run.does(1, "one").comes("F").fails(1, "one", round_=1)

    refused = run.replays(1, "one", 1, edit=Edit(payload="{}"))

    assert (refused.accepted, refused.refusal) == (
        False,
        "an undo gets the event that its handler got: replay it, or do it by hand and skip it",
    )
    assert run.replays(1, "one", 1).accepted


def test_a_dead_letter_may_let_later_events_pass() -> None:
    run = RunStory(graph(handler("one", "A", if_dead=IfDead.SKIP), ends=("E",))).comes("A")

    run.fails(1, "one")
    run.does(2, "one").comes("E")

    assert run.status is SagaStatus.COMPLETED
    assert run.row(1, "one").dead_at is not None, "it is still a letter"


@pytest.mark.parametrize("verdict", [Verdict.CLEAN_NO, Verdict.UNKNOWN])
def test_a_dead_letter_may_turn_the_run_back(verdict: Verdict) -> None:
    plan = graph(
        handler("one", "A", undo="undo"), handler("two", "B", undo="undo", if_dead=IfDead.COMPENSATE), ends=("E",)
    )
    run = RunStory(plan).does(1, "one", "B")

    run.fails(2, "two", verdict=verdict)
    if verdict is Verdict.UNKNOWN:
        run.undoes(2, "two")
    run.undoes(1, "one")

    assert run.status is SagaStatus.COMPENSATED
    assert run.trouble is not None
    assert run.row(2, "two").dead_at is None
    told = [note.event for note in run.notes]
    assert ("dead_letter" in told) is (verdict is Verdict.UNKNOWN), "a clean no has its answer, and nobody is told"


def test_v26_a_delivery_that_is_put_off_is_not_counted_and_waits() -> None:
    run = RunStory(graph(handler("one", "A", undo="undo", undo_when=("C",)), ends=("E",))).comes("B")
    until = run.now + timedelta(minutes=5)
    token = run.takes(1, "one")

    assert run.happens(PutOff(address=run.at(1, "one"), token=token, until=until)).accepted
    row = run.row(1, "one")
    assert (row.status, row.attempts, row.not_before, row.first_claimed_at) == (ExecutionStatus.PENDING, 0, until, None)
    assert run.state.due_at == until
    assert not run.happens(PutOff(address=run.at(1, "one"), token=token, until=until)).accepted

    run.later(301).tick()
    token = run.takes(1, "one")
    run.comes("C")
    run.happens(PutOff(address=run.at(1, "one"), token=token, until=until))
    assert (run.row(1, "one").status, run.has(1, "one", 1)) == (ExecutionStatus.SKIPPED, False)
