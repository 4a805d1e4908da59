"""A customer orders in a browser, in each framework: the real HTTP server, a real worker, the same answers."""

import json
import os
import re
import shlex
import subprocess
import sys
from datetime import datetime
from html import unescape
from itertools import pairwise
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from config.demo import faults, shelves
from tests.integration.shops.conftest import OpenShop
from tests.support.shops import Browser
from tests.support.workers import ROOT, eventually

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
    "body",
    [
        {"sku": "", "total": "1"},
        {"sku": "pen", "total": "much"},
        {"sku": "pen", "quantity": 0, "total": "1"},
        {"sku": "pen", "total": "1", "step_seconds": 5.1},
        {"sku": "pen", "total": "1", "step_seconds": -1},
        {"sku": "pen", "total": "1", "step_seconds": True},
        {"sku": "pen", "total": "1", "shipping_fails": "no"},
    ],
)
def test_what_is_no_order_is_refused_and_leaves_nothing(shop: OpenShop, order_id: str, body: dict[str, object]) -> None:
    answer = shop.browser.post("/orders", json=body | {"order_id": order_id})

    assert answer.status_code == 400
    assert answer.json()["error"]
    assert rows(shop, order_id) == (0, 0)


def test_what_is_unknown_is_not_found(shop: OpenShop) -> None:
    for path in ("/orders/nobody", "/orders/nobody/why", "/orders/nobody/wait", f"/sagas/{uuid4()}"):
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
    assert refused.json()["error"] == "Your order has been shipped or has ended, so it cannot be cancelled any more."


def why(shop: OpenShop, order_id: str) -> str | None:
    """Ask the shop, as the page does."""
    told: str | None = shop.browser.get(f"/orders/{order_id}/why").json()["why"]
    return told


def test_each_step_takes_as_long_as_the_order_form_says(shop: OpenShop, order_id: str) -> None:
    shop.browser.order(order_id, step_seconds=0.4)
    assert shop.browser.get(f"/orders/{order_id}/wait?timeout=20").json() == {"status": "completed"}

    progress = shop.browser.get(f"/orders/{order_id}").json()
    took = datetime.fromisoformat(progress["finished_at"]) - datetime.fromisoformat(progress["started_at"])
    assert took.total_seconds() >= 0.4 * len(STEPS)


def test_an_order_of_slow_steps_can_be_cancelled_while_one_runs_and_its_undo_is_slow_too(
    shop: OpenShop, order_id: str
) -> None:
    shop.browser.order(order_id, step_seconds=1)
    eventually(lambda: shop.browser.get(f"/orders/{order_id}").json()["status"] == "running", "the first step to run")

    assert shop.browser.post(f"/orders/{order_id}/cancel").status_code == 200
    cancelled_at = datetime.now().astimezone()
    assert shop.browser.get(f"/orders/{order_id}/wait?timeout=20").json() == {"status": "compensated"}

    finished_at = datetime.fromisoformat(shop.browser.get(f"/orders/{order_id}").json()["finished_at"])
    assert (finished_at - cancelled_at).total_seconds() >= 1
    told = why(shop, order_id)
    assert told is not None
    assert told.startswith("You cancelled the order, so ")


def test_a_shipment_that_shall_fail_undoes_the_order_and_its_customer_is_told_in_words_how_far(
    shop: OpenShop, order_id: str
) -> None:
    # Given: a refund that takes long enough to be asked about
    faults.inject("payment", "refund", "latency", seconds=1.5, order_id=order_id)
    assert shop.browser.order(order_id, shipping_fails=True).status_code == 201

    meanwhile = eventually(lambda: why(shop, order_id), "the order to turn back")
    assert shop.browser.get(f"/orders/{order_id}/wait?timeout=20").json() == {"status": "compensated"}

    ship = "We could not ship 2 × pen, so your money "
    assert meanwhile == f"{ship}is being refunded and the goods are going back on the shelf."
    assert why(shop, order_id) == f"{ship}was refunded and the goods went back on the shelf."
    steps = shop.browser.get(f"/orders/{order_id}").json()["steps"]
    assert [step["status"] for step in steps] == ["compensated", "compensated", "failed", "skipped"]


