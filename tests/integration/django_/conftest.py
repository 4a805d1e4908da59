"""The Django project of `tests/django_project`, in processes of its own: it must not be imported here."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from sqlalchemy import make_url

from config.servers import EmbeddedBroker, EmbeddedPostgres, drop_database
from tests.conftest import GivenPostgres, empty_keyspace
from tests.support.forked import Done, run
from tests.support.workers import ROOT


@dataclass(frozen=True)
class Project:
    """Where its commands find their servers."""

    database_url: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the database."""
        return str(make_url(self.database_url).database)

    def run(self, *words: str, **more: str) -> Done:
        """`python -m …` with the project's environment; never raises."""
        return run(list(words), env=self._surroundings(more), cwd=ROOT, timeout=600)

    def manage(self, *arguments: str, **more: str) -> Done:
        return self.run("tests.django_project.manage", *arguments, **more)

    def test(self, *arguments: str, **more: str) -> Done:
        """Run Django's tests in a process that is not forked: their runner may fork processes of its own."""
        words = [sys.executable, "-m", "tests.django_project.manage", "test", *arguments]
        return subprocess.run(
            words, env=self._surroundings(more), cwd=ROOT, timeout=600, capture_output=True, text=True, check=False
        )

    def _surroundings(self, more: dict[str, str]) -> dict[str, str]:
        servers = {"SAGAS_DATABASE_URL": self.database_url, "PYTHONPATH": str(ROOT), "C_FORCE_ROOT": "1"}
        return os.environ | servers | self.environment | more

    def celery(self, *arguments: str, **more: str) -> Done:
        return self.run("celery", "-A", "tests.django_project", *arguments, **more)


def succeeded(done: Done) -> str:
    """What a command said; fails with all of it when the command did."""
    assert done.returncode == 0, f"{' '.join(done.args)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def empty(database_url: str, broker_url: str, postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[Project]:
    """The project before its first `migrate`."""
    project = Project(database_url, {"SAGAS_BROKER_URL": broker_url})
    yield project
    for left_behind in (f"test_{project.name}", f"test_{project.name}_other"):
        drop_database(postgres.url, left_behind)


@pytest.fixture(scope="package")
def migrated(postgres: EmbeddedPostgres | GivenPostgres, broker: EmbeddedBroker) -> Project:
    """The project with all of its tables, shared by the tests that only add to them."""
    url = postgres.create_database(f"test_{uuid4().hex}")
    project = Project(url, {"SAGAS_BROKER_URL": empty_keyspace(broker)})
    succeeded(project.manage("migrate", "--verbosity", "0"))
    return project
