"""What a happy saga costs the database: round trips and fsyncs, counted where they happen."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import event, text

from config.servers import EmbeddedPostgres
from sagas import SagaHandle, SagaStatus
from sagas.model import Address
from tests.conftest import Shop, make_shop
from tests.support import scripted
from tests.support.bench import THREE, Bench, plan_of
from tests.support.choreographed import Ordered, ring
from tests.support.inline import run_messages


@pytest.fixture(scope="module")
def syncing_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that really calls fsync, and whose background processes leave that to the sessions."""
    with EmbeddedPostgres(durable=True) as server:
        yield server


@pytest.fixture
def syncing_shop(
    syncing_postgres: EmbeddedPostgres, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    url = syncing_postgres.create_database(f"test_{uuid4().hex}")
    monkeypatch.setenv("SAGAS_DATABASE_URL", url)  # where the steps' journal is
    made = make_shop(url, broker_url, tmp_path)
    yield made
    made.sagas.engine.store.database.dispose()


def fsyncs(shop: Shop) -> int:
    """How often the library's own session has synced the write-ahead log (PostgreSQL counts a session's I/O)."""
    with shop.sagas.engine.store.database.autocommit() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        connection.execute(text("SELECT pg_stat_clear_snapshot()"))
        synced = "SELECT sum(fsyncs) FROM pg_stat_get_backend_io(pg_backend_pid()) WHERE object = 'wal'"
        return int(connection.scalar(text(synced)) or 0)


def statements_of(shop: Shop) -> list[str]:
    """Every statement that the library sends from now on."""
    sent: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        sent.append(" ".join(statement.split())[:60])

    event.listen(shop.sagas.engine.store.database.engine, "before_cursor_execute", note)
    return sent


def test_a_happy_saga_of_three_steps_is_seven_statements_and_four_syncing_commits(syncing_shop: Shop) -> None:
    # Given: its plan is registered, its process is warm
    shop = syncing_shop
    shop.start(scripted.three)
    run_messages(shop.sagas.app)
    # A process reports how far a queue has come once a second: let this saga pay for it too.
    shop.sagas.engine.store.hot._reported_at = 0.0
    synced = fsyncs(shop)
    sent = statements_of(shop)

    # When
    run = shop.start(scripted.three)
    ran = run_messages(shop.sagas.app)

    # Then: one start, three claims, three completions; the claims do not sync
    statements = list(sent)
    assert len(ran) == 3
    assert len(statements) == 7, statements
    assert fsyncs(shop) - synced == 4
    assert run.status is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "b", "c"]
    assert run.history()[-1].event == "completed"
    assert not shop.sagas.engine.store.instances.look(run.id, events=True)[2]


def test_a_delivery_is_two_statements_and_one_syncing_commit(syncing_shop: Shop) -> None:
    # Given: its graph is registered, its process is warm
    shop = syncing_shop
    shop.sagas.register()
    start_ring(shop)
    run_messages(shop.sagas.app)
    run = start_ring(shop)
    shop.sagas.engine.store.hot._reported_at = 0.0
    synced = fsyncs(shop)
    sent = statements_of(shop)

    # When
    ran = run_messages(shop.sagas.app)

    # Then: a claim, which does not sync, and an end with the events that follow
    statements = list(sent)
    assert len(ran) == 4
    assert len(statements) == 2 * len(ran), statements
    assert fsyncs(shop) - synced == len(ran)
    assert run.status is SagaStatus.COMPLETED


def start_ring(shop: Shop) -> SagaHandle:
    return ring.start_on(shop.sagas.engine, Ordered(script={}))


def test_a_claim_does_not_sync_and_a_completion_syncs_once(syncing_shop: Shop) -> None:
    shop = syncing_shop
    rows = Bench(shop.database_url, shop.sagas.engine.store)
    runs = {rows.start(): uuid4() for _ in range(10)}
    before = fsyncs(shop)

    for run, token in runs.items():
        assert rows.claim(run, token=token) is not None
    assert fsyncs(shop) == before

    for run, token in runs.items():
        assert rows.complete(run, THREE, Address(0), token) is SagaStatus.RUNNING
    assert fsyncs(shop) == before + 10


def test_the_claim_of_a_step_that_must_not_run_twice_syncs_once(syncing_shop: Shop) -> None:
    rows = Bench(syncing_shop.database_url, syncing_shop.sagas.engine.store)
    runs = [rows.start(plan_of("a", saga="careful", idempotent=False)) for _ in range(10)]
    before = fsyncs(syncing_shop)

    for run in runs:
        assert rows.claim(run) is not None

    assert fsyncs(syncing_shop) == before + 10


def test_the_claims_waiver_of_syncing_ends_with_its_statement(syncing_shop: Shop) -> None:
    rows = Bench(syncing_shop.database_url, syncing_shop.sagas.engine.store)
    rows.claim(rows.start())

    with rows.store.database.autocommit() as connection:
        assert connection.scalar(text("SHOW synchronous_commit")) == "on"
