"""A customer orders in a browser, in each framework: the real HTTP server, a real worker, the same answers."""

import json
from itertools import pairwise
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from tasks.services import faults
from tests.integration.shops.conftest import OpenShop
from tests.support.workers import eventually

STEPS = ["reserve_inventory", "charge_payment", "create_shipment", "send_confirmation"]


@pytest.fixture
def order_id(shop: OpenShop, monkeypatch: pytest.MonkeyPatch) -> str:
    """An order that is nobody else's; the services' faults are told in this shop's database."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    return uuid4().hex


def rows(shop: OpenShop, order_id: str) -> tuple[int, int]:
    """How many rows of the shop's own, and how many sagas."""
    engine = create_engine(shop.database_url)
    with engine.connect() as connection:
        orders = connection.scalar(text("SELECT count(*) FROM shop_order WHERE id = :id"), {"id": order_id})
        runs = connection.scalar(text("SELECT count(*) FROM sagas.saga_instance WHERE key = :id"), {"id": order_id})
    engine.dispose()
    return orders, runs


def test_an_order_is_placed_and_completes_and_its_progress_is_found_by_key_and_by_id(
    shop: OpenShop, order_id: str
) -> None:
    placed = shop.browser.order(order_id)
    assert placed.status_code == 201, placed.text
    assert placed.json()["order_id"] == order_id

    assert shop.browser.get(f"/orders/{order_id}/wait?timeout=20").json() == {"status": "completed"}
    by_key = shop.browser.get(f"/orders/{order_id}").json()
    by_id = shop.browser.get(f"/sagas/{placed.json()['saga_id']}").json()

    assert by_key == by_id
    assert (by_key["status"], by_key["ended"], by_key["key"]) == ("completed", True, order_id)
    assert by_key["steps"] == [{"name": name, "status": "completed"} for name in STEPS]


def test_the_page_is_served_and_needs_nothing_from_elsewhere(shop: OpenShop) -> None:
    page = shop.browser.get("/")

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "EventSource" in page.text
    assert "//" not in page.text.replace("http://www.w3.org/", "").split("<script")[0]


def test_the_same_order_twice_is_one_order_and_one_saga(shop: OpenShop, order_id: str) -> None:
    first, second = shop.browser.order(order_id), shop.browser.order(order_id)

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["saga_id"] == second.json()["saga_id"]
    assert rows(shop, order_id) == (1, 1)


@pytest.mark.parametrize(
    "body", [{"sku": "", "total": "1"}, {"sku": "pen", "total": "much"}, {"sku": "pen", "quantity": 0, "total": "1"}]
)
def test_what_is_no_order_is_refused_and_leaves_nothing(shop: OpenShop, order_id: str, body: dict[str, object]) -> None:
    answer = shop.browser.post("/orders", json=body | {"order_id": order_id})

    assert answer.status_code == 400
    assert answer.json()["error"]
    assert rows(shop, order_id) == (0, 0)


def test_what_is_unknown_is_not_found(shop: OpenShop) -> None:
    for path in ("/orders/nobody", "/orders/nobody/wait", f"/sagas/{uuid4()}"):
        answer = shop.browser.get(path)
        assert (answer.status_code, list(answer.json())) == (404, ["error"]), path


def test_progress_is_pushed_while_the_saga_runs_until_it_ends(shop: OpenShop, order_id: str) -> None:
    # Given: an order that takes long enough to be watched
    held = faults.inject("payment", "charge", "latency", seconds=1.5, times=1, order_id=order_id)
    shop.browser.order(order_id)

    pushed = []
    with shop.browser.stream("GET", f"/orders/{order_id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("data: "):
                pushed.append(json.loads(line.removeprefix("data: ")))

    # Then: it was seen under way, the last word is the end, and nothing was said twice
    assert faults.hits(held) == 1
    assert len(pushed) >= 2
    assert not pushed[0]["ended"]
    assert pushed[-1]["status"] == "completed"
    assert all(one != next_one for one, next_one in pairwise(pushed))


def test_waiting_in_a_view_gives_up_in_time_and_the_saga_goes_on(shop: OpenShop, order_id: str) -> None:
    faults.inject("payment", "charge", "latency", seconds=1.5, times=1, order_id=order_id)
    shop.browser.order(order_id)

    early = shop.browser.get(f"/orders/{order_id}/wait?timeout=0.1")
    late = shop.browser.get(f"/orders/{order_id}/wait?timeout=20")

    assert early.status_code == 202
    assert early.json()["status"] in ("pending", "running")
    assert (late.status_code, late.json()) == (200, {"status": "completed"})


def test_a_customer_can_cancel_until_the_pivot_and_not_after_the_end(shop: OpenShop, order_id: str) -> None:
    held = faults.inject("payment", "charge", "latency", seconds=1.5, times=1, order_id=order_id)
    shop.browser.order(order_id)
    eventually(lambda: faults.hits(held), "the charge to be on its way")

    cancelled = shop.browser.post(f"/orders/{order_id}/cancel")
    assert (cancelled.status_code, cancelled.json()) == (200, {"status": "compensating"})
    assert shop.browser.get(f"/orders/{order_id}/wait?timeout=20").json() == {"status": "compensated"}

    other = uuid4().hex
    shop.browser.order(other)
    assert shop.browser.get(f"/orders/{other}/wait?timeout=20").json() == {"status": "completed"}
    refused = shop.browser.post(f"/orders/{other}/cancel")
    assert refused.status_code == 409
    assert "cannot be cancelled" in refused.json()["error"]
