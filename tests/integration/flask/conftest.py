"""A migrated database for every test, cloned, and Flask applications on it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from celery import _state as celery_state
from flask import Flask
from sqlalchemy import make_url

from config.servers import EmbeddedBroker, EmbeddedPostgres, drop_database
from sagas import SagaHandle, Sagas
from tests.conftest import GivenPostgres, empty_keyspace
from tests.integration.flask import office as code
from tests.support import journal
from tests.support.queues import queued


@dataclass(frozen=True)
class Office:
    """One Flask application, and what is known of it past the library."""

    app: Flask
    database_url: str
    broker_url: str

    @property
    def sagas(self) -> Sagas:
        return self.app.extensions["sagas"]

    def start(self, **options: Any) -> SagaHandle:
        """As in a view; needs an app context."""
        return code.greeting.start({"name": "Ann"}, **options)

    def messages(self) -> int:
        return len(queued(self.sagas))

    def instances(self) -> int:
        return self._count("sagas.saga_instance")

    def orders(self) -> int:
        return self._count("office_order")

    def notes(self, run: SagaHandle) -> list[str]:
        said = "SELECT text FROM office_note WHERE saga_id = %s ORDER BY id"
        return [text for (text,) in journal.query(self.database_url, said, str(run.id))]

    def _count(self, table: str) -> int:
        return int(journal.query(self.database_url, f"SELECT count(*) FROM {table}")[0][0])


@pytest.fixture(scope="package", autouse=True)
def celery_as_before() -> Iterator[None]:
    """Every Flask application makes its Celery app the default one; other tests have none."""
    default, current = celery_state.default_app, celery_state._tls.current_app
    yield
    celery_state.default_app, celery_state._tls.current_app = default, current


@pytest.fixture(scope="package")
def urls(postgres: EmbeddedPostgres | GivenPostgres, celery_as_before: None) -> Iterator[tuple[str, str]]:
    """Two databases that have the sagas' and the office's tables."""
    names = [f"test_{uuid4().hex}" for _ in range(2)]
    url = postgres.create_database(names[0])
    app = code.create_app(url, "memory://")
    with app.app_context():
        code.sagas.migrate()
        code.db.create_all(bind_key=None)  # a test in this process may have named another bind
    close(app)
    yield url, postgres.create_database(names[1], template=names[0])
    for name in names:
        drop_database(postgres.url, name)


@pytest.fixture
def office_url(urls: tuple[str, str]) -> str:
    """The test's database, empty."""
    emptied(urls[0])
    return urls[0]


@pytest.fixture
def other_url(urls: tuple[str, str]) -> str:
    """Another one on the same server, with the same tables."""
    emptied(urls[1])
    return urls[1]


def emptied(url: str) -> None:
    journal.query(url, "TRUNCATE sagas.saga_instance, office_order, office_note CASCADE")


@pytest.fixture
def make_office(office_url: str, broker: EmbeddedBroker) -> Iterator[Callable[..., Office]]:
    """Makes applications, each with a queue of its own: on the test's database, or on another one."""
    made: list[Flask] = []

    def make(*, driver: str = "psycopg2", database_url: str = office_url, **config: Any) -> Office:
        broker_url = empty_keyspace(broker)
        url = make_url(database_url).set(drivername=f"postgresql+{driver}")
        app = code.create_app(url.render_as_string(hide_password=False), broker_url, **config)
        made.append(app)
        return Office(app, database_url, broker_url)

    yield make
    for app in made:
        close(app)


@pytest.fixture
def office(make_office: Callable[..., Office]) -> Office:
    return make_office()


def close(app: Flask) -> None:
    """Let go of its connections."""
    app.extensions["sagas"].engine.store.database.dispose()
    with app.app_context():
        for engine in code.db.engines.values():
            engine.dispose()
