"""The choreographed order, end to end: real workers, real servers, services that say no."""

from collections.abc import Iterator
from decimal import Decimal
from uuid import uuid4
from xml.etree import ElementTree

import pytest

from config.demo import faults, shelves
from config.demo.books import Violation, audit
from config.demo.ledger import OrderBook
from config.servers import EmbeddedBroker, EmbeddedPostgres
from sagas import SagaHandle, SagaStatus
from sagas.choreography.findings import graph_findings, graph_notes
from tasks.choreography import OrderCreated, by_events
from tasks.services.database import engine
from tests.conftest import GivenPostgres
from tests.support.examples import PATIENCE, Examples, examples, steps


@pytest.fixture(scope="module")
def shop(
    postgres: EmbeddedPostgres | GivenPostgres, broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Examples]:
    with examples(postgres, broker, tmp_path_factory.mktemp("shop")) as made:
        made.sagas.register()
        shelves.stock_up("pen", 1000)
        yield made


@pytest.fixture
def order_id() -> str:
    return uuid4().hex


def created(order_id: str, quantity: int = 2) -> OrderCreated:
    return OrderCreated(order_id=order_id, items=[{"sku": "pen", "quantity": quantity}], total=Decimal("9.90"))


def order(shop: Examples, order_id: str, quantity: int = 2) -> tuple[SagaHandle, SagaStatus]:
    run = by_events.start_on(shop.sagas.engine, created(order_id, quantity), key=order_id)
    return run, run.wait(PATIENCE)


def violations(run: SagaHandle) -> tuple[Violation, ...]:
    """What does not add up in the books, given how the run says that it ended."""
    order_id, completed = str(run.key), run.status is SagaStatus.COMPLETED
    return audit(
        engine(), completed=[order_id] if completed else [], compensated=[] if completed else [order_id]
    ).violations


def book(run: SagaHandle) -> OrderBook:
    return audit(engine()).orders[str(run.key)]


def test_the_example_is_sound(shop: Examples) -> None:
    assert graph_findings(by_events, shop.sagas.engine) == []
    assert graph_notes(by_events, shop.sagas.engine) == []


def test_an_order_is_reserved_charged_shipped_and_confirmed(shop: Examples, order_id: str) -> None:
    run, end = order(shop, order_id)

    assert end == "completed"
    assert [step.name for step in run.steps] == ["reserve_stock", "charge_payment", "create_shipment", "confirm_order"]
    assert set(steps(run).values()) == {"completed"}
    assert violations(run) == ()
    assert (book(run).shipped, book(run).notifications) == (2, 1)


def test_an_order_for_more_than_there_is_is_refused(shop: Examples, order_id: str) -> None:
    run, end = order(shop, order_id, quantity=100_000)

    assert end == "compensated"
    assert [step.name for step in run.steps] == ["reserve_stock", "refuse_order"]
    assert violations(run) == ()


def test_a_declined_payment_releases_the_goods(shop: Examples, order_id: str) -> None:
    faults.inject("payment", "charge", "refuse", order_id=order_id)

    run, end = order(shop, order_id)

    assert end == "compensated"
    assert steps(run)["reserve_stock"] == "compensated"
    assert violations(run) == ()


def test_a_failed_shipment_gives_the_money_back_and_releases_the_goods(shop: Examples, order_id: str) -> None:
    faults.inject("shipping", "create", "refuse", order_id=order_id)

    run, end = order(shop, order_id)

    assert end == "compensated"
    assert (steps(run)["reserve_stock"], steps(run)["charge_payment"]) == ("compensated", "compensated")
    assert violations(run) == ()


def test_a_run_is_drawn_with_what_became_of_each_delivery(shop: Examples, order_id: str) -> None:
    faults.inject("payment", "charge", "refuse", order_id=order_id)
    run, _ = order(shop, order_id)

    chart = shop.sagas.graph(run)
    described = ElementTree.fromstring(shop.sagas.graph(run, format="svg")).findtext("{http://www.w3.org/2000/svg}desc")

    assert f'title("order-by-events v1<br/>{run.id}, key {order_id}<br/>compensated' in chart
    assert 'h4["reserve_stock<br/>compensated"]:::compensated' in chart
    assert 'u4("release_stock<br/>completed"):::completed' in chart
    assert 'h2["create_shipment"]:::plain' in chart
    assert described is not None
    assert "Handler refuse_order (completed) hears StockRefused, PaymentDeclined, ShipmentFailed" in described


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_that_is_killed_while_it_charges_charges_once(shop: Examples, order_id: str, moment: str) -> None:
    faults.inject("payment", "charge", "crash", moment=moment, times=1, order_id=order_id)

    run, end = order(shop, order_id)

    assert end == "completed"
    assert violations(run) == ()


def test_a_lost_answer_is_asked_for_again_under_the_same_key(shop: Examples, order_id: str) -> None:
    faults.inject("inventory", "reserve", "error", moment="after", times=1, order_id=order_id)

    run, end = order(shop, order_id)

    assert end == "completed"
    assert run.steps[0].attempts == 2
    assert violations(run) == ()


def test_the_same_order_has_one_run(shop: Examples, order_id: str) -> None:
    run, _ = order(shop, order_id)

    again, end = order(shop, order_id)

    assert (again.id, end) == (run.id, "completed")
    assert violations(run) == ()
