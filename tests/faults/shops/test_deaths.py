"""The web process dies by SIGKILL around a commit: an order and its saga are there together or not at all, and end.

The shop's server forks anew by itself (gunicorn), or is started again (uvicorn), and all customers ask again.
"""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from config.examples.shops import SHOPS
from tests.faults.killed_at_end import killed_at_end
from tests.faults.order_shop import PATIENCE
from tests.faults.shops import crash_moments
from tests.faults.shops.three_shops import Ledger, await_death, messages_of, processes, revive
from tests.support.shops import Browser, ShopServer
from tests.support.workers import eventually

#: Right after each death: are the order and its saga there, how many messages are in the broker, and what may the
#: customer have been told? Nobody is ever told "placed" before it is; an `AsyncSession`'s message is sent by a thread
#: that the answer does not wait for.
AFTERWARDS = {
    crash_moments.BEFORE_COMMIT: (False, 0, (None,)),
    crash_moments.AFTER_COMMIT: (True, 0, (None,)),
    crash_moments.WITHIN_MESSAGE: (True, 0, (None, 201)),
    crash_moments.AFTER_MESSAGE: (True, 1, (None, 201)),
}
#: FastAPI's shop takes orders with an `AsyncSession` and with a `Session`.
DOORS = {"django": ("/orders",), "flask": ("/orders",), "fastapi": ("/orders", "/orders/sync")}
#: Orders that are under way while one of them kills the process.
BYSTANDERS = 4


def ask(browser: Browser, order_id: str, door: str, dies: str | None = None) -> httpx.Response | None:
    """None when the process died meanwhile: the customer does not know what became of the order."""
    try:
        return browser.order(order_id, at=door, headers={crash_moments.HEADER: f"{dies} {order_id}"} if dies else None)
    except httpx.TransportError:
        return None


def die(shop: ShopServer, ledger: Ledger, moment: str, door: str) -> set[str]:
    """One order kills the web process at this moment while others are under way; returns the ids of all."""
    case = f"{moment} at {door}"
    victim, *bystanders = (uuid4().hex for _ in range(1 + BYSTANDERS))
    before = processes(shop)
    with ThreadPoolExecutor(BYSTANDERS) as threads, shop.browser() as browser:
        assert browser.get("/").is_success
        others = [threads.submit(ask, browser, order_id, door) for order_id in bystanders]
        answer = ask(browser, victim, door, dies=moment)
        for other in others:
            other.result()
    await_death(before)

    committed, messages, may_be_told = AFTERWARDS[moment]
    saga_id = ledger.saga_of(victim)
    assert (victim in ledger.orders(), saga_id is not None) == (committed, committed), case
    assert messages_of(shop.broker_url, saga_id) == messages, case
    assert (answer.status_code if answer else None) in may_be_told, case
    assert ledger.unpaired() == [], case

    revive(shop)
    known = ledger.statuses()
    with shop.browser() as browser:
        for order_id in (victim, *bystanders):
            again = browser.order(order_id, at=door)
            assert again.status_code == (200 if order_id in known else 201), (case, again.text)
            assert again.json() == {"order_id": order_id, "saga_id": ledger.saga_of(order_id)}, case
    assert saga_id in (None, ledger.saga_of(victim)), case
    return {victim, *bystanders}


@pytest.mark.parametrize("framework", SHOPS)
def test_whenever_the_web_process_dies_an_order_and_its_saga_commit_together_and_end(
    three_shops: dict[str, ShopServer], framework: str
) -> None:
    shop = three_shops[framework]
    ledger = Ledger(shop.database_url)
    orders: set[str] = set()
    for door in DOORS[framework]:
        for moment in AFTERWARDS:
            orders |= die(shop, ledger, moment, door)

    # There was no worker until now, who would have hidden what was there right after a death.
    assert ledger.statuses() == dict.fromkeys(orders, "pending")
    with killed_at_end(shop.worker()):
        eventually(ledger.all_ended, "every saga to end", PATIENCE, every=0.2)
    ledger.assert_everything_ended_well(orders)
