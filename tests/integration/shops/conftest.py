"""One shop of each framework, open for the whole module: its real HTTP server, and a real worker."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from config.servers import EmbeddedBroker, EmbeddedPostgres, drop_database
from tests.conftest import GivenPostgres, empty_keyspace
from tests.support.shops import Browser, ShopServer, make_tables, serving
from tests.support.workers import Worker, running


@dataclass(frozen=True)
class OpenShop:
    """What a test needs of a shop that is open."""

    server: ShopServer
    worker: Worker
    browser: Browser

    @property
    def database_url(self) -> str:
        return self.server.database_url


@pytest.fixture(scope="module", params=["django", "flask", "fastapi"])
def shop(
    request: pytest.FixtureRequest,
    postgres: EmbeddedPostgres | GivenPostgres,
    broker: EmbeddedBroker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[OpenShop]:
    """The same application in each framework."""
    framework: str = request.param
    name = f"test_{uuid4().hex}"
    database_url = postgres.create_database(name)
    make_tables(framework, database_url)
    directory: Path = tmp_path_factory.mktemp(framework)
    server = ShopServer(framework, database_url, empty_keyspace(broker), directory)
    worker = server.worker()
    with serving(server), running(worker), server.browser() as browser:
        yield OpenShop(server, worker, browser)
    drop_database(postgres.url, name)
