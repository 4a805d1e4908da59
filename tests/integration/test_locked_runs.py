"""V15: events that are published while the run is locked, by a completion or by a process that froze."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, NullPool, create_engine, text

from sagas import SagaHandle
from tests.conftest import Shop
from tests.support import journal
from tests.support.bench import Background
from tests.support.choreographed import Noted, Ordered, ring
from tests.support.workers import eventually

WAITERS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture
def run(shop: Shop) -> SagaHandle:
    """A run that no worker knows of."""
    shop.sagas.register()
    return ring.start_on(shop.sagas.engine, Ordered(script={}))


@pytest.fixture
def holder(shop: Shop, run: SagaHandle) -> Iterator[Connection]:
    """A transaction that holds the lock of the run."""
    engine = create_engine(shop.database_url, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT FROM sagas.saga_instance WHERE id = :id FOR UPDATE"), {"id": run.id})
        yield connection
        connection.rollback()


def publish(shop: Shop, run: SagaHandle) -> bool:
    return ring.publish_on(shop.sagas.engine, Noted(script={}, number=1), run=run)


def number(shop: Shop, run: SagaHandle) -> list[tuple[int | None]]:
    numbered = "SELECT number FROM sagas.saga_inbox WHERE instance_id = %s AND name = 'Noted'"
    return journal.query(shop.database_url, numbered, str(run.id))


def test_v15_the_look_of_a_publisher_waits_for_the_lock_of_the_run(
    shop: Shop, run: SagaHandle, holder: Connection
) -> None:
    publishing = Background(lambda: publish(shop, run))
    eventually(lambda: journal.query(shop.database_url, WAITERS) == [(1,)] or publishing.is_over(), "the look")

    holder.rollback()

    assert publishing.join() is True
    assert number(shop, run) == [(2,)]


def test_v15_whoever_publishes_does_not_wait_for_a_process_that_froze_with_the_lock(
    shop: Shop, run: SagaHandle, holder: Connection
) -> None:
    assert Background(lambda: publish(shop, run)).join() is True
    assert number(shop, run) == [(None,)]

    holder.rollback()
    shop.sagas.sweep()

    assert number(shop, run) == [(2,)]
