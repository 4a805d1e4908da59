"""The order example on real servers: orders, workers to be killed, and what the tables say afterwards."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from celery import Celery
from sqlalchemy.exc import InterfaceError

from config.demo import shelves
from config.demo.books import Violation, audit
from sagas import DatabaseUnreachable, SagaHandle, Sagas, SagaStatus
from tasks.orders import order
from tasks.services.database import engine
from tasks.services.tables import create_tables
from tests.support import journal
from tests.support.workers import Worker, eventually

PEN = [{"sku": "pen", "quantity": 2}]
PRICE = Decimal("9.90")

#: The operation of each action, and of its undo.
ACTIONS = {
    "reserve_inventory": ("inventory", "reserve"),
    "charge_payment": ("payment", "charge"),
    "create_shipment": ("shipping", "create"),
    "send_confirmation": ("notification", "send"),
}
UNDOS = {"charge_payment": ("payment", "refund"), "reserve_inventory": ("inventory", "release")}


#: A message that a frozen worker took with it is lost by no evidence before the worker is declared dead; so it takes
#: much more than that to say that a saga is stuck. In seconds.
PATIENCE = 150.0


@dataclass(frozen=True, slots=True)
class HeldStep:
    """One execution that a worker has claimed and not ended."""

    saga_id: UUID
    position: int
    round: int
    name: str
    attempts: int


@dataclass(frozen=True)
class OrderShop:
    """One test's shop: its Sagas in this process, and workers on demand.

    `heartbeat` and `sweep_every` are those of its workers too.
    """

    sagas: Sagas
    database_url: str
    broker_url: str
    directory: Path
    heartbeat: float
    sweep_every: float

    def worker(self, *arguments: str, name: str = "worker", application: str = "config", **environment: str) -> Worker:
        """A worker of the example application, not started yet; by default `-c 2`, prefork."""
        servers = {
            "SAGAS_DATABASE_URL": self.database_url,
            "SAGAS_BROKER_URL": self.broker_url,
            "SAGAS_HEARTBEAT": str(self.heartbeat),
            "SAGAS_SWEEP_EVERY": str(self.sweep_every),
        }
        return Worker(
            servers | environment,
            self.directory / f"{name}.log",
            application=application,
            arguments=("-n", f"{name}@%h", *(arguments or ("-c", "2"))),
        )

    def order(self, order_id: str | None = None) -> SagaHandle:
        """Order two pens."""
        order_id = order_id or uuid4().hex[:12]
        return self.sagas.start(order, {"order_id": order_id, "items": PEN, "total": PRICE}, key=order_id)

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the database, on a connection that is no part of what is tested."""
        connection = journal.connect(self.database_url)
        try:
            cursor = connection.cursor()
            cursor.execute(statement, parameters)
            return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def clock(self) -> datetime:
        """The database's clock, by which all of the journal's times are taken."""
        [(now,)] = self.query("SELECT clock_timestamp()")
        assert isinstance(now, datetime)
        return now

    def held_by(self, worker: Worker) -> list[HeldStep]:
        """What a worker process, or one of its children, has claimed and not ended."""
        rows = self.query(
            "SELECT s.instance_id::text, s.position, s.round, s.name, s.attempts FROM sagas.saga_step s "
            "JOIN sagas.saga_worker w ON w.id = s.worker_id WHERE s.status = 'running' AND w.pid = %s",
            worker.pid,
        )
        return [HeldStep(UUID(row[0]), *row[1:]) for row in rows]

    def losses(self, since: datetime) -> list[tuple[UUID, str, int, float | None]]:
        """Steps whose holder was found dead: saga, name, round, seconds from `since` until they ran again."""
        rows = self.query(
            "SELECT e.instance_id::text, s.name, s.round, extract(epoch FROM s.claimed_at - %s)::float "
            "FROM sagas.saga_event e JOIN sagas.saga_step s USING (instance_id, position, branch, round) "
            "WHERE e.event = 'holder_lost' AND e.at >= %s",
            since,
            since,
        )
        return [(UUID(id), name, round_, seconds if seconds > 0 else None) for id, name, round_, seconds in rows]

    def ended(self, runs: Iterable[SagaHandle], timeout: float = PATIENCE) -> dict[SagaHandle, SagaStatus]:
        """Wait for all of them to end."""
        runs = list(runs)
        eventually(lambda: all(map(has_ended, runs)), "every saga to end", timeout, every=0.2)
        return {run: run.status for run in runs}

    def violations(self, runs: Sequence[SagaHandle]) -> tuple[Violation, ...]:
        """What does not add up in the books, given how these sagas say that they ended."""
        ends = {run: run.status for run in runs}
        books = audit(
            engine(),
            completed=[str(run.key) for run, status in ends.items() if status is SagaStatus.COMPLETED],
            compensated=[str(run.key) for run, status in ends.items() if status is SagaStatus.COMPENSATED],
        )
        return (*books.violations, *self._strangers([run for run in runs if ends[run] is SagaStatus.COMPLETED]))

    def _strangers(self, completed: Sequence[SagaHandle]) -> list[Violation]:
        """What completed steps returned must be what the services did: their ids, and only those."""
        found = []
        for run in completed:
            done = {
                row[0]
                for row in self.query(
                    "SELECT id FROM shop.reservation WHERE order_id = %(o)s UNION ALL "
                    "SELECT id FROM shop.charge WHERE order_id = %(o)s UNION ALL "
                    "SELECT id FROM shop.shipment WHERE order_id = %(o)s UNION ALL "
                    "SELECT id FROM shop.notification WHERE order_id = %(o)s".replace("%(o)s", "%s"),
                    *[run.key] * 4,
                )
            }
            told = {value for name, value in run.data.items() if name.endswith("_id") and name != "order_id"}
            if done != told:
                detail = f"the services did {sorted(done)}, the steps returned {sorted(told)}"
                found.append(Violation(kind="done twice or not at all", subject=str(run.key), detail=detail))
        return found

    def assert_all_end_well(
        self, runs: Sequence[SagaHandle], timeout: float = PATIENCE
    ) -> dict[SagaHandle, SagaStatus]:
        """Every saga ends `completed` or `compensated`, and the books balance."""
        ends = self.ended(runs, timeout)
        histories = [run.history() for run, status in ends.items() if status is SagaStatus.FAILED]
        assert not histories, histories
        assert self.violations(runs) == ()
        return ends


def has_ended(run: SagaHandle) -> bool:
    """False also while the database is away."""
    try:
        return run.status.is_final
    except (DatabaseUnreachable, InterfaceError):
        return False


def make_order_shop(
    database_url: str, broker_url: str, directory: Path, *, heartbeat: float, sweep_every: float
) -> OrderShop:
    """Make the tables, fill the shelves, and bind this process (whose environment names the database already)."""
    app = Celery("tests.faults", broker=broker_url, set_as_current=False)
    sagas = Sagas(app, database=database_url, heartbeat=heartbeat, sweep_every=sweep_every)
    sagas.migrate()
    create_tables(engine())
    shelves.stock_up("pen", 1_000_000)
    return OrderShop(sagas, database_url, broker_url, directory, heartbeat, sweep_every)
