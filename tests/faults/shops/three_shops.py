"""The three shops side by side, each with a database of its own: customers, and what the tables say afterwards."""

import json
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psutil
from celery import Celery
from sqlalchemy import NullPool, create_engine

from config.demo.books import audit
from tests.support import journal
from tests.support.shops import ShopServer
from tests.support.workers import eventually

T = TypeVar("T")

#: An order without a saga, or a saga without an order. At no moment may there be one: this is a single snapshot.
UNPAIRED = """
SELECT coalesce(placed.id, saga.key) FROM shop_order placed
FULL JOIN sagas.saga_instance saga ON saga.key = placed.id WHERE placed.id IS NULL OR saga.id IS NULL
"""
#: What a completed order left at the services, each of which must have done it once.
DONE = """
SELECT placed.id,
    (SELECT count(*) FROM shop.reservation WHERE order_id = placed.id),
    (SELECT count(*) FROM shop.charge WHERE order_id = placed.id),
    (SELECT count(*) FROM shop.shipment WHERE order_id = placed.id),
    (SELECT count(*) FROM shop.notification WHERE order_id = placed.id)
FROM shop_order placed
"""


class Ledger:
    """What one shop's database says, on connections that are no part of what is tested."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url

    def unpaired(self) -> list[str]:
        """The keys of orders without a saga and of sagas without an order."""
        return [key for (key,) in journal.query(self._database_url, UNPAIRED)]

    def orders(self) -> set[str]:
        return {id for (id,) in journal.query(self._database_url, "SELECT id FROM shop_order")}

    def saga_of(self, order_id: str) -> str | None:
        rows = journal.query(self._database_url, "SELECT id::text FROM sagas.saga_instance WHERE key = %s", order_id)
        return rows[0][0] if rows else None

    def statuses(self) -> dict[str, str]:
        """Of each saga by its key."""
        return dict(journal.query(self._database_url, "SELECT key, status FROM sagas.saga_instance"))

    def all_ended(self) -> bool:
        return not journal.query(
            self._database_url, "SELECT 1 FROM sagas.saga_instance WHERE finished_at IS NULL LIMIT 1"
        )

    def last_end(self) -> float:
        """When the last saga ended, in seconds of the epoch."""
        asked = "SELECT extract(epoch FROM max(finished_at))::float FROM sagas.saga_instance"
        [(at,)] = journal.query(self._database_url, asked)
        assert isinstance(at, float)
        return at

    def assert_everything_ended_well(self, orders: Collection[str]) -> None:
        """These orders, and no others, are completed; each service did its part once; the books balance."""
        unpaired, statuses = self.unpaired(), self.statuses()
        assert not unpaired, unpaired
        assert statuses.keys() == set(orders), statuses.keys() ^ set(orders)
        others = {key: status for key, status in statuses.items() if status != "completed"}
        assert not others, others
        done = [row for row in journal.query(self._database_url, DONE) if row[1:] != (1, 1, 1, 1)]
        assert not done, done
        violations = audit(create_engine(self._database_url, poolclass=NullPool), completed=orders).violations
        assert not violations, violations


def side_by_side(do: Callable[[T], object], all_of: Iterable[T]) -> None:
    """Do it with all of them at once."""
    with ThreadPoolExecutor() as threads:
        list(threads.map(do, all_of))


def processes(shop: ShopServer) -> set[int]:
    """Of the web server: one, or a master and those that it has forked."""
    return {shop.pid} | {child.pid for child in psutil.Process(shop.pid).children()}


def await_death(among: set[int]) -> None:
    """Of one of these processes."""
    eventually(lambda: any(not is_alive(pid) for pid in among), "the death of a web process")


def revive(shop: ShopServer) -> None:
    """After a death: a server that forks does it by itself, as in production; another is started again."""
    assert shop.process is not None
    if is_alive(shop.pid):
        shop.wait_until_open()
    else:
        shop.process.wait()
        shop.start()


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def messages_of(broker_url: str, saga_id: str | None) -> int:
    """How many messages of a saga wait in the broker."""
    with Celery(broker=broker_url, set_as_current=False) as app, app.connection_for_read() as connection:
        stored = connection.default_channel.client.lrange("celery", 0, -1)
    return sum(json.loads(message)["headers"]["root_id"] == saga_id for message in stored)
