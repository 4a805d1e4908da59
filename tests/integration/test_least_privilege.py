"""The library needs no more than its own schema; and once that is there, no more than to read and write its tables."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import create_engine, make_url
from sqlalchemy.orm import Session

from config.servers import EmbeddedPostgres
from sagas import ConfigurationError, SagaHandle, Sagas, SagaStatus, StepStatus
from tests.conftest import GivenPostgres
from tests.support import journal, least_privilege
from tests.support.least_privilege import everything
from tests.support.programs import briefly
from tests.support.workers import Worker, eventually

PASSWORD = "only-for-tests"


@dataclass
class House:
    """A database of somebody else's, in which roles of ours may do this or that."""

    admin_url: str
    broker_url: str
    directory: Path
    roles: dict[str, str] = field(default_factory=dict)

    def admin(self, *statements: str) -> None:
        for statement in statements:
            journal.query(self.admin_url, statement.format(**self.roles))

    def add_role(self, name: str) -> str:
        """The URL of a new role; its name in statements is ``{name}``."""
        role = self.roles[name] = f"{name}_{uuid4().hex[:12]}"
        self.admin(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        return make_url(self.admin_url).set(username=role, password=PASSWORD).render_as_string(hide_password=False)

    def worker(self, url: str, name: str) -> Worker:
        environment = {"SAGAS_DATABASE_URL": url, "SAGAS_BROKER_URL": self.broker_url}
        log = self.directory / f"{name}.log"
        return Worker(
            environment, log, application="tests.support.least_privilege", arguments=("-n", f"{name}@%h", "-c", "2")
        )


@pytest.fixture
def house(
    postgres: EmbeddedPostgres | GivenPostgres, database_url: str, broker_url: str, tmp_path: Path
) -> Iterator[House]:
    made = House(database_url, broker_url, tmp_path)
    name = make_url(database_url).database
    # Nothing for everybody: neither tables of their own, nor a look at those of others.
    made.admin(
        f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC',
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        "CREATE TABLE public.customers (id integer)",
    )
    yield made
    for role in made.roles.values():
        made.admin(f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


@pytest.fixture
def owner_url(house: House) -> str:
    """As docs/deploying.md says: a role that owns its schema, and has nothing else."""
    url = house.add_role("owner")
    name = make_url(house.admin_url).database
    house.admin(f'GRANT CONNECT ON DATABASE "{name}" TO {{owner}}', "CREATE SCHEMA sagas AUTHORIZATION {owner}")
    return url


@pytest.fixture
def app_url(house: House, owner_url: str) -> str:
    """As docs/deploying.md says: migrations run as the owner; the application's role reads and writes."""
    url = house.add_role("app")
    name = make_url(house.admin_url).database
    house.admin(
        f'GRANT CONNECT ON DATABASE "{name}" TO {{app}}',
        "GRANT USAGE ON SCHEMA sagas TO {app}",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA sagas "
        "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app}",
    )
    return url


def may_do_nothing_else(url: str) -> None:
    for forbidden in (
        "SELECT * FROM public.customers",
        "CREATE TABLE public.mine (id integer)",
        "CREATE SCHEMA another",
        "CREATE TEMPORARY TABLE mine (id integer)",
        "CREATE ROLE another",
        "SELECT pg_read_file('postgresql.conf')",
    ):
        with pytest.raises(InsufficientPrivilege):
            journal.query(url, forbidden)


def everything_works(house: House, sagas: Sagas, url: str) -> None:
    def start(account: str, **script: str) -> SagaHandle:
        return sagas.start(everything, {"script": script, "account": account})

    good, bad, again = start("1", c="flaky"), start("2", d="no"), start("1")
    stuck = start("3", d="no", **{"undo b": "no"})
    lost = start("4", b="long")
    engine = create_engine(url)
    with Session(engine) as session:
        joined = sagas.start(everything, {"script": {}, "account": "5"}, key="5", session=session)
        joined.cancel("not wanted", session=session)
        session.commit()
    engine.dispose()
    doomed = house.worker(url, "doomed")
    with briefly(doomed):
        for run in (good, bad, again, stuck, lost):
            run.signal("go", {"by": "maria"}, key="once")
        eventually(lambda: lost.steps[1].status is StepStatus.RUNNING, "a worker to be killed in the middle")
        doomed.kill()
    assert sagas.sweep() >= 0
    with briefly(house.worker(url, "worker")):
        assert good.wait(60) is SagaStatus.COMPLETED
        assert bad.wait(60) is SagaStatus.COMPENSATED
        assert again.wait(60) is SagaStatus.COMPLETED
        assert stuck.wait(60) is SagaStatus.FAILED
        assert lost.wait(60) is SagaStatus.COMPLETED
        assert joined.wait(60) is SagaStatus.COMPENSATED
        stuck.resolve("done by hand")
        assert stuck.status is SagaStatus.COMPENSATED
    assert good.data["by"] == "maria"
    assert sagas.find(saga="everything", key="none") is None
    sagas.engine.store.instances.delete([good.id])
    sagas.sweep()  # gives back what a killed worker has not
    sagas.purge(timedelta(microseconds=1), keep_keys=True)
    assert (joined.steps, sagas.find(saga="everything", key="5")) == ([], joined)
    sagas.purge(timedelta(microseconds=1))
    assert journal.query(house.admin_url, "SELECT count(*) FROM sagas.saga_instance") == [(0,)]
    assert "permission denied" not in doomed.text()


def test_a_role_that_owns_its_schema_alone_migrates_and_does_everything(house: House, owner_url: str) -> None:
    sagas = least_privilege.make(house.broker_url, owner_url)
    may_do_nothing_else(owner_url)

    assert sagas.migrate()[0] == "0001_initial.sql"
    assert sagas.migrate() == []
    everything_works(house, sagas, owner_url)

    sagas.engine.store.database.dispose()


def test_a_role_that_only_reads_and_writes_does_everything_but_migrate(
    house: House, owner_url: str, app_url: str
) -> None:
    owners, sagas = least_privilege.make(house.broker_url, owner_url), least_privilege.make(house.broker_url, app_url)

    with pytest.raises(ConfigurationError, match="may not create the schema 'sagas' or its tables"):
        sagas.migrate()
    owners.migrate()
    assert sagas.migrate() == []  # there is nothing to do
    may_do_nothing_else(app_url)
    everything_works(house, sagas, app_url)
    with pytest.raises(InsufficientPrivilege):
        journal.query(app_url, "DROP TABLE sagas.saga_inbox")
    with pytest.raises(InsufficientPrivilege):
        journal.query(app_url, "TRUNCATE sagas.saga_event")

    owners.engine.store.database.dispose()
    sagas.engine.store.database.dispose()


def test_a_role_that_may_not_even_look_is_told_by_what_it_does(house: House, owner_url: str) -> None:
    owners = least_privilege.make(house.broker_url, owner_url)
    owners.migrate()
    stranger_url = house.add_role("stranger")
    name = make_url(house.admin_url).database
    house.admin(f'GRANT CONNECT ON DATABASE "{name}" TO {{stranger}}')
    strangers = least_privilege.make(house.broker_url, stranger_url)

    with pytest.raises(ConfigurationError, match=r"may not do what sagas do .*GRANT USAGE ON SCHEMA"):
        strangers.start(everything, {"script": {}, "account": "1"})

    owners.engine.store.database.dispose()
    strangers.engine.store.database.dispose()
