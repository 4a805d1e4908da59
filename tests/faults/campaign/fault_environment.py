"""The environment: servers, cables, and the processes that a supervisor keeps running."""

import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg2
from redis import Redis
from sqlalchemy import create_engine

from sagas.store import Store, Timing
from tests.faults.campaign import bank, books
from tests.faults.campaign.network import Cable, Condition, Network, Upstream
from tests.faults.campaign.processes import Kept, beat_command, worker_command
from tests.faults.campaign.rabbit import Rabbit
from tests.faults.campaign.servers import Broker, Postgres
from tests.faults.campaign.settings import Settings
from tests.support import journal
from tests.support.workers import eventually

#: Its children are what a fault may kill; the other kind has threads.
PREFORK = ("--without-gossip", "--without-mingle")
THREADS = ("--pool=threads", "--concurrency=4", "--without-gossip", "--without-mingle")

#: The connection that makes commits hang, waiting for a standby, must not hang itself.
ASKING = "SET statement_timeout = '60s'; SET application_name = 'campaign'; SET synchronous_commit = 'local'"


def is_gone(error: psycopg2.Error) -> bool:
    """Return whether it was not the statement's fault. A crash may come as a plain `DatabaseError`."""
    return isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) or error.pgcode is None


class FaultEnvironment:
    """Everything that runs, for the length of a `with` block."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self.settings = settings
        self.directory = directory
        self.dice = random.Random(f"{settings.seed} faults")
        self.postgres = Postgres()
        self.broker: Broker | Rabbit = Broker() if settings.broker == "valkey" else Rabbit()
        self.network = Network()
        self.cables: dict[str, Cable] = {}
        self.workers: list[Kept] = []
        self.beats: list[Kept] = []
        self.release = 1
        #: The database would not even refuse a question: do not ask.
        self.database_is_silent = False
        self._decks: dict[tuple[str, ...], list[str]] = {}
        self._connection: Any = None
        self._exits = ExitStack()

    def __enter__(self) -> "FaultEnvironment":
        try:
            self._exits.callback(lambda: self.postgres.stop())
            self.postgres.start()
            self._exits.enter_context(self.broker)
            self._exits.enter_context(self.network)
            self._exits.callback(self._end_processes)
            self._prepare_database()
            self._start_processes()
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()
        self._exits.close()

    # -- setting up

    def _prepare_database(self) -> None:
        store = Store(self.postgres.url, "sagas", Timing())
        store.migrate()
        store.database.dispose()
        engine = create_engine(self.postgres.url)
        with engine.begin() as connection:
            bank.open_for_business(connection)
        engine.dispose()
        self.ask_patiently("SELECT 1")
        books.make_views(self.cursor())

    def _start_processes(self) -> None:
        for number in range(1, self.settings.workers + 1):
            # One as it is by default: with gossip, mingle and the broker's heartbeats.
            arguments = PREFORK if number > 1 else ()
            children = f"--concurrency={self.settings.children}"
            name = f"worker{number}"
            self.workers.append(self._kept(name, worker_command(name, children, *arguments)))
        self.workers.append(self._kept("threads", worker_command("threads", *THREADS)))
        self.beats = [self._kept(name, beat_command(name, self.directory)) for name in ("beat1", "beat2")]
        self.keep_in_flight(self.settings.at_once)
        numbers = [self.settings.seed, self.settings.sagas, self.settings.pace]
        starting = [sys.executable, "-m", "tests.faults.campaign.starter", *map(str, numbers), str(self.directory)]
        self.starter = self._kept("starter", starting)

    def _kept(self, name: str, command: list[str]) -> Kept:
        database, broker = self._cable(name, "database"), self._cable(name, "broker")
        environment = {
            "SAGAS_DATABASE_URL": f"postgresql+psycopg2://postgres@127.0.0.1:{database.port}/postgres",
            "SAGAS_BROKER_URL": self.broker.url_at(broker.port),
            "SAGAS_HEARTBEAT": str(self.settings.heartbeat),
            "SAGAS_SWEEP_EVERY": str(self.settings.sweep_every),
            "CAMPAIGN_RELEASE": str(self.release),
            "CAMPAIGN_APPROVAL": str(self.settings.approval),
            "CAMPAIGN_CONTINUATION": self.settings.continuation,
            "CAMPAIGN_DIRECTORY": str(self.directory),
            "CAMPAIGN_TIMEOUT": str(self.settings.timeout),
            "PYTHONUNBUFFERED": "1",
        }
        return Kept(name, command, environment, self.directory / f"{name}.log")

    def _cable(self, name: str, end: str) -> Cable:
        leads_to = self._database_socket if end == "database" else self._broker_socket
        cable = self.network.cable(f"{name}/{end}", leads_to)
        self.cables[cable.name] = cable
        return cable

    def _database_socket(self) -> Upstream:
        return self.postgres.directory / ".s.PGSQL.5432"

    def _broker_socket(self) -> Upstream:
        return self.broker.upstream

    # -- while it runs

    @property
    def processes(self) -> list[Kept]:
        return [*self.workers, *self.beats, self.starter]

    def cables_to(self, end: str) -> list[Cable]:
        """Return the cables of all processes to the `database` or the `broker`."""
        return [cable for name, cable in self.cables.items() if name.endswith(f"/{end}")]

    def deal(self, options: Mapping[str, Any]) -> str:
        """Return the name of one of these, each once before any comes again."""
        deck = self._decks.setdefault(tuple(options), [])
        if not deck:
            deck += self.dice.sample(list(options), len(options))
        return deck.pop()

    def supervise(self) -> None:
        """Start again what has ended."""
        for kept in self.processes:
            if not (kept is self.starter and kept.exits[0]):
                kept.supervise()

    def ask(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]] | None:
        """Ask the database, by a connection that no cable carries. None: it does not answer just now."""
        if self.database_is_silent:
            return None
        try:
            if self._connection is None:
                self._connection = journal.connect(self.postgres.url)
                self._connection.cursor().execute(ASKING)
            cursor = self._connection.cursor()
            cursor.execute(statement, parameters)
            return list(cursor.fetchall()) if cursor.description else []
        except psycopg2.Error as error:
            if not is_gone(error):
                raise
            self.hang_up()
            return None

    def ask_patiently(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The same, until it answers."""
        rows: list[tuple[Any, ...]] | None = None

        def is_answered() -> bool:
            nonlocal rows
            rows = self.ask(statement, *parameters)
            return rows is not None

        eventually(is_answered, f"the database to answer: {statement:.80}", 60, every=0.2)
        assert rows is not None
        return rows

    def audit(self, names: Sequence[str]) -> list[books.Violation]:
        """Return what breaks these invariants now; nothing while the database does not answer."""
        try:
            return books.audit(self.cursor(), names) if self.ask("SELECT 1") else []
        except psycopg2.Error as error:
            if not is_gone(error):
                raise
            self.hang_up()
            return []

    def cursor(self) -> Any:
        """Return a cursor of the connection by which the database is asked."""
        assert self._connection is not None
        return self._connection.cursor()

    def hang_up(self) -> None:
        """Close the connection: the next question is asked on a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @property
    def valkey(self) -> Broker:
        """The broker, where it is one."""
        assert isinstance(self.broker, Broker)
        return self.broker

    def redis(self) -> Redis:
        """Return a client of the broker, by a connection that no cable carries."""
        return self.valkey.client()

    def keep_in_flight(self, number: int) -> None:
        """Tell the starter how many."""
        draft = self.directory / "in-flight.draft"
        draft.write_text(str(number))
        draft.rename(self.directory / "in-flight")

    @contextmanager
    def gentle(self) -> Iterator[None]:
        """Keep sagas from ending their own processes in the block."""
        file = self.directory / "gentle"
        file.touch()
        try:
            yield
        finally:
            file.unlink()

    def in_flight(self) -> int | None:
        """Return how many instances have not ended, without those spoilt by hand; None: it is unknown just now."""
        ended = ("completed", "compensated", "failed")
        rows = self.ask("SELECT count(*) FROM bank.audited WHERE status <> ALL (%s)", list(ended))
        return None if rows is None else int(rows[0][0])

    # -- tearing down

    def heal(self) -> None:
        """Make all cables good, and start both servers."""
        for cable in self.cables.values():
            cable.set(Condition.GOOD)
        self.postgres.start()
        self.broker.start()

    def _end_processes(self) -> None:
        for kept in self.processes if self.workers else []:
            kept.end()