def test_the_same_order_twice_is_staged_once(shop: OpenShop, order_id: str) -> None:
    for _ in range(2):
        shop.browser.order(order_id, shipping_fails=True)

    engine = create_engine(shop.database_url)
    with engine.connect() as connection:
        staged = connection.scalar(text("SELECT count(*) FROM shop.fault WHERE order_id = :id"), {"id": order_id})
    engine.dispose()
    assert staged == 1


def test_a_customer_is_told_which_step_said_no_and_nothing_about_an_order_that_went_well(
    shop: OpenShop, order_id: str
) -> None:
    # Given: an article that is sold out, one that was never sold, a card that is declined, and a refund that fails
    quill, declined, stranded = f"quill-{order_id}", uuid4().hex, uuid4().hex
    shelves.stock_up(quill, 1)
    faults.inject("payment", "charge", "refuse", order_id=declined)
    faults.inject("payment", "refund", "refuse", order_id=stranded)

    def told(order_id: str, *, sku: str = "pen", fails: bool = False) -> tuple[str, str | None]:
        assert shop.browser.order(order_id, sku=sku, shipping_fails=fails).status_code == 201
        status = shop.browser.get(f"/orders/{order_id}/wait?timeout=20").json()["status"]
        return status, why(shop, order_id)

    assert told(order_id) == ("completed", None)
    nothing_done = "so you were not charged and nothing was reserved."
    assert told(uuid4().hex, sku=quill) == ("compensated", f"We do not have 2 × {quill} in stock, {nothing_done}")
    assert told(uuid4().hex, sku="unicorn") == ("compensated", f"We could not reserve 2 × unicorn, {nothing_done}")
    assert told(declined) == (
        "compensated",
        "The payment for 2 × pen did not go through, so you were not charged and the goods went back on the shelf.",
    )
    assert told(stranded, fails=True) == (
        "failed",
        "Something went wrong with your order, and one of us is looking into it.",
    )


def test_the_page_leads_from_an_order_to_its_saga_in_the_admin_or_on_the_command_line(
    shop: OpenShop, order_id: str
) -> None:
    placed = shop.browser.order(order_id).json()
    page = shop.browser.get("/").text
    assert 'data-slow="0"' in page
    (found,) = re.findall('data-look-inside="(.*?)"', page)
    inside = unescape(found).replace("ID", placed["saga_id"]).replace("KEY", order_id)

    shown = admin_page(shop, inside) if inside.startswith("/") else output_of(shop, inside)

    assert order_id in shown
    assert "reserve_inventory" in shown


def admin_page(shop: OpenShop, path: str) -> str:
    """Log in to Django's admin, and return one of its pages."""
    name, password = f"admin-{uuid4().hex[:8]}", uuid4().hex
    make = [
        "config.examples.django_shop.manage",
        "createsuperuser",
        "--noinput",
        "--username",
        name,
        "--email",
        "admin@example.com",
    ]
    given = {"SAGAS_DATABASE_URL": shop.database_url, "DJANGO_SUPERUSER_PASSWORD": password}
    subprocess.run([sys.executable, "-m", *make], cwd=ROOT, env=os.environ | given, check=True)
    with Browser(shop.server.url) as browser:
        browser.get("/admin/login/")
        assert browser.post("/admin/login/", data={"username": name, "password": password}).status_code == 302
        answer = browser.get(path)
    assert answer.status_code == 200, answer.headers
    return answer.text


def output_of(shop: OpenShop, command: str) -> str:
    """Run a command of the page's, without `run.py exec`, since this is its environment already."""
    launcher, script, verb, program, *words = shlex.split(command)
    assert (launcher, script, verb, program) == ("python3", "run.py", "exec", "celery")
    environment = os.environ | {"SAGAS_DATABASE_URL": shop.database_url, "SAGAS_BROKER_URL": shop.server.broker_url}
    done = subprocess.run(
        [sys.executable, "-m", program, *words], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
