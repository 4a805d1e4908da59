"""Steps of sagas publish events into choreographies, in one commit with their completion."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from sagas import Saga, SagaHandle, SagaStatus, StepStatus
from sagas.store import run_id_of
from tests.conftest import Shop
from tests.support import journal, tenants
from tests.support.choreographed import Ordered, ring
from tests.support.publishing import announcing, announcing_inline
from tests.support.workers import eventually, running


@pytest.fixture(scope="module")
def shop_of_both(own_shop: Shop) -> Iterator[Shop]:
    """A shop whose worker knows the saga and the choreography."""
    modules = "tests.support.choreographed,tests.support.publishing"
    with running(own_shop.worker("-c", "4", "-I", modules)):
        engine = own_shop.sagas.engine
        eventually(lambda: engine.store.runs.whole_graph(ring.plan(engine)), "the graph", 60)
        yield own_shop


def announce(shop: Shop, saga: Saga = announcing, **script: Any) -> SagaHandle:
    return saga.start_on(shop.sagas.engine, {"script": script})


def key_of(test: str) -> str:
    return f"{test}-{uuid4().hex}"


def published(shop: Shop, run_id: UUID) -> list[tuple[str, str | None]]:
    """Return the events of a run that came from outside, each with what caused it."""
    statement = (
        "SELECT name, caused_by FROM sagas.saga_inbox WHERE instance_id = %s AND kind = 'event' AND cause IS NULL "
        "ORDER BY id"
    )
    return journal.query(shop.database_url, statement, str(run_id))


@pytest.mark.parametrize("saga", [announcing, announcing_inline], ids=str)
def test_a_step_starts_a_run_and_both_are_one_timeline(shop_of_both: Shop, saga: Saga) -> None:
    key = key_of("starts")

    with tenants.connected(tenants.put), tenants.of("acme"):
        order = announce(shop_of_both, saga, run=key, **{"announce publishes": ["start"]})
    assert order.wait(60) is SagaStatus.COMPLETED
    run = shop_of_both.sagas.find(saga="ring", key=key)

    assert run is not None
    assert run.wait(60) is SagaStatus.COMPLETED
    cause = f"{order.id}:announce"
    assert published(shop_of_both, run.id) == [("Ordered", cause)]
    assert run.correlation_id == order.correlation_id == order.id
    assert run.snapshot().headers == order.snapshot().headers == ["tenant"]
    assert order.related() == run.related() == [order, run]
    told = run.timeline(related=True)
    assert told.index(f"{saga.name} v1") < told.index("ring v1")
    assert f"begun by {cause}" in told


def test_a_repeated_body_publishes_once_what_it_says_anew(shop_of_both: Shop) -> None:
    key = key_of("again")

    order = announce(
        shop_of_both,
        run=key,
        announce=["after:flaky", "after:flaky", "ok"],
        **{"announce publishes": ["start", "into"]},
    )

    assert order.wait(60) is SagaStatus.COMPLETED
    run_id = run_id_of("ring", key)
    assert [name for name, _ in published(shop_of_both, run_id)] == ["Ordered", "Noted"]
    said = "SELECT payload ->> 'number' FROM sagas.saga_inbox WHERE instance_id = %s AND name = 'Noted'"
    assert journal.query(shop_of_both.database_url, said, str(run_id)) == [("3",)]


def test_a_process_that_dies_after_its_body_has_published_nothing_yet(shop_of_both: Shop) -> None:
    key = key_of("dies")

    order = announce(shop_of_both, run=key, announce=["after:die", "ok"], **{"announce publishes": ["start"]})

    assert order.wait(60) is SagaStatus.COMPLETED
    assert [name for name, _ in published(shop_of_both, run_id_of("ring", key))] == ["Ordered"]


def test_a_step_that_is_given_up_publishes_nothing_and_its_compensation_may(shop_of_both: Shop) -> None:
    key = key_of("given-up")
    ring.start_on(shop_of_both.sagas.engine, Ordered(script={}), key=key)

    order = announce(
        shop_of_both,
        run=key,
        announce="after:invalid",
        withdraw=["after:flaky", "ok"],
        **{"announce publishes": ["into"], "withdraw publishes": ["into"]},
    )

    assert order.wait(60) is SagaStatus.COMPENSATED
    assert published(shop_of_both, run_id_of("ring", key)) == [
        ("Ordered", None),
        ("Noted", f"comp:{order.id}:announce"),
    ]


def test_v8_a_step_that_completes_when_its_saga_has_turned_back_publishes_nothing(shop_of_both: Shop) -> None:
    key = key_of("doomed")
    order = announce(shop_of_both, run=key, announce=["wait:quay"], **{"announce publishes": ["start"]})
    eventually(lambda: order.steps[0].status is StepStatus.RUNNING, "the step to run", 60)

    order.cancel("changed mind")
    statement = (
        "INSERT INTO public.gate (saga_id, name, open) VALUES (%s, 'quay', true) "
        "ON CONFLICT (saga_id, name) DO UPDATE SET open = true RETURNING open"
    )
    journal.query(shop_of_both.database_url, statement, str(order.id))

    assert order.wait(60) is SagaStatus.COMPENSATED
    assert shop_of_both.effects(order) == ["announce", "withdraw"]
    assert published(shop_of_both, run_id_of("ring", key)) == []
    assert shop_of_both.sagas.find(saga="ring", key=key) is None


def test_what_a_step_writes_itself_commits_with_what_it_publishes(shop_of_both: Shop) -> None:
    key = key_of("ledger")

    order = announce(
        shop_of_both,
        run=key,
        announce=["write:first, after:flaky", "write:second"],
        **{"announce publishes": ["start"]},
    )

    assert order.wait(60) is SagaStatus.COMPLETED
    entries = "SELECT entry FROM public.ledger WHERE saga_id = %s"
    assert journal.query(shop_of_both.database_url, entries, str(order.id)) == [("second",)]
    assert shop_of_both.sagas.find(saga="ring", key=key) is not None


def test_a_key_whose_run_began_with_another_event_is_doubt_and_undone(shop_of_both: Shop) -> None:
    key = key_of("taken")
    ring.start_on(shop_of_both.sagas.engine, Ordered(script={}), key=key)

    order = announce(shop_of_both, run=key, **{"announce publishes": ["another"]})

    assert order.wait(60) is SagaStatus.COMPENSATED
    assert order.steps[0].error is not None
    assert "began with another event" in order.steps[0].error.message
    assert shop_of_both.effects(order) == ["announce", "withdraw"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("nowhere", "Charged starts no run: say with run= into which it is published"),
        ("a saga", "is not a choreography: pass the object"),
    ],
)
def test_what_cannot_be_published_fails_in_the_body(shop_of_both: Shop, said: str, told: str) -> None:
    order = announce(shop_of_both, **{"announce publishes": [said]})

    assert order.wait(60) is SagaStatus.COMPENSATED
    assert order.steps[0].error is not None
    assert told in order.steps[0].error.message
    assert shop_of_both.effects(order) == ["withdraw"]


def test_a_handler_is_told_to_return_its_events(shop_of_both: Shop) -> None:
    run = ring.start_on(shop_of_both.sagas.engine, Ordered(script={"charge": "publish"}))

    assert run.wait(60) is SagaStatus.FAILED
    assert run.error is not None
    assert "a handler returns its events" in run.error.message
