"""The connection that the main thread keeps between two statements of the hot path."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import QueuePool

from sagas.model import Address, SagaStatus
from sagas.store import Database
from tests.support.bench import THREE, Bench

SESSIONS = """
    SELECT pid, state FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sagas'
"""


@pytest.fixture
def pooling(bench: Bench) -> Database:
    """The bench's database as an application has it: with a pool."""
    database = bench.store.database
    database.keeps_connections = lambda: True
    database.dispose()
    return database


def taken_out(database: Database) -> int:
    """How many connections are not in the pool."""
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()


def session(database: Database) -> int:
    def ask(cursor: Any, _: object) -> int:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])

    return database.by_driver(ask)


def test_the_main_thread_keeps_it_between_two_statements(bench: Bench, pooling: Database) -> None:
    run, token = bench.start(), uuid4()

    bench.claim(run, token=token)
    between = taken_out(pooling)
    status = bench.complete(run, THREE, Address(0), token)

    assert (between, status) == (1, SagaStatus.RUNNING)


def test_other_statements_of_that_thread_need_no_second_session(bench: Bench, pooling: Database) -> None:
    run, token = bench.start(), uuid4()

    for _ in range(3):
        bench.claim(run, token=token)
        with bench.store.instances.transaction() as connection:
            assert bench.store.instances.lock(connection, run) is not None

    assert len(bench.sql(SESSIONS)) == 1


def test_other_threads_put_theirs_back(bench: Bench, pooling: Database) -> None:
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(bench.start).result()
        assert thread.submit(bench.claim, run).result() is not None

    assert taken_out(pooling) == 0


def test_it_goes_back_if_a_time_limit_strikes(bench: Bench, pooling: Database) -> None:
    mine = session(pooling)

    def strike(cursor: Any, _: object) -> None:
        cursor.execute("BEGIN")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pooling.by_driver(strike)

    assert taken_out(pooling) == 0
    assert bench.sql(SESSIONS) == [(mine, "idle")]


def test_a_lost_one_is_replaced_before_the_next_statement(bench: Bench, pooling: Database) -> None:
    before = session(pooling)

    bench.sql("SELECT pg_terminate_backend(%s, 5000)", before)

    assert session(pooling) != before


def test_it_is_closed_with_the_others(bench: Bench, pooling: Database) -> None:
    session(pooling)

    pooling.dispose()

    assert bench.sql(SESSIONS) == []


def test_a_forked_child_has_its_own_and_leaves_its_parents_alone(pooling: Database) -> None:
    mine = session(pooling)
    reader, writer = os.pipe()

    child = os.fork()
    if child == 0:
        os.write(writer, str(session(pooling)).encode())
        os._exit(0)
    os.waitpid(child, 0)

    assert int(os.read(reader, 20)) != mine
    assert session(pooling) == mine


def test_without_a_pool_each_statement_has_a_session_of_its_own(bench: Bench, pooling: Database) -> None:
    pooling.keeps_connections = lambda: False
    pooling.dispose()

    session(pooling)

    assert bench.sql(SESSIONS) == []
