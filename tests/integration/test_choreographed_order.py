"""The participants of the choreographed order: what each answers to an event, and what its undo takes back.

The handlers are called as plain functions, on the real services and their books.
"""

from collections.abc import Iterator
from decimal import Decimal

import pytest
from sqlalchemy import Engine

from config.demo import faults
from config.demo.books import audit
from config.demo.ledger import OrderBook
from sagas.choreography.findings import graph_findings, graph_notes
from sagas.graph.choreography import mermaid, svg
from tasks.choreography import (
    OrderCreated,
    OrderRefused,
    PaymentCharged,
    PaymentDeclined,
    ShipmentCreated,
    ShipmentFailed,
    StockRefused,
    StockReserved,
    by_events,
    charge_payment,
    confirm_order,
    create_shipment,
    refund_payment,
    refuse_order,
    release_stock,
    reserve_stock,
)
from tasks.services import inventory
from tasks.services.database import engine
from tasks.services.tables import create_tables
from tests.unit.choreography.fulfilment import bound


@pytest.fixture(autouse=True)
def shop(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setenv("SAGAS_DATABASE_URL", database_url)
    faults.install()
    create_tables(engine())
    inventory.stock_up("pen", 10)
    yield engine()
    engine().dispose()


def created(order_id: str = "42", quantity: int = 2) -> OrderCreated:
    return OrderCreated(order_id=order_id, items=[{"sku": "pen", "quantity": quantity}], total=Decimal("9.90"))


def book(order_id: str = "42") -> OrderBook:
    return audit(engine()).orders[order_id]


def test_it_compiles_and_has_neither_findings_nor_notes() -> None:
    engine_ = bound("by-events").engine

    assert graph_findings(by_events, engine_) == []
    assert graph_notes(by_events, engine_) == []


def test_it_is_drawn_with_all_of_its_participants() -> None:
    plan = by_events.plan(bound("by-events-drawn").engine)

    for drawn in (mermaid(plan).replace("#95;", "_"), svg(plan)):
        for handler in plan.handlers:
            assert handler.name in drawn
        for event in plan.events:
            assert event.type in drawn


def test_an_order_that_ships() -> None:
    order = created()

    reserved = reserve_stock.run(order)
    charged = charge_payment.run(reserved)
    shipped = create_shipment.run(charged)
    confirm_order.run(shipped)

    assert [type(event) for event in (reserved, charged, shipped)] == [StockReserved, PaymentCharged, ShipmentCreated]
    assert audit(engine(), completed=["42"]).violations == ()
    assert (book().shipped, book().notifications) == (2, 1)


def test_an_order_for_more_than_there_is_is_refused() -> None:
    refused = reserve_stock.run(created(quantity=11))

    assert isinstance(refused, StockRefused)
    assert "11 × pen asked for, 10 left" in refused.reason
    assert refuse_order.run(refused) == OrderRefused(order_id="42")
    assert audit(engine(), compensated=["42"]).violations == ()


def test_a_declined_payment_releases_the_goods() -> None:
    faults.inject("payment", "charge", "refuse", order_id="42")
    order = created()

    declined = charge_payment.run(reserve_stock.run(order))
    release_stock.run(order)

    assert isinstance(declined, PaymentDeclined)
    assert refuse_order.run(declined) == OrderRefused(order_id="42")
    assert audit(engine(), compensated=["42"]).violations == ()


def test_a_failed_shipment_gives_the_money_back_and_releases_the_goods() -> None:
    faults.inject("shipping", "create", "refuse", order_id="42")
    order = created()
    reserved = reserve_stock.run(order)

    failed = create_shipment.run(charge_payment.run(reserved))
    refund_payment.run(reserved)
    release_stock.run(order)

    assert isinstance(failed, ShipmentFailed)
    assert audit(engine(), compensated=["42"]).violations == ()


def test_every_handler_and_undo_may_run_twice() -> None:
    order = created()
    for _ in range(2):
        reserved = reserve_stock.run(order)
        charge_payment.run(reserved)
    for _ in range(2):
        refund_payment.run(reserved)
        release_stock.run(order)

    assert audit(engine(), compensated=["42"]).violations == ()


def test_an_undo_that_comes_before_its_action_keeps_it_from_happening() -> None:
    order = created()
    release_stock.run(order)

    late = reserve_stock.run(order)

    assert isinstance(late, StockRefused)
    assert audit(engine(), compensated=["42"]).violations == ()


def test_a_lost_connection_is_an_error_and_not_an_answer() -> None:
    faults.inject("payment", "charge", "error", moment="after", times=1)
    reserved = reserve_stock.run(created())

    with pytest.raises(ConnectionError):
        charge_payment.run(reserved)
    assert isinstance(charge_payment.run(reserved), PaymentCharged)
