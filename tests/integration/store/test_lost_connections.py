"""Connections that are lost while they lie in the pool, which sends no pings."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from sqlalchemy import text

from config.servers import EmbeddedPostgres
from sagas.model import Address, SagaStatus
from tests.support.bench import THREE, Bench, bench_on

OURS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sagas'"


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that may be killed."""
    with EmbeddedPostgres(durable=False) as server:
        yield server


@pytest.fixture
def own_bench(own_postgres: EmbeddedPostgres) -> Iterator[Bench]:
    with bench_on(own_postgres.create_database(f"test_{uuid4().hex}")) as made:
        yield made


def backends(bench: Bench, count: int) -> set[int]:
    """The sessions of so many connections that are in use at once."""
    with ExitStack() as held:
        connections = [held.enter_context(bench.store.database.autocommit()) for _ in range(count)]
        return {int(connection.scalar(text("SELECT pg_backend_pid()")) or 0) for connection in connections}


def transactions(bench: Bench) -> int:
    """How many the sessions of this database have ended, as PostgreSQL counts them."""
    with bench.store.database.autocommit() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        counted = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        return int(connection.scalar(text(counted)) or 0)


def test_statements_are_transactions_without_pings_beside_them(bench: Bench) -> None:
    before = transactions(bench)

    for _ in range(50):
        with bench.store.database.autocommit() as connection:
            connection.execute(text("SELECT 1"))

    # Some are this test's own, and other sessions report theirs late.
    assert 50 <= transactions(bench) - before <= 70


def test_claim_complete_and_start_go_on_after_postgresql_was_restarted(
    own_bench: Bench, own_postgres: EmbeddedPostgres
) -> None:
    # Given
    run, token = own_bench.start(), uuid4()
    backends(own_bench, 5)
    own_bench.claim(run, token=token, task="do.a")

    # When
    own_postgres.restart()

    # Then: also a start, which is not tried for longer than a moment
    other = own_bench.start()
    assert own_bench.complete(run, THREE, Address(0), token) is SagaStatus.RUNNING
    assert own_bench.claim(other, task="do.a") is not None


def test_a_session_that_ends_between_claim_and_completion_costs_nothing(bench: Bench) -> None:
    run, token = bench.start(), uuid4()
    assert bench.claim(run, token=token) is not None

    bench.sql(f"SELECT pg_terminate_backend(pid, 5000) FROM ({OURS}) AS our")

    assert bench.complete(run, THREE, Address(0), token) is SagaStatus.RUNNING


def test_what_is_never_repeated_is_not_sent_on_a_lost_connection(bench: Bench) -> None:
    """A caller of `transaction` is not asked whether its block may run twice."""
    backends(bench, 3)

    bench.sql(f"SELECT pg_terminate_backend(pid, 5000) FROM ({OURS}) AS our")

    with bench.store.database.transaction() as connection:
        assert connection.scalar(text("SELECT 42")) == 42


def test_where_one_connection_was_lost_the_others_of_the_pool_are_replaced_too(bench: Bench) -> None:
    before = backends(bench, 4)

    bench.sql("SELECT pg_terminate_backend(%s, 5000)", min(before))
    backends(bench, 4)  # one of them finds it

    assert not before & backends(bench, 4)


def test_what_a_living_session_says_unasked_does_not_end_it(bench: Bench) -> None:
    """A notification, for instance: something to read, and an answer to a ping."""
    with bench.store.database.autocommit() as connection:
        connection.execute(text("LISTEN news"))
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
    bench.sql("NOTIFY news")

    assert backends(bench, 1) == {pid}


def test_a_connection_is_found_lost_by_a_process_with_many_open_files(bench: Bench) -> None:
    """select() takes no file descriptors from 1024 on; there, a ping tells."""
    with ExitStack() as opened:
        spare = psutil.Process().num_fds()
        for _ in range(1030 - spare):
            opened.enter_context(Path("/dev/null").open())
        bench.store.database.dispose()
        before = backends(bench, 1)
        assert backends(bench, 1) == before

        bench.sql(f"SELECT pg_terminate_backend(pid, 5000) FROM ({OURS}) AS our")

        assert backends(bench, 1) != before


def test_a_block_that_raises_leaves_no_transaction_open_and_its_connection_goes_on(bench: Bench) -> None:
    """Whatever raises it, also between two statements of the library's own: a time limit strikes anywhere."""
    run = bench.start()
    (mine,) = backends(bench, 1)

    def strike() -> None:
        with bench.store.instances.transaction() as connection:
            assert bench.store.instances.lock(connection, run) is not None
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        strike()

    assert bench.sql("SELECT state FROM pg_stat_activity WHERE pid = %s", mine) == [("idle",)]
    assert bench.sql("SELECT id FROM {s}.saga_instance WHERE id = %s FOR UPDATE NOWAIT", run)
    assert backends(bench, 1) == {mine}
