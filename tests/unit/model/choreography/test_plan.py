"""The whole graph of a choreography is one plan: a run is frozen to it, and who knows a part agrees with it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from sagas.model import NewerRelease, Plan
from sagas.model.choreography import ChoreographyPlan, EventPlan, IfDead, Order, is_choreography
from sagas.model.choreography.plan import MOST_HEARERS
from tests.unit.model.choreography.graphs import graph, graphs, handler


def order(**options: Any) -> ChoreographyPlan:
    return graph(
        handler("reserve", "A", undo="release", undo_when=("C",), publishes=("B",)),
        handler("charge", "B", publishes=("C",)),
        **options,
    )


@given(graphs())
def test_a_graph_survives_its_json(plan: ChoreographyPlan) -> None:
    stored = json.loads(plan.text)

    assert is_choreography(stored)
    assert ChoreographyPlan.from_json(stored) == plan
    assert ChoreographyPlan.from_json(stored).fingerprint == plan.fingerprint


def test_a_release_without_choreographies_refuses_the_plan_of_one() -> None:
    with pytest.raises(NewerRelease, match="which this release does not know"):
        Plan.from_json(order().to_json())


def test_a_field_of_a_newer_release_that_matters_is_refused() -> None:
    stored = order().to_json()
    stored["handlers"][0]["audience"] = "all"

    with pytest.raises(NewerRelease, match="the handler 'charge' of the plan has 'audience'"):
        ChoreographyPlan.from_json(stored)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"starts": "B"},
        {"ends": ("C",)},
        {"refuses": ("C",)},
        {"on_cancel": "C"},
        {"deadline": 60.0},
        {"quiet_after": 60.0},
        {"awaits": (("C", 60.0),)},
        {"early_for": 60.0},
        {"max_events": 10},
        {"priority": 3},
        {"handlers": ()},
        {"events": tuple(EventPlan(type=type_, version=2) for type_ in "ABC")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_a_choreography_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert replace(order(), **change).fingerprint != order().fingerprint


@pytest.mark.parametrize(
    "change",
    [{"publishes": ()}, {"order": Order.NONE}, {"if_dead": IfDead.SKIP}, {"undo_when": ()}, {"undo_publishes": ("A",)}],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_a_handler_changes_the_fingerprint(change: dict[str, Any]) -> None:
    charge, reserve = order().handlers

    assert replace(order(), handlers=(charge, replace(reserve, **change))).fingerprint != order().fingerprint


def test_a_delivery_has_the_plan_of_a_step_at_the_number_of_its_event() -> None:
    plan = order()

    step = plan.step(7, plan.handlers[1].place)

    assert (step.position, step.branch, step.name) == (7, 1, "reserve")
    assert (step.task_for(0), step.task_for(1)) == ("tasks.reserve", "release")


def test_an_event_finds_those_that_hear_it_and_those_that_it_undoes() -> None:
    plan = order()

    assert [it.name for it in plan.hearers("A")] == ["reserve"]
    assert [it.name for it in plan.undone_by("C")] == ["reserve"]
    assert plan.hearers("C") == ()


def test_a_process_that_knows_a_part_of_the_graph_agrees_with_the_whole() -> None:
    whole = order(awaits=(("C", 60.0),))
    part = graph(handler("reserve", "A", undo="release", undo_when=("C",), publishes=("B",)))

    assert part.handlers[0].place != whole.handlers[1].place
    assert part.contradictions(whole) == ()
    assert whole.contradictions(part) == ("how long 'C' is awaited", "the handler 'charge'")


@pytest.mark.parametrize(
    ("part", "what"),
    [
        (graph(handler("reserve", "A", publishes=("B",))), "the handler 'reserve'"),
        (graph(starts="B"), "its option starts"),
        (graph(events=(EventPlan(type="A", version=2),)), "the event 'A'"),
        (graph(awaits=(("A", 5.0),)), "how long 'A' is awaited"),
    ],
    ids=["handler", "option", "event", "awaits"],
)
def test_a_process_that_says_otherwise_contradicts_the_whole(part: ChoreographyPlan, what: str) -> None:
    assert part.contradictions(order()) == (what,)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda: replace(order(), handlers=order().handlers[::-1]), "sorted by their names"),
        (lambda: replace(order(), events=order().events[::-1]), "sorted by type"),
        (lambda: replace(order(), starts="Z"), r"the events \['Z'\] have no entry"),
        (lambda: order(ends=("C",), refuses=("C",)), r"\['C'\] cannot both end and refuse"),
        (lambda: order(quiet_after=None), "must say when a run is quiet"),
        (lambda: graph(handler("a", "A", undo="b", undo_when=("A",))), "run and undone by the same events"),
        (lambda: graph(handler("a", "A", undo_when=("B",))), "events that undo it, and no undo"),
        (lambda: graph(*(handler(f"h{it:03}", "A") for it in range(MOST_HEARERS + 1))), "more than 100 handlers hear"),
    ],
    ids=["handlers", "events", "unknown", "both", "quiet", "same", "undo", "fan-out"],
)
def test_a_graph_that_cannot_be_is_refused(wrong: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        wrong()
