"""Connections: which URLs are taken, what is tried again, what a fork inherits."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import URL, event, text
from sqlalchemy.exc import DBAPIError, OperationalError

from sagas.errors import ConfigurationError
from sagas.model import Address
from sagas.store import Database, normalise_url
from tests.support.bench import Background, Bench


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_a_bare_postgresql_url_means_psycopg2(scheme: str) -> None:
    url = normalise_url(f"{scheme}://me:p%40ss@db:5433/shop?sslmode=require")

    assert url.drivername == "postgresql+psycopg2"
    assert (url.username, url.password, url.host, url.port, url.database) == ("me", "p@ss", "db", 5433, "shop")
    assert url.query == {"sslmode": "require"}


def test_another_driver_of_postgresql_is_the_users_choice() -> None:
    assert normalise_url("postgresql+psycopg://db/shop").drivername == "postgresql+psycopg"


def test_a_url_object_is_taken_too() -> None:
    assert normalise_url(URL.create("postgresql", host="db")).drivername == "postgresql+psycopg2"


@pytest.mark.parametrize("url", ["sqlite://", "mysql://db/shop", "sqlite:///sagas.db"])
def test_another_database_is_refused_with_the_cure(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"need PostgreSQL, not .* pass database='postgresql\+psycopg2://"):
        normalise_url(url)


@pytest.mark.parametrize("url", ["", "no url", "postgresql:/db"])
def test_what_is_no_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read") as refused:
        normalise_url(url)
    assert not url or url not in str(refused.value)


def failing(bench: Bench, sqlstate: str) -> None:
    with bench.store.database.autocommit() as connection:
        connection.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '{sqlstate}'; END $$"))


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
def test_conflicts_are_tried_again_and_not_for_ever(bench: Bench, sqlstate: str) -> None:
    tries = 0

    def twice_in_vain() -> str:
        nonlocal tries
        tries += 1
        if tries <= 2:
            failing(bench, sqlstate)
        return "done"

    assert bench.store.database.retrying(twice_in_vain) == "done"
    assert tries == 3


def test_other_errors_are_not_tried_again(bench: Bench) -> None:
    tries = []

    def work() -> None:
        tries.append(1)
        failing(bench, "23505")

    with pytest.raises(DBAPIError):
        bench.store.database.retrying(work, patience=30)
    assert len(tries) == 1


def test_a_cut_connection_is_replaced_while_there_is_patience(bench: Bench) -> None:
    tries = []

    def work() -> int:
        tries.append(1)
        with bench.store.database.autocommit() as connection:
            if len(tries) == 1:
                pid = connection.scalar(text("SELECT pg_backend_pid()"))
                bench.sql("SELECT pg_terminate_backend(%s)", pid)
            return int(connection.scalar(text("SELECT 42")) or 0)

    assert bench.store.database.retrying(work, patience=10) == 42
    assert len(tries) == 2


def test_a_connection_that_breaks_while_it_is_handed_out_is_an_outage_too(bench: Bench) -> None:
    """SQLAlchemy passes on bare what setting the isolation level of such a connection raises."""
    # Given: a connection in the pool that answers the ping, and is cut right after it
    bench.start()
    cut = []

    def cut_once(connection: Any, *_: object) -> None:
        if not cut:
            pid = connection.info.backend_pid
            cut.append(bench.sql("SELECT pg_terminate_backend(%s, 5000)", pid))

    event.listen(bench.store.database.engine, "checkout", cut_once)

    def work() -> int:
        with bench.store.database.transaction() as connection:
            return int(connection.scalar(text("SELECT 42")) or 0)

    # Then
    assert bench.store.database.retrying(work, patience=10) == 42
    assert cut


def test_a_database_that_stays_away_is_an_error_once_patience_is_over() -> None:
    database = Database("postgresql://nobody@/nowhere?host=/nonexistent")

    def work() -> None:
        with database.autocommit():
            pass

    with pytest.raises(OperationalError):
        database.retrying(work, patience=0.3)


def test_pooled_connections_that_the_server_closed_are_not_handed_out(bench: Bench) -> None:
    run = bench.start()
    bench.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'sagas'"
    )

    assert bench.claim(run) is not None


def test_more_threads_than_the_pool_holds_all_get_a_connection(bench: Bench) -> None:
    engine = bench.store.database.engine
    held = [engine.connect() for _ in range(30)]
    try:
        assert Background(lambda: bench.start()).join(10) is not None
    finally:
        for connection in held:
            connection.close()


@pytest.fixture
def read_end() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    os.close(ends[0])


def test_a_forked_child_makes_its_own_connections(bench: Bench, read_end: tuple[int, int]) -> None:
    # Given: a parent that has used its engine
    read, write = read_end
    backend = "SELECT pg_backend_pid()"
    with bench.store.database.autocommit() as connection:
        parents = connection.scalar(text(backend))

    # When
    child = os.fork()
    if child == 0:
        try:
            with bench.store.database.autocommit() as connection:
                os.write(write, str(connection.scalar(text(backend))).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    childs = int(os.read(read, 100) or 0)

    # Then: and the parent's connection lives on
    assert childs not in (0, parents)
    with bench.store.database.autocommit() as connection:
        assert connection.scalar(text(backend)) == parents


def test_a_transaction_that_raises_leaves_nothing(bench: Bench) -> None:
    run = bench.start()

    def half() -> None:
        with bench.store.database.transaction() as connection:
            connection.execute(text("DELETE FROM sagas.saga_instance"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert bench.claim(run, Address(0)) is not None


def test_connections_say_whose_they_are(bench: Bench) -> None:
    bench.start()

    names = bench.sql("SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database()")
    assert ("sagas",) in names


def test_ids_of_instances_sort_in_the_order_in_which_they_were_made(bench: Bench) -> None:
    first = bench.start()
    bench.sql("SELECT pg_sleep(0.002)")
    second = bench.start()

    assert first.version == second.version == 7
    assert first < second
