"""What several integration tests share: a shop of a module's own, and looks into the broker."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from click.testing import Result

from config.servers import EmbeddedBroker, EmbeddedPostgres
from sagas.cli import sagas as group
from sagas.engine import impatient
from tests.conftest import GivenPostgres, Shop, empty_keyspace, make_shop
from tests.support.commands import Here, runner
from tests.support.pages import Example


@pytest.fixture(autouse=True)
def a_busy_machine_sends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a start of this process wait for a broker that answers, however busy the machine is."""
    if "silence" not in request.fixturenames:
        monkeypatch.setattr(impatient, "PATIENCE", 10.0)


@pytest.fixture(scope="module")
def own_shop(
    postgres: EmbeddedPostgres | GivenPostgres, broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """An application shared by the tests of one module, which may harm its workers; none runs yet."""
    database_url = postgres.create_database(f"test_{uuid4().hex}")
    made = make_shop(database_url, empty_keyspace(broker), tmp_path_factory.mktemp("shop"))
    yield made
    made.sagas.engine.store.database.dispose()


@pytest.fixture
def example(database_url: str, broker_url: str, tmp_path: Path) -> Example:
    """The README's example in an empty directory, on servers of the test's own."""
    return Example(tmp_path, database_url, broker_url)


@pytest.fixture
def here(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Here:
    """The command line of the test's own application, in this process."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)

    def run(*arguments: str) -> Result:
        done = runner().invoke(group, arguments, obj=SimpleNamespace(app=shop.sagas.app))
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    return run
