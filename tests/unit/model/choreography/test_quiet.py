"""Quiet runs: from when on, for what reasons not, and announced once."""

from dataclasses import replace
from datetime import timedelta

from sagas.model import SagaStatus
from sagas.model.choreography import BridgePlan
from sagas.model.state import Outage
from sagas.model.vocabulary import HistoryEvent
from tests.support.seen import seen
from tests.unit.model.choreography.graphs import graph, handler
from tests.unit.model.choreography.story import RunStory

MINUTE = 60.0
PAID = graph(handler("one", ("A", "B")), ends=("E",), awaits=(("B", 120 * MINUTE),), quiet_after=20 * MINUTE)
PLAIN = graph(handler("one", ("A", "B")), ends=("E",), quiet_after=20 * MINUTE)


def announced(run: RunStory) -> int:
    return sum(note.event is HistoryEvent.WENT_QUIET for note in run.notes)


def test_v20_a_run_in_which_nothing_is_open_and_no_end_has_come_is_quiet_and_announced_once() -> None:
    run = RunStory(PLAIN)
    assert run.state.quiet_from is None, "its delivery is open"
    run.does(1, "one")
    assert run.state.quiet_from == run.now + timedelta(minutes=20), "counted from the last settled delivery"
    assert run.state.due_at == run.state.quiet_from

    run.later(10 * MINUTE).tick()
    assert announced(run) == 0
    run.later(10 * MINUTE).tick()
    assert (announced(run), run.state.quiet_at, run.status) == (1, run.now, SagaStatus.RUNNING)
    run.later(60 * MINUTE).tick()
    assert announced(run) == 1

    run.comes("B")
    assert run.state.quiet_from is None, "it moves again"
    run.does(2, "one").later(21 * MINUTE).tick()
    assert (announced(run), run.state.quiet_from and run.state.quiet_from < run.now) == (1, True)
    run.comes("E")
    assert (run.status, run.state.quiet_from) == (SagaStatus.COMPLETED, None)


def test_v20_what_is_awaited_may_take_as_long_as_it_says_until_it_has_come() -> None:
    run = RunStory(PAID).does(1, "one")
    assert run.state.quiet_from == run.now + timedelta(hours=2)

    run.comes("B").does(2, "one")

    assert run.state.quiet_from == run.now + timedelta(minutes=20)


def test_v20_what_comes_by_a_bridge_may_take_a_day_without_being_named() -> None:
    till = BridgePlan(name="till", sends=("C",), accepts=("A", "B"))
    one = handler("one", ("A", "B"), publishes=("C",))
    bridged = graph(one, ends=("E",), quiet_after=20 * MINUTE, bridges=(till,))
    run = RunStory(bridged).does(1, "one")
    assert run.state.quiet_from == run.now + timedelta(days=1), "what starts a run has come"

    run.comes("B").does(2, "one")
    assert run.state.quiet_from == run.now + timedelta(minutes=20)

    named = replace(bridged, awaits=(("B", 120 * MINUTE),))
    assert named.awaited == {"B": 120 * MINUTE}


def test_v20_an_outage_is_not_silence() -> None:
    run = RunStory(PLAIN).does(1, "one")
    quiet_from = run.state.quiet_from
    assert quiet_from is not None
    began = run.now + timedelta(minutes=5)
    run.later(60 * MINUTE)
    run.state = seen(run.state, outages=(Outage(began, run.now),))

    run.tick()

    assert announced(run) == 0
    assert run.state.quiet_from == quiet_from + (run.now - began)


def test_a_run_that_waits_for_a_person_or_has_no_time_for_silence_is_not_quiet() -> None:
    failed = RunStory(PLAIN)
    failed.fails(1, "one")
    assert (failed.status, failed.state.quiet_from) == (SagaStatus.FAILED, None)

    patient = RunStory(graph(handler("one", "A"), ends=("E",), quiet_after=None, deadline=3600.0)).does(1, "one")
    assert patient.state.quiet_from is None
