"""`check` looks at choreographies as it does at sagas: their graphs, and the queues of their handlers."""

import pytest
from celery import Celery

from sagas import Saga, Sagas, Step
from sagas.choreography import Choreography, event
from sagas.cli.checks import findings, notes
from tests.unit.choreography.fulfilment import NOWHERE, OrderCreated, ShipmentCreated, add_currency


@event(version=3)
class Odd:
    field: int


class Shop:
    """An app of its own with one handler, whose choreography is held as long as the shop."""

    def __init__(self, name: str, **options: object) -> None:
        self.app = Celery(name, set_as_current=False, broker="memory://")
        self.sagas = Sagas(self.app, database=NOWHERE)
        self.choreography = Choreography(name, starts=OrderCreated, ends=ShipmentCreated, awaits={Odd: 60})

        @self.choreography.on(OrderCreated, Odd, publishes=ShipmentCreated, **options)  # type: ignore[arg-type]
        @self.app.task(name=f"{name}.ship", shared=False)
        def ship(event: object) -> None: ...

        @self.choreography.undo(ship, when=Odd2)
        @self.app.task(name=f"{name}.take_back", shared=False)
        def take_back(event: object) -> None: ...

    def told(self) -> list[str]:
        lines = [*findings(self.sagas), *notes(self.sagas)]
        return [line for line in lines if f"{self.choreography.name!r}" in line]


@event(name="Odd2")
class Odd2:
    field: int


def test_findings_and_notes_on_the_graph_are_told() -> None:
    told = Shop("checked").told()

    assert [line[:70] for line in told] == [
        "choreography 'checked': the handler 'ship' is undone by Odd2, which no",
        "choreography 'checked': the handler 'ship' hears Odd from outside, and",
    ]


def test_a_choreography_that_does_not_compile_is_told_with_every_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop("broken")
    upcasters = shop.choreography.types["Odd"].upcasters
    monkeypatch.setattr(upcasters, "_listed", [(1, add_currency)])

    (told,) = shop.told()

    assert told.startswith("choreography 'broken': event 'Odd': nothing upcasts version 2, so the chain")


def test_a_saga_of_the_same_name_is_told() -> None:
    shop = Shop("namesake")
    saga = Saga("namesake", steps=[Step(shop.app.tasks["namesake.ship"], compensation=None)])

    assert "choreography 'namesake': a saga has this name, too: give one of them another name" in shop.told()
    assert saga.name == shop.choreography.name


def test_the_queue_of_a_handler_must_be_declared_if_no_queue_is_made() -> None:
    shop = Shop("queued", queue="shipping")
    shop.app.conf.task_create_missing_queues = False
    shop.app.conf.task_queues = {"sagas": {}, "celery": {}}

    assert any(
        "choreography 'queued', handler 'ship'" in line and "Add the queue to task_queues" in line
        for line in shop.told()
    )


def test_a_handler_that_outlasts_rabbitmqs_patience_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagas.cli.queues.declared", list)  # sagas of other tests may take longer
    shop = Shop("patient", timeout=7200)
    shop.app.conf.broker_url = "amqp://nowhere"

    assert any("handler 'ship' may take 7205 s" in line for line in shop.told())
