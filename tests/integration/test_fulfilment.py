"""The fulfilment example, end to end: real workers, real servers, services that say no."""

from collections.abc import Iterator
from decimal import Decimal
from uuid import uuid4

import pytest

from config.demo import faults, shelves
from config.demo.books import Violation, audit
from config.demo.ledger import OrderBook
from config.servers import EmbeddedBroker, EmbeddedPostgres
from sagas import SagaHandle, SagaStatus
from tasks.fulfilment import fulfilment
from tasks.services.database import engine
from tests.conftest import GivenPostgres
from tests.support.examples import Examples, examples, steps

PEN = [{"sku": "pen", "quantity": 2}]
PRICE = Decimal("9.90")


@pytest.fixture(scope="module")
def shop(
    postgres: EmbeddedPostgres | GivenPostgres, broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Examples]:
    with examples(postgres, broker, tmp_path_factory.mktemp("shop")) as made:
        shelves.stock_up("pen", 1000)
        yield made


@pytest.fixture
def order_id() -> str:
    return uuid4().hex


def fulfil(shop: Examples, order_id: str) -> tuple[SagaHandle, SagaStatus]:
    return shop.run(fulfilment, {"order_id": order_id, "items": PEN, "total": PRICE}, order_id)


def violations(run: SagaHandle) -> tuple[Violation, ...]:
    """What does not add up in the books, given how the fulfilment says that it ended."""
    order_id, completed = str(run.key), run.status is SagaStatus.COMPLETED
    return audit(
        engine(), fulfilled=[order_id] if completed else [], compensated=[] if completed else [order_id]
    ).violations


def book(run: SagaHandle) -> OrderBook:
    return audit(engine()).orders[str(run.key)]


def test_a_fulfilment_reserves_charges_commits_ships_and_tells(shop: Examples, order_id: str) -> None:
    run, end = fulfil(shop, order_id)

    assert end == "completed"
    assert set(steps(run).values()) == {"completed"}
    assert violations(run) == ()
    assert (book(run).shipped, book(run).commitments, book(run).notifications) == (2, 1, 1)


@pytest.mark.parametrize(
    ("refusing", "ends"),
    [
        (("inventory", "reserve"), ["failed", "skipped", "skipped", "skipped", "skipped"]),
        (("payment", "charge"), ["compensated", "failed", "skipped", "skipped", "skipped"]),
        (("inventory", "commit"), ["compensated", "compensated", "failed", "skipped", "skipped"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_refused_before_the_goods_are_committed_undoes_what_was_done(
    shop: Examples, order_id: str, refusing: tuple[str, str], ends: list[str]
) -> None:
    faults.inject(*refusing, "refuse", order_id=order_id)

    run, end = fulfil(shop, order_id)

    assert end == "compensated"
    assert list(steps(run).values()) == ends
    assert violations(run) == ()


def test_once_the_goods_are_committed_the_shipment_is_tried_until_it_succeeds(shop: Examples, order_id: str) -> None:
    fault = faults.inject("shipping", "create", "error", times=2, order_id=order_id)

    run, end = fulfil(shop, order_id)

    assert end == "completed"
    assert faults.hits(fault) == 2
    assert violations(run) == ()


def test_a_commitment_whose_answer_was_lost_is_asked_for_again_and_made_once(shop: Examples, order_id: str) -> None:
    faults.inject("inventory", "commit", "error", moment="after", times=1, order_id=order_id)

    run, end = fulfil(shop, order_id)

    assert end == "completed"
    assert violations(run) == ()
    assert book(run).commitments == 1


@pytest.mark.parametrize("kind", ["refuse", "error"])
def test_a_fulfilment_completes_though_nobody_can_be_told(shop: Examples, order_id: str, kind: str) -> None:
    faults.inject("notification", "send", kind, order_id=order_id)

    run, end = fulfil(shop, order_id)

    assert end == "completed"
    assert steps(run)["notify_customer"] == "failed"
    assert violations(run) == ()
    assert book(run).notifications == 0


def test_its_status_can_be_asked_for_by_the_order(shop: Examples, order_id: str) -> None:
    fulfil(shop, order_id)

    found = shop.sagas.find(saga="fulfilment", key=order_id)

    assert found is not None
    progress = found.progress()
    assert (progress["status"], progress["ended"]) == ("completed", True)
    assert {"name": "commit_reservation", "status": "completed"} in progress["steps"]
