"""The broker is away, or hangs, while customers order in three shops: nobody notices, and every order is completed.

`--outage 30` is the full demand: 200 requests a shop while the broker is down for 30 s. By default it is shorter, at
the same pace. What a request's time is because of the broker, the library's sender is asked (see `watched`): a slow
machine makes everything slow, and is nothing that could be promised here.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from config.servers import EmbeddedBroker
from tests.faults.killed_at_end import end
from tests.faults.order_shop import PATIENCE
from tests.faults.shops.customers import Answer, Customers
from tests.faults.shops.three_shops import Ledger, side_by_side
from tests.support.shops import ShopServer
from tests.support.workers import Worker, eventually

Answers = dict[str, list[Answer]]
Report = Callable[[str, Answers], None]

#: Orders a second in each shop.
PACE = 200 / 30
#: Who may order at the same moment: as many as gunicorn has threads.
CUSTOMERS = 16
#: The promise, in seconds, and what a busy machine may add to it.
PROMISE, NOISE = 1.0, 0.5


@pytest.fixture(scope="module")
def workers(three_shops: dict[str, ShopServer]) -> Iterator[list[Worker]]:
    """A running worker of each shop."""
    made = [shop.worker() for shop in three_shops.values()]
    try:
        side_by_side(Worker.start, made)
        yield made
    finally:
        for worker in made:
            end(worker)


@pytest.fixture(scope="module")
def customers(three_shops: dict[str, ShopServer]) -> Iterator[dict[str, Customers]]:
    """Of each shop."""
    made = {name: Customers(shop, CUSTOMERS) for name, shop in three_shops.items()}
    yield made
    for people in made.values():
        people.leave()


@pytest.fixture
def order(customers: dict[str, Customers]) -> Callable[[int, float], Answers]:
    """So many orders in each shop at the same time, over so many seconds."""

    def order(count: int, over: float) -> Answers:
        with ThreadPoolExecutor(len(customers)) as threads:
            asked = {name: threads.submit(people.order, count, over) for name, people in customers.items()}
            return {name: answers.result() for name, answers in asked.items()}

    return order


def assert_nobody_failed_or_waited(answers: Answers, within: float) -> None:
    """No request failed, or was kept waiting by the library's sender for longer than this many seconds."""
    for shop, given in answers.items():
        failed = [answer for answer in given if answer.status != 201]
        assert not failed, (shop, failed)
        late = [answer for answer in given if answer.sending > within + NOISE]
        assert not late, (shop, late)


def assert_all_end_well(three_shops: dict[str, ShopServer], workers: list[Worker], since: float) -> dict[str, float]:
    """Every order of every shop is completed. Returns how many seconds after `since` the last one was, by shop."""
    ledgers = {name: Ledger(shop.database_url) for name, shop in three_shops.items()}

    def all_ended() -> bool:
        for worker in workers:
            # As compose or systemd do: Celery's own give up at some outages.
            if worker.process is not None and worker.process.poll() is not None:
                worker.start()
        return all(ledger.all_ended() for ledger in ledgers.values())

    eventually(all_ended, "every saga to end", PATIENCE, every=0.1)
    for ledger in ledgers.values():
        ledger.assert_everything_ended_well(ledger.orders())
    return {name: ledger.last_end() - since for name, ledger in ledgers.items()}


def orders_of(three_shops: dict[str, ShopServer]) -> dict[str, set[str]]:
    return {name: Ledger(shop.database_url).orders() for name, shop in three_shops.items()}


def test_a_broker_that_is_away_fails_and_delays_no_order_and_all_of_them_are_completed(
    three_shops: dict[str, ShopServer],
    workers: list[Worker],
    order: Callable[[int, float], Answers],
    mortal_broker: EmbeddedBroker,
    outage: float,
    report: Report,
    recovered: Callable[[str, dict[str, float]], None],
) -> None:
    before = orders_of(three_shops)
    healthy = order(round(2 * PACE), 2.0)
    report("healthy", healthy)

    mortal_broker.kill()
    away = order(round(outage * PACE), outage)
    report(f"away for {outage:g} s", away)
    mortal_broker.start()  # with nothing in it
    back_at = time.time()

    assert_nobody_failed_or_waited(healthy, PROMISE)
    assert_nobody_failed_or_waited(away, 0)
    recovered("its return", assert_all_end_well(three_shops, workers, back_at))
    for name, orders in orders_of(three_shops).items():
        assert orders - before[name] == {answer.order_id for answer in (*healthy[name], *away[name])}


def test_a_broker_that_hangs_delays_those_who_order_at_that_moment_a_little_and_nobody_after_them(
    three_shops: dict[str, ShopServer],
    workers: list[Worker],
    order: Callable[[int, float], Answers],
    mortal_broker: EmbeddedBroker,
    report: Report,
    recovered: Callable[[str, dict[str, float]], None],
) -> None:
    lasts = 5.0  # longer than a sender keeps away from a broker that failed
    before = orders_of(three_shops)
    healthy = order(3, 0.0)
    assert mortal_broker.pid is not None
    os.kill(mortal_broker.pid, signal.SIGSTOP)
    try:
        crowd = order(CUSTOMERS, 0.0)
        later = order(round(lasts * PACE), lasts)
    finally:
        os.kill(mortal_broker.pid, signal.SIGCONT)
    back_at = time.time()
    report("hangs: a crowd", crowd)
    report(f"hangs: for {lasts:g} s", later)

    assert_nobody_failed_or_waited(crowd, PROMISE)
    assert_nobody_failed_or_waited(later, 0)
    recovered("its waking", assert_all_end_well(three_shops, workers, back_at))
    for name, orders in orders_of(three_shops).items():
        assert orders - before[name] == {answer.order_id for answer in (*healthy[name], *crowd[name], *later[name])}
