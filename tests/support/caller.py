"""The user's side of a started saga: a table of orders beside the saga's tables, and the messages in the broker."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from redis import Redis
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.orm import Session

from sagas import SagaHandle
from sagas.signals import saga_started
from tests.conftest import Shop
from tests.support import scripted


@dataclass(frozen=True)
class Caller:
    """A user's own engine, and the application."""

    shop: Shop
    engine: Engine

    def messages(self) -> int:
        with self._broker() as client:
            return int(client.llen("celery"))

    def sent_for(self) -> set[str]:
        """Return the ids of the sagas whose messages wait."""
        with self._broker() as client:
            return {json.loads(message)["headers"]["root_id"] for message in client.lrange("celery", 0, -1)}

    def _broker(self) -> Redis:
        url = make_url(self.shop.broker_url)
        return Redis(unix_socket_path=f"/{url.database}", db=int(str(url.query["virtual_host"])))

    def instances(self) -> int:
        return len(self.shop.sagas.list(limit=1000))

    def orders(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.scalar(text("SELECT count(*) FROM orders")) or 0)

    def start(self, **options: Any) -> SagaHandle:
        return self.shop.start(scripted.three, **options)


@contextmanager
def caller_in(shop: Shop) -> Iterator[Caller]:
    """Create the user's table."""
    engine = create_engine(shop.database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id integer)"))
    try:
        yield Caller(shop, engine)
    finally:
        engine.dispose()


def order(on: Session | Connection) -> None:
    """Insert the user's own row."""
    on.execute(text("INSERT INTO orders VALUES (1)"))


def announced_starts() -> list[UUID]:
    """Return a list that receives every start announced from now on."""
    started: list[UUID] = []

    def heard(saga_id: UUID, **_: object) -> None:
        started.append(saga_id)

    saga_started.connect(heard, weak=False, dispatch_uid=id(started))
    return started
