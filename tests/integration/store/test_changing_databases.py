"""A URL that is asked for whenever it is needed: a framework's tests change the database under way."""

import gc
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from uuid import uuid4

import pytest
from sqlalchemy import text

from config.servers import EmbeddedPostgres
from sagas import ConfigurationError, PlanChanged
from sagas.store import Database, NewInstance, Store, Timing, uuid7
from tests.conftest import GivenPostgres
from tests.support import journal
from tests.support.bench import PLACED, plan_of

WHERE = text("SELECT current_database()")


@dataclass
class Switch:
    """Two databases, and the one that is asked for now."""

    urls: tuple[str, str]
    position: int = 0

    def __call__(self) -> str:
        return self.urls[self.position]

    @property
    def names(self) -> list[str]:
        return [url.rpartition("/")[2].partition("?")[0] for url in self.urls]

    def connections(self) -> list[int]:
        """How many connections of the library are open to each."""
        counted = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = 'sagas'"
        return [int(journal.query(self.urls[1], counted, name)[0][0]) for name in self.names]


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres | GivenPostgres) -> tuple[str, str]:
    one, two = (postgres.create_database(f"test_{uuid4().hex}") for _ in range(2))
    return one, two


@pytest.fixture
def switch(urls: tuple[str, str]) -> Switch:
    return Switch(urls)


@pytest.fixture
def database(switch: Switch) -> Iterator[Database]:
    made = Database(switch)
    yield made
    made.dispose()


def where(database: Database) -> str:
    with database.autocommit() as connection:
        return str(connection.scalar(WHERE))


def test_it_follows_its_url_and_leaves_no_connection_behind(switch: Switch, database: Database) -> None:
    assert where(database) == switch.names[0]
    with database.transaction() as connection:
        assert connection.scalar(WHERE) == switch.names[0]
    assert switch.connections() == [1, 0]

    switch.position = 1

    assert where(database) == switch.names[1]
    assert switch.connections() == [0, 1]
    switch.position = 0
    assert where(database) == switch.names[0]
    assert switch.connections() == [1, 0]


def test_a_url_that_stays_keeps_its_connections(switch: Switch, database: Database) -> None:
    engines = {id(database.engine) for _ in range(10)}

    with database.autocommit() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
    with database.autocommit() as connection:
        assert connection.scalar(text("SELECT pg_backend_pid()")) == pid
    assert len(engines) == 1


def test_a_connection_in_use_is_finished_with_and_then_let_go(switch: Switch, database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE mine ON COMMIT DROP AS SELECT 1"))
        switch.position = 1
        assert where(database) == switch.names[1]
        assert connection.scalar(text("SELECT count(*) FROM mine")) == 1

    gc.collect()
    assert switch.connections() == [0, 1]


def test_threads_that_meet_the_change_all_get_there(switch: Switch, database: Database) -> None:
    workers, rounds = 8, 6
    together = Barrier(workers, action=lambda: setattr(switch, "position", 1 - switch.position))

    def ask(_: int) -> list[tuple[str, str]]:
        met = []
        for _ in range(rounds):
            together.wait(30)
            wanted = switch.names[switch.position]
            met.append((wanted, where(database)))
        return met

    with ThreadPoolExecutor(workers) as pool:
        answers = [pair for met in pool.map(ask, range(workers)) for pair in met]

    assert [pair for pair in answers if pair[0] != pair[1]] == []
    assert where(database) == switch.names[switch.position]
    assert switch.connections()[1 - switch.position] == 0


def test_a_fork_that_changes_it_leaves_its_parent_alone(switch: Switch, database: Database) -> None:
    with database.autocommit() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
    read, write = os.pipe()

    child = os.fork()
    if child == 0:
        try:
            switch.position = 1
            os.write(write, where(database).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    answer = os.read(read, 200).decode()
    os.close(read)

    assert answer == switch.names[1]
    with database.autocommit() as connection:
        assert connection.scalar(text("SELECT pg_backend_pid()")) == pid
        assert connection.scalar(WHERE) == switch.names[0]


def test_what_it_gives_is_checked_when_it_is_asked() -> None:
    database = Database(lambda: "sqlite://")

    with pytest.raises(ConfigurationError, match="need PostgreSQL"):
        _ = database.engine


def test_what_is_known_of_one_database_is_not_taken_for_known_of_the_other(switch: Switch) -> None:
    def insert(store: Store, *names: str) -> None:
        plan = plan_of(*names)
        store.starting.register(plan)
        new = NewInstance(id=uuid7(), plan=plan, key=None, data="{}", deadline=None, deadline_seconds=None)
        store.starting.insert(new, PLACED)

    def migrated() -> Store:
        store = Store(switch, "sagas", Timing())
        for switch.position in (1, 0):
            store.migrate()
        return store

    # Given: a process that has started a version in the first database, and then in the second
    here, elsewhere = migrated(), migrated()
    insert(here, "a", "b")
    switch.position = 1
    insert(here, "a", "b")

    # Then: another process with other steps under that version is refused in the second, too
    with pytest.raises(PlanChanged):
        insert(elsewhere, "a", "c")
    here.database.dispose()
    elsewhere.database.dispose()
