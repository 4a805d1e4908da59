"""What has named fields travels through a saga as these: as its input, as a result, and back into the undo."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest
from celery import Celery
from cryptography.fernet import Fernet

from sagas import PermanentError, Saga, SagaHandle, Sagas, SagaStatus, Step, parallel
from sagas.testing import inline
from tests.support import journal

NOON = datetime(2024, 3, 30, 12, tzinfo=ZoneInfo("Europe/Berlin"))  # the day before summer time


class Order(pydantic.BaseModel):
    order_id: str
    card: str = "4111 1111 1111 1111"


@dataclass
class Held:
    hold_id: str


class Seat(NamedTuple):
    row: int


class Offer(pydantic.BaseModel):
    offer_id: str
    seats: list[Held] = []


class Sent(msgspec.Struct):
    sent_id: str
    due: datetime = NOON


@pytest.fixture
def app(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    app = Celery("records", broker="memory://", set_as_current=False)
    sagas = Sagas(app, database=database_url, secrets=["card"], codec=Fernet(Fernet.generate_key()))
    sagas.migrate()
    journal.create(database_url)
    monkeypatch.setenv("SAGAS_DATABASE_URL", database_url)
    yield app
    sagas.engine.store.database.dispose()


def run(app: Celery, saga: Saga, data: Any) -> SagaHandle:
    sagas: Sagas = app.sagas
    with inline(sagas):
        return sagas.start(saga, data)


def test_later_steps_get_the_fields_of_what_earlier_ones_returned_and_so_does_the_undo(app: Celery) -> None:
    @app.task(shared=False)
    def hold(order_id: str) -> Held:
        return Held(f"h-{order_id}")

    @app.task(shared=False)
    def unhold(hold_id: str | None = None) -> None:
        journal.write(f"unheld {hold_id}")

    @app.task(shared=False)
    def offer(hold_id: str) -> Offer:
        return Offer(offer_id=f"o-{hold_id}", seats=[Held("nested")])

    @app.task(shared=False)
    def seat(seats: list[Any]) -> Seat:
        journal.write(f"seat for {seats}")
        return Seat(7)

    @app.task(shared=False)
    def send(offer_id: str, row: int, card: str) -> Sent:
        journal.write(f"send {offer_id} {row} {card[:4]}")
        return Sent("s")

    @app.task(shared=False)
    def refuse(sent_id: str, due: datetime) -> None:
        journal.write(f"{sent_id}, a day later at {due + timedelta(days=1)}")
        raise PermanentError("no")

    steps = [Step(hold, compensation=unhold), *(Step(task, compensation=None) for task in (offer, seat, send, refuse))]
    handle = run(app, Saga("records", steps=steps, input=Order), Order(order_id="8"))

    assert handle.status is SagaStatus.COMPENSATED, handle.timeline()
    assert journal.effects(
        str(app.sagas.engine.store.database.url.render_as_string(hide_password=False)), handle.id
    ) == [
        "seat for [{'hold_id': 'nested'}]",
        "send o-h-8 7 4111",
        "s, a day later at 2024-03-31 12:00:00+02:00",
        "unheld h-8",
    ]
    assert "4111" not in handle.timeline()


def test_branches_that_return_the_same_field_are_an_error_that_names_both(app: Celery) -> None:
    def hold() -> Any:
        return Held("1")

    tasks = [app.task(shared=False, name=name)(hold) for name in ("one", "two")]
    branches = parallel(*(Step(task, name=task.name, compensation=None) for task in tasks))
    handle = run(app, Saga("clash", steps=[branches]), {})

    assert handle.status is SagaStatus.COMPENSATED
    assert handle.error is not None
    assert "'hold_id'" in handle.error.message


def test_a_result_that_cannot_be_dumped_is_in_doubt_and_tells_no_secret(
    app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(pydantic.BaseModel):
        card: str

        @pydantic.model_serializer
        def dump(self) -> dict[str, Any]:
            raise KeyError(self.card)

    @app.task(shared=False)
    def pay(order_id: str) -> Any:
        return Broken(card="4222 2222")

    handle = run(app, Saga("broken", steps=[Step(pay, compensation=None)]), Order(order_id="8"))

    assert handle.steps[0].in_doubt
    assert "Broken that cannot be dumped" in str(handle.error)
    assert "4222" not in f"{handle.timeline()} {handle.history()} {caplog.text}"
