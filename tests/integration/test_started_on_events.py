"""Sagas start on events of a choreography: a delivery as any other, once for each key."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from sagas import SagaHandle, SagaStatus, StepStatus
from sagas.engine import Publisher, published
from sagas.model.choreography.state import LONGEST_CHAIN
from sagas.store import NewRun
from tests.conftest import Shop
from tests.support import journal
from tests.support.started_on_events import Arrived, Closed, Left, depot, unloading
from tests.support.workers import eventually, running

OPEN = (
    "INSERT INTO public.gate (saga_id, name, open) VALUES (%s, 'gate', true) "
    "ON CONFLICT (saga_id, name) DO UPDATE SET open = true RETURNING open"
)


@pytest.fixture(scope="module")
def depot_shop(own_shop: Shop) -> Iterator[Shop]:
    """A shop whose worker knows the choreography and the saga."""
    with running(own_shop.worker("-c", "4", "-I", "tests.support.started_on_events")):
        engine = own_shop.sagas.engine
        eventually(lambda: engine.store.runs.whole_graph(depot.plan(engine)), "the graph", 60)
        yield own_shop


def arrive(shop: Shop, number: str | None, **script: Any) -> SagaHandle:
    return depot.start_on(shop.sagas.engine, Arrived(number=number, script=script))


def saga_of(shop: Shop, number: str) -> SagaHandle:
    eventually(lambda: shop.sagas.find(saga="unloading", key=f"truck-{number}"), "the saga to start", 60)
    found = shop.sagas.find(saga="unloading", key=f"truck-{number}")
    assert found is not None
    return found


def test_a_saga_starts_on_an_event_with_its_fields_and_belongs_to_its_run(depot_shop: Shop) -> None:
    number = uuid4().hex

    run = arrive(depot_shop, number, unload=["flaky", "ok"])
    saga = saga_of(depot_shop, number)

    assert saga.wait(60) is SagaStatus.COMPLETED
    assert depot_shop.effects(saga) == ["unload", "seal"]
    assert saga.data == {"number": number, "script": {"unload": ["flaky", "ok"]}}
    assert saga.correlation_id == run.id
    assert run.related() == [run, saga]
    assert [(step.name, step.status) for step in run.steps] == [("start.unloading", StepStatus.COMPLETED)]
    event_id = journal.query(
        depot_shop.database_url, "SELECT event_id::text FROM sagas.saga_inbox WHERE instance_id = %s", str(run.id)
    )[0][0]
    assert saga.snapshot().caused_by == f"{event_id}:start.unloading"


def test_a_key_starts_one_saga_however_many_events_have_it(depot_shop: Shop) -> None:
    number = uuid4().hex

    runs = [arrive(depot_shop, number) for _ in range(3)]
    for run in runs:
        eventually(lambda run=run: run.steps and run.steps[0].status is StepStatus.COMPLETED, "the delivery", 60)

    assert saga_of(depot_shop, number).wait(60) is SagaStatus.COMPLETED
    count = "SELECT count(*) FROM sagas.saga_instance WHERE saga = 'unloading' AND key = %s"
    assert journal.query(depot_shop.database_url, count, f"truck-{number}") == [(1,)]


def test_v32_a_loop_through_sagas_that_start_on_events_and_publish_again_ends_as_a_letter(depot_shop: Shop) -> None:
    engine, number = depot_shop.sagas.engine, uuid4().hex
    written = depot.exchange.write(Arrived(number=number, script={"goes round": True}), engine.secrecy)
    far_away = replace(published(written), depth=LONGEST_CHAIN - 1)
    new = NewRun.of(Publisher(engine).whole_graph(depot.plan(engine)), None, far_away)

    with engine.store.database.autocommit() as connection:
        engine.store.runs.start(connection.scalar, new)
    engine.loop.poke(new.id)

    def come() -> list[Any]:
        said = "SELECT payload ->> 'number', depth, letter FROM sagas.saga_inbox WHERE payload ->> 'number' LIKE %s"
        return journal.query(depot_shop.database_url, f"{said} ORDER BY id", f"{number}%")

    eventually(lambda: come()[-1][2] is not None, "a letter", 60)
    assert come() == [(number, 99, None), (f"{number}.", 100, None), (f"{number}..", 101, "loop")]
    assert depot_shop.sagas.find(saga="unloading", key=f"truck-{number}..") is None


def test_an_event_without_the_value_of_the_key_is_a_dead_letter(depot_shop: Shop) -> None:
    run = arrive(depot_shop, None)

    assert run.wait(60) is SagaStatus.FAILED
    assert run.error is not None
    assert "in this Arrived it is None" in run.error.message


def test_a_run_that_turns_back_cancels_the_saga_that_it_started(depot_shop: Shop) -> None:
    number = uuid4().hex
    run = arrive(depot_shop, number, unload=["wait:gate"])
    saga = saga_of(depot_shop, number)
    eventually(lambda: saga.steps[0].status is StepStatus.RUNNING, "the step to run", 60)

    depot.publish_on(depot_shop.sagas.engine, Closed(script={}), run=run)
    assert run.wait(60) is SagaStatus.COMPENSATED
    journal.query(depot_shop.database_url, OPEN, str(saga.id))

    assert saga.wait(60) is SagaStatus.COMPENSATED
    assert depot_shop.effects(saga) == ["unload", "load"]
    assert saga.error is not None
    assert f"what began it was undone: depot {run.id}" in saga.error.message


def test_a_saga_that_has_completed_is_left_to_a_person_when_its_run_turns_back(depot_shop: Shop) -> None:
    number = uuid4().hex
    run = arrive(depot_shop, number)
    assert saga_of(depot_shop, number).wait(60) is SagaStatus.COMPLETED

    run.cancel("the truck never came")

    assert run.wait(60) is SagaStatus.FAILED
    assert [step.name for step in run.snapshot().needs_a_person] == ["start.unloading"]


def test_a_saga_is_cancelled_whose_key_a_later_release_would_make_otherwise(depot_shop: Shop) -> None:
    number = uuid4().hex
    run = arrive(depot_shop, number, unload=["wait:gate"])
    saga = saga_of(depot_shop, number)
    renamed = "UPDATE sagas.saga_instance SET key = %s WHERE id = %s RETURNING key"
    journal.query(depot_shop.database_url, renamed, f"lorry-{number}", str(saga.id))

    run.cancel("the truck never came")

    assert run.wait(60) is SagaStatus.COMPENSATED
    journal.query(depot_shop.database_url, OPEN, str(saga.id))
    assert saga.wait(60) is SagaStatus.COMPENSATED


def test_a_saga_of_a_caller_with_the_same_key_is_not_cancelled(depot_shop: Shop) -> None:
    number = uuid4().hex
    script = {"unload": ["wait:gate"]}
    own = unloading.start_on(depot_shop.sagas.engine, {"number": number, "script": script}, key=f"truck-{number}")
    run = arrive(depot_shop, number)
    eventually(lambda: run.steps and run.steps[0].status is StepStatus.COMPLETED, "the delivery", 60)

    run.cancel("the truck never came")

    assert run.wait(60) is SagaStatus.COMPENSATED
    assert own.status is SagaStatus.RUNNING
    assert own.correlation_id == own.id
    own.cancel("the test is over")
    journal.query(depot_shop.database_url, OPEN, str(own.id))  # or its worker would wait for it, to stop
    assert own.wait(60) is SagaStatus.COMPENSATED


def test_a_run_ends_whatever_its_saga_does(depot_shop: Shop) -> None:
    run = arrive(depot_shop, uuid4().hex)

    depot.publish_on(depot_shop.sagas.engine, Left(script={}), run=run)

    assert run.wait(60) is SagaStatus.COMPLETED
