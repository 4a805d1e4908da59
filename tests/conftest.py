"""The servers that tests run against: real ones, one of each per session, with a fresh database per test.

A missing server fails every test that needs it, with the cure in the message; nothing is skipped.
"""

import gc
import itertools
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings
from redis import Redis

from config.servers import EmbeddedBroker, EmbeddedPostgres, create_database, drop_database
from config.settings import Settings
from sagas import Saga, SagaHandle, Sagas
from tests.support import journal, shared_tasks
from tests.support.application import make
from tests.support.last_release import unpack
from tests.support.workers import Worker, running

#: The tests there are for Django's own runner, in a separate process (see `tests/integration/django_`).
collect_ignore = ["django_project"]


# What CI says of a change must not depend on dice: the same examples each time. Many others, and other ones each time:
# `--hypothesis-profile=thorough`.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile("repeatable")


def pytest_sessionstart() -> None:
    # What collecting thousands of tests makes stays until the end: it need not be looked through for garbage.
    gc.disable()
    # Otherwise it would end at once, and leave the servers' directories behind.
    signal.signal(signal.SIGTERM, lambda signum, frame: pytest.exit("terminated", 128 + signum))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
    shared_tasks.remember()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    shared_tasks.show_those_of(item.getparent(pytest.Module).module.__name__)  # type: ignore[union-attr]


@dataclass(frozen=True)
class GivenPostgres:
    """An existing server; its role must be allowed to create databases."""

    url: str

    def create_database(self, name: str, template: str | None = None) -> str:
        return create_database(self.url, name, template)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres | GivenPostgres]:
    """Yield the PostgreSQL server in SAGAS_DATABASE_URL, or else one of our own."""
    if os.environ.get("SAGAS_DATABASE_URL"):
        yield GivenPostgres(Settings.from_environment().database_url)
    else:
        # Tests prove durability by killing processes, which needs no fsync.
        with EmbeddedPostgres(durable=False) as server:
            yield server


@pytest.fixture(scope="session")
def migrated(postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[str]:
    """Yield the name of a database that has the tables already: copying it is cheaper than migrating."""
    name = f"template_{uuid4().hex}"
    made = make("memory://", postgres.create_database(name))
    made.migrate()
    made.engine.store.database.dispose()
    yield name
    drop_database(postgres.url, name)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[str]:
    """Yield a database, dropped after the test despite connections: empty, except for tests that would migrate it."""
    name = f"test_{uuid4().hex}"
    is_migrated = {"shop", "bench"} & set(request.fixturenames)
    yield postgres.create_database(name, request.getfixturevalue("migrated") if is_migrated else None)
    drop_database(postgres.url, name)


@pytest.fixture(scope="session")
def broker() -> Iterator[EmbeddedBroker]:
    """Yield a broker of our own: its keyspaces are flushed, which must never happen to an existing one."""
    with EmbeddedBroker() as server:
        yield server


@pytest.fixture(scope="session")
def last_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory with the code of the last release."""
    return unpack(tmp_path_factory.mktemp("last-release"))


_keyspaces = itertools.count()


def empty_keyspace(broker: EmbeddedBroker) -> str:
    """Return the URL of an empty keyspace; it is reused so many tests later that it is no longer in use."""
    number = next(_keyspaces) % (broker.databases - 1)
    with Redis(unix_socket_path=f"{broker.directory}/valkey.sock", db=number) as client:
        client.flushdb()
    return broker.url_of(number)


@pytest.fixture
def broker_url(broker: EmbeddedBroker) -> str:
    """Return an empty keyspace of the session's broker."""
    return empty_keyspace(broker)


@dataclass(frozen=True)
class Shop:
    """One test's application: its servers, its Sagas in this process, and workers on demand."""

    sagas: Sagas
    database_url: str
    broker_url: str
    directory: Path

    def worker(self, *arguments: str, name: str = "worker", **environment: str) -> Worker:
        """Make a worker process of this application, not started yet; by default `-c 2`, prefork."""
        servers = {"SAGAS_DATABASE_URL": self.database_url, "SAGAS_BROKER_URL": self.broker_url}
        log = self.directory / f"{name}.log"
        arguments = ("-n", f"{name}@%h", *(arguments or ("-c", "2")))
        return Worker(servers | environment, log, arguments=arguments)

    def start(self, saga: Saga, script: Mapping[str, Sequence[str]] | None = None, **options: Any) -> SagaHandle:
        """Start a scripted saga (see `tests.support.scripted`)."""
        return self.sagas.start(saga, {"script": script or {}}, **options)

    def effects(self, handle: SagaHandle) -> list[str]:
        """Return the effects of an instance's steps, in the order in which they happened."""
        return journal.effects(self.database_url, handle.id)


def make_shop(database_url: str, broker_url: str, directory: Path) -> Shop:
    """Migrate, create the journal, and bind this process."""
    sagas = make(broker_url, database_url)
    sagas.migrate()
    journal.create(database_url)
    return Shop(sagas, database_url, broker_url, directory)


@pytest.fixture
def shop(database_url: str, broker_url: str, tmp_path: Path) -> Iterator[Shop]:
    """Yield an application with its own database and broker keyspace, and no worker yet."""
    made = make_shop(database_url, broker_url, tmp_path)
    yield made
    made.sagas.engine.store.database.dispose()


@pytest.fixture(scope="session")
def busy_shop(
    postgres: EmbeddedPostgres | GivenPostgres, broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """One application with one running worker, shared by the tests that do no harm to either."""
    database_url = postgres.create_database(f"test_{uuid4().hex}")
    made = make_shop(database_url, broker.url_of(broker.databases - 1), tmp_path_factory.mktemp("shop"))
    with running(made.worker("-c", "4")):
        yield made
    made.sagas.engine.store.database.dispose()
