"""The servers that all contenders share: durable ones, with a fresh database and an empty broker for each run."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from redis import Redis
from sqlalchemy import make_url

from config.servers import EmbeddedServers, drop_database
from tests.benchmarks.applications import statements
from tests.benchmarks.meters import Observer
from tests.benchmarks.processes import Program, cpu_of
from tests.support import journal


@dataclass
class Run:
    """One contender's run: a database and a broker of its own, and the processes it asks for."""

    servers: EmbeddedServers
    database_url: str
    directory: Path
    observer: Observer

    @property
    def environment(self) -> dict[str, str]:
        return {
            "SAGAS_DATABASE_URL": self.database_url,
            "SAGAS_BROKER_URL": self.servers.broker_url,
            "SAGAS_BENCH_TIMES": f"{self.servers.broker.directory}/valkey.sock",
            statements.VARIABLE: str(self.directory),
        }

    def worker(
        self, application: str, name: str, *arguments: str, python: str | None = None, **environment: str
    ) -> Program:
        """A Celery worker, ``-c 2`` unless told otherwise."""
        options = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "INFO", "-n", f"{name}@%h"]
        words = ["-m", "celery", "-A", application, "worker", *options, *(arguments or ("-c", "2"))]
        return self.program(name, words, python=python, **environment)

    def beat(self, application: str) -> Program:
        schedule = ["-s", f"{self.directory}/beat-{uuid4().hex}", "--pidfile="]
        return self.program("beat", ["-m", "celery", "-A", application, "beat", "-l", "INFO", *schedule])

    def program(self, name: str, words: Sequence[str], *, python: str | None = None, **environment: str) -> Program:
        options = {} if python is None else {"python": python}
        return Program(name, words, self.environment | environment, self.directory, **options)

    def postgres_cpu(self) -> float:
        pid = self.servers.postgres.pid
        return cpu_of(pid) if pid else 0.0

    @contextmanager
    def broker(self, keyspace: int = 0) -> Iterator[Redis]:
        with Redis(unix_socket_path=f"{self.servers.broker.directory}/valkey.sock", db=keyspace) as client:
            yield client

    def ask(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.observer.ask(statement, *parameters)


class BenchServers:
    """The servers for a whole benchmark; see `run` for what each part of it gets."""

    def __init__(self, logs: Path | None = None) -> None:
        self._servers = EmbeddedServers()
        self._logs = logs

    def __enter__(self) -> "BenchServers":
        self.directory = Path(tempfile.mkdtemp(prefix="sagas-bench-"))
        self._servers.__enter__()
        self.counts_statements = self._count_statements()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._servers.__exit__(*exc_info)
        if self._logs is not None:
            shutil.copytree(self.directory, self._logs, dirs_exist_ok=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _count_statements(self) -> bool:
        """Load pg_stat_statements, if this PostgreSQL has it."""
        postgres = self._servers.postgres
        connection = journal.connect(postgres.url)
        try:
            cursor = connection.cursor()
            cursor.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_stat_statements'")
            if cursor.fetchone() is None:
                return False
            cursor.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
        finally:
            connection.close()
        postgres.restart()
        return True

    @contextmanager
    def run(self, name: str) -> Iterator[Run]:
        """A fresh database and an empty broker; both are gone afterwards."""
        postgres = self._servers.postgres
        database = f"bench_{uuid4().hex}"
        url = postgres.create_database(database)
        directory = self.directory / f"{name}-{database[-6:]}"
        directory.mkdir(parents=True)
        observer = Observer(url)
        made = Run(self._servers, url, directory, observer)
        try:
            with made.broker() as broker:
                broker.flushall()
                broker.config_resetstat()
            if self.counts_statements:
                observer.ask("CREATE EXTENSION pg_stat_statements")
            observer.ask("CHECKPOINT")
            yield made
        finally:
            observer.close()
            drop_database(postgres.url, str(make_url(url).database))
