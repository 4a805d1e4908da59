"""A saga that starts on an event is a handler of the choreographies that name it: in plan, catalogue and picture."""

from collections.abc import Iterator
from typing import Any

import pytest
from celery import shared_task

from sagas import DefinitionError, Saga, Step
from sagas.choreography import Choreography, event
from sagas.choreography.findings import graph_findings
from sagas.engine import registry
from sagas.model.choreography import HandlerPlan
from tests.unit.choreography.fulfilment import bound

SAGAS = bound("starters")


@event
class Landed:
    flight: str


@event
class Departed:
    flight: str


@shared_task
def unload(flight: str) -> None: ...


@shared_task
def wave(event: Any) -> None: ...


@pytest.fixture
def airport() -> Choreography:
    found = Choreography("airport", starts=Landed, ends=Departed, awaits={Departed: 60.0})
    found.on(Departed, undo=None)(wave)
    return found


@pytest.fixture
def unloading() -> Iterator[Saga]:
    made = Saga("unloading", steps=[Step(unload, compensation=None)], starts_on=Landed, key="flight-{flight}")
    yield made
    registry._declared.discard(made)


def handlers(choreography: Choreography) -> list[HandlerPlan]:
    return list(choreography.plan(SAGAS.engine).handlers)


def test_it_is_a_handler_also_if_it_is_declared_after_the_graph_was_compiled(airport: Choreography) -> None:
    assert [handler.name for handler in handlers(airport)] == ["wave"]

    unloading = Saga("unloading", steps=[Step(unload, compensation=None)], starts_on=Landed, key="flight-{flight}")
    try:
        found = handlers(airport)
    finally:
        registry._declared.discard(unloading)

    assert [(handler.place, handler.name, handler.hears) for handler in found] == [
        (0, "start.unloading", ("Landed",)),
        (1, "wave", ("Departed",)),
    ]
    assert (found[0].step.task, found[0].step.compensation) == ("sagas.start_saga", "sagas.cancel_saga")


def test_a_process_without_the_saga_knows_a_part_of_the_graph(airport: Choreography) -> None:
    part = airport.plan(SAGAS.engine)
    unloading = Saga("unloading", steps=[Step(unload, compensation=None)], starts_on=Landed, key="flight-{flight}")
    try:
        whole = airport.plan(SAGAS.engine)
    finally:
        registry._declared.discard(unloading)

    assert part.contradictions(whole) == ()
    assert whole.contradictions(part) == ("the handler 'start.unloading'",)


def test_check_the_catalogue_and_the_picture_show_it(airport: Choreography, unloading: Saga) -> None:
    (landed,) = [entry for entry in SAGAS.events.catalogue() if entry.type == "Landed"]

    assert graph_findings(airport, SAGAS.engine) == []
    assert landed.heard_by == ("airport/start.unloading",)
    assert "start.unloading" in SAGAS.graph(airport)


def test_without_it_check_says_that_nothing_hears_the_event(airport: Choreography) -> None:
    assert [found for found in graph_findings(airport, SAGAS.engine) if "Landed" in found]


def test_a_handler_cannot_have_the_name_of_a_start(airport: Choreography, unloading: Saga) -> None:
    airport.on(Landed, name="start.unloading")(wave)

    with pytest.raises(DefinitionError, match=r"handler 'start\.unloading' has the name of the start of a saga"):
        airport.plan(SAGAS.engine)
