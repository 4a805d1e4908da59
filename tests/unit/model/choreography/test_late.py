"""Reports that come late, failing undos, and events that go too far, by example."""

from uuid import uuid4

from sagas.model import ExecutionStatus, Holder, IfInDoubt, SagaStatus, Verdict
from sagas.model.choreography.events import Handled
from sagas.model.choreography.state import LONGEST_CHAIN, Letter
from tests.unit.model.choreography.graphs import graph, handler
from tests.unit.model.choreography.story import RunStory

LINE = graph(
    handler("reserve", "A", undo="release", undo_when=("D",), publishes=("B",)),
    handler("charge", "B", undo="refund", publishes=("C", "D")),
    handler("mail", ("C", "D", "X")),
    ends=("C",),
    refuses=("R",),
    on_cancel="X",
)


def test_a_late_success_of_an_open_delivery_is_its_completion() -> None:
    run = RunStory(LINE)
    token = run.takes(1, "reserve")
    run.evidence(run.at(1, "reserve"), holder=Holder.DEAD).tick()

    run.ends(1, "reserve", token, "B")

    assert run.types == ["A", "B"]
    assert run.stands("reserve") == ["completed"]


def test_a_late_success_answers_a_dead_letter() -> None:
    plan = graph(handler("one", "A", max_losses=0, publishes=("B",)), ends=("E",))
    run = RunStory(plan)
    token = run.takes(1, "one")
    run.evidence(run.at(1, "one"), holder=Holder.DEAD).tick()
    assert run.row(1, "one").dead_at is not None

    run.ends(1, "one", token, "B")

    assert (run.row(1, "one").status, run.row(1, "one").dead_at) == (ExecutionStatus.COMPLETED, None)
    assert run.types == ["A", "B"]


def test_v33_a_late_success_of_a_closed_handler_is_undone_again_also_out_of_compensated() -> None:
    plan = graph(handler("one", "A", undo="undo", undo_when=("D",), max_losses=0), ends=("E",))
    run = RunStory(plan)
    token = run.takes(1, "one")
    run.evidence(run.at(1, "one"), holder=Holder.DEAD).tick()
    run.comes("D").undoes(1, "one").comes("E")
    assert run.status is SagaStatus.COMPENSATED

    run.ends(1, "one", token, "B")

    assert run.status is SagaStatus.COMPENSATING
    assert run.types == ["A", "D", "E"]
    run.does(1, "one", round_=2)
    assert run.status is SagaStatus.COMPENSATED


def test_v33_an_event_of_one_that_is_done_elsewhere_is_dropped() -> None:
    run = RunStory(LINE)
    token = run.takes(1, "reserve")
    run.evidence(run.at(1, "reserve"), holder=Holder.DEAD).tick()
    run.does(1, "reserve", "B")

    assert not run.ends(1, "reserve", token, "B").accepted

    assert run.types == ["A", "B"]


def test_a_repeated_completion_is_a_success_and_publishes_nothing_twice() -> None:
    run = RunStory(LINE)
    token = run.takes(1, "reserve")
    run.ends(1, "reserve", token, "B")

    assert run.happens(Handled(address=run.at(1, "reserve"), token=token, published=())).accepted
    assert run.ends(1, "reserve", token, "B").accepted

    assert run.types == ["A", "B"]


def test_what_was_rolled_back_is_not_even_a_late_success() -> None:
    run = RunStory(LINE)
    run.takes(1, "reserve")

    said = run.happens(Handled(address=run.at(1, "reserve"), token=uuid4(), rolled_back=True))

    assert not said.accepted
    assert run.stands("reserve") == ["running"]


def test_an_undo_that_fails_leaves_a_letter_and_the_run_failed_until_a_person_answers() -> None:
    plan = graph(handler("one", "A", undo="undo"), handler("two", "B", undo="undo"), ends=("E",))
    run = RunStory(plan).does(1, "one", "B").does(2, "two")
    run.cancels()
    run.fails(2, "two", round_=1)
    assert run.status is SagaStatus.COMPENSATING
    run.undoes(1, "one")
    assert run.status is SagaStatus.FAILED

    assert run.replays(2, "two", 1).accepted
    run.undoes(2, "two")

    assert run.status is SagaStatus.COMPENSATED


def test_v27_what_is_closed_is_not_replayed() -> None:
    plan = graph(handler("one", "A", undo="undo", undo_when=("D",)), handler("two", "A"), ends=("E",))
    run = RunStory(plan)
    run.fails(1, "two")
    run.fails(1, "one")
    seen = run.row(1, "one").dead_at
    run.comes("D")

    assert not run.replays(1, "one").accepted
    assert seen is not None
    run.cancels()
    assert "turned back" in str(run.replays(1, "two").refusal)


def test_only_a_person_can_tell_whether_what_is_in_doubt_has_to_be_undone() -> None:
    plan = graph(handler("one", "A", undo="undo", undo_when=("D",), if_in_doubt=IfInDoubt.PERSON), ends=("E",))
    run = RunStory(plan)
    run.fails(1, "one", verdict=Verdict.UNKNOWN)

    run.comes("D")

    assert run.status is SagaStatus.FAILED
    assert run.row(1, "one", 1).dead_at is not None
    run.replays(1, "one", 1)
    run.undoes(1, "one").comes("E")
    assert run.status is SagaStatus.COMPENSATED


def test_v14_an_event_too_many_is_a_letter() -> None:
    run = RunStory(graph(handler("any", ("A", "B")), ends=("E",), max_events=2)).comes("B").comes("B")

    assert run.letters == {3: Letter.TOO_MANY}
    assert not run.has(3, "any")


def test_a_run_that_has_had_all_of_its_events_tells_of_its_turn_all_the_same() -> None:
    plan = graph(handler("any", "A"), handler("mail", "X"), ends=("E",), on_cancel="X", max_events=1)
    run = RunStory(plan)

    run.cancels()

    assert run.letters == {}
    assert run.stands("mail") == ["pending"]


def test_v32_an_event_that_goes_round_in_a_loop_is_a_letter() -> None:
    run = RunStory(graph(handler("any", ("A", "B")), ends=("E",))).comes("B", depth=LONGEST_CHAIN + 1)

    assert run.letters == {2: Letter.LOOP}
