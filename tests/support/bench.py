"""A store driven statement by statement, without Celery: only what the database does."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg2.extensions import connection as DriverConnection
from sqlalchemy import Connection, event

from sagas.model import Address, Decision, Event, InstanceState, Plan, PlanStep, RetryPolicy, SagaStatus, StepKind
from sagas.model import decide as decide_purely
from sagas.model.limits import Limits
from sagas.store import Claim, Heartbeat, Loaded, NewInstance, Store, Timing, uuid7
from tests.support import journal
from tests.support.workers import eventually

QUEUE = "celery"
FIRST = Address(0)


def plan_of(*names: str, pivot: str | None = None, saga: str = "bench", version: int = 1, **options: Any) -> Plan:
    """Return a plan of these steps; those after the pivot are retriable."""
    steps: list[PlanStep] = []
    kind = StepKind.COMPENSATABLE
    for position, name in enumerate(names):
        if name == pivot:
            kind = StepKind.PIVOT
        elif kind is StepKind.PIVOT:
            kind = StepKind.RETRIABLE
        undo = f"undo.{name}" if kind is StepKind.COMPENSATABLE else None
        given: dict[str, Any] = {"retry": RetryPolicy(max_attempts=3, jitter=0.0)} | options
        steps.append(PlanStep(position=position, name=name, task=f"do.{name}", compensation=undo, kind=kind, **given))
    return Plan(saga=saga, version=version, steps=tuple(steps))


def plan_beside(*lanes: int, **options: Any) -> Plan:
    """Return a plan with parallel lanes of these lengths (a single number: so many lanes of one step), then a step."""
    lengths = [1] * lanes[0] if len(lanes) == 1 else list(lanes)
    given: dict[str, Any] = {"retry": RetryPolicy(max_attempts=3, jitter=0.0)} | options
    beside = [(lane, number) for lane, length in enumerate(lengths) for number in range(length)]
    steps = [
        PlanStep(
            position=0,
            branch=branch,
            lane=lane,
            name=f"{'abcdefghijklmnopqrstuvwxyz'[lane % 26]}{lane // 26 or ''}{number or ''}",
            task=f"do.{lane}.{number}",
            compensation=f"undo.{lane}.{number}",
            **given,
        )
        for branch, (lane, number) in enumerate(beside)
    ]
    last = PlanStep(position=1, name="last", task="do.last", compensation="undo.last", **given)
    return Plan(saga="beside", version=1, steps=(*steps, last))


THREE = plan_of("a", "b", "c")


class Placed:
    """The placement of the bench's rows: a single queue, and the limits of the plan."""

    def queue_of(self, _: PlanStep, __: int) -> str:
        return QUEUE

    def limits_of(self, step: PlanStep, round_: int) -> Limits:
        return Limits(step.timeout_for(round_))


PLACED = Placed()


@dataclass
class Bench:
    """One schema of one database, and the operations on it."""

    url: str
    store: Store
    _opened: list[DriverConnection] = field(default_factory=list)

    # -- the library's own statements

    def start(self, plan: Plan = THREE, *, key: str | None = None, data: str = "{}", **options: Any) -> UUID:
        self.store.starting.register(plan)
        times = {"deadline": None, "deadline_seconds": None} | options
        return self.store.starting.insert(NewInstance(id=uuid7(), plan=plan, key=key, data=data, **times), PLACED).id

    def claim(
        self,
        instance_id: UUID,
        address: Address = FIRST,
        *,
        token: UUID | None = None,
        worker: UUID | None = None,
        delivery: str | None = "delivery",
        task: str | None = None,
        sent: datetime | None = None,
    ) -> Claim | None:
        """Claim by a message of ``task``, by default the row's own, which may say when it was ``sent``."""
        return self.store.hot.claim(
            instance_id,
            address,
            task=task or self.task_of(instance_id, address),
            token=token or uuid4(),
            worker_id=worker,
            delivery=delivery,
            sent=sent,
            known_plans=self.store.instances.known_plans,
        )

    def task_of(self, instance_id: UUID, address: Address) -> str:
        found = self.sql(
            "SELECT task FROM {s}.saga_step WHERE instance_id = %s AND position = %s AND branch = %s AND round = %s",
            instance_id,
            address.position,
            address.branch,
            address.round,
        )
        return found[0][0] if found and found[0][0] else "nobody's"

    def complete(
        self,
        instance_id: UUID,
        plan: Plan,
        address: Address,
        token: UUID,
        result: str | None = None,
        keys: tuple[str, ...] = (),
        *,
        skipped: bool = False,
        connection: Connection | None = None,
    ) -> SagaStatus | None:
        progress = self.store.hot.complete(
            instance_id,
            plan,
            address,
            token=token,
            result=result,
            keys=keys,
            skipped=skipped,
            placement=PLACED,
            connection=connection,
        )
        return None if progress is None else progress.status

    def step(self, instance_id: UUID, plan: Plan = THREE, address: Address = FIRST) -> SagaStatus | None:
        """Claim and complete one execution."""
        token = uuid4()
        assert self.claim(instance_id, address, token=token) is not None
        return self.complete(instance_id, plan, address, token)

    def apply(
        self, instance_id: UUID, event: Event, evidence: Callable[[InstanceState], InstanceState] = lambda state: state
    ) -> Decision:
        """Run the loop's transaction, without the messages that follow it."""

        def work() -> Decision:
            with self.store.instances.transaction() as connection:
                loaded = self.store.instances.lock(connection, instance_id)
                assert loaded is not None
                return self.decide_and_save(connection, loaded, event, evidence)

        return self.store.database.retrying(work)

    def decide_and_save(
        self,
        connection: Connection,
        loaded: Loaded,
        event: Event,
        evidence: Callable[[InstanceState], InstanceState] = lambda state: state,
    ) -> Decision:
        lease = self.store.timing.lease
        decision = decide_purely(loaded.plan, evidence(loaded.state), event, loaded.now, lease=lease)
        self.store.instances.save(connection, loaded, decision, PLACED)
        return decision

    def state(self, instance_id: UUID) -> InstanceState:
        with self.store.instances.transaction() as connection:
            loaded = self.store.instances.lock(connection, instance_id)
            assert loaded is not None
            return loaded.state

    def decide(self, loaded: Loaded, event: Event) -> Decision:
        return decide_purely(loaded.plan, loaded.state, event, loaded.now, lease=self.store.timing.lease)

    def beat(
        self,
        worker: UUID,
        *deliveries: str,
        queues: tuple[str, ...] = (QUEUE,),
        idle: bool = False,
        slots: int = 1,
        kept: tuple[str, ...] = (),
    ) -> bool:
        beat = Heartbeat(
            id=worker,
            hostname="bench",
            pid=1,
            queues=queues,
            deliveries=deliveries,
            listed_at=self.store.sweeping.clock(),
            idle=idle,
            slots=slots,
            kept=kept,
        )
        return self.store.sweeping.heartbeat(beat) is not None

    # -- reading and changing from outside

    def driver(self) -> DriverConnection:
        """Open a separate driver connection, in autocommit; it is closed with the bench."""
        connection = journal.connect(self.url)
        self._opened.append(connection)
        return connection

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run ``statement`` with ``{s}`` as the schema."""
        schema = '"' + self.store.schema.replace('"', '""') + '"'
        values = tuple(str(value) if isinstance(value, UUID) else value for value in parameters)
        return journal.run(self.url, statement.replace("{s}", schema), values or None)

    def row(self, table: str, instance_id: UUID) -> Mapping[str, Any]:
        column = "id" if table == "saga_instance" else "instance_id"
        ((stored,),) = self.sql(f"SELECT to_jsonb(t) FROM {{s}}.{table} AS t WHERE {column} = %s", instance_id)
        return stored if isinstance(stored, dict) else json.loads(stored)

    def steps(self, instance_id: UUID) -> list[dict[str, Any]]:
        stored = self.sql(
            "SELECT to_jsonb(t) FROM {s}.saga_step AS t WHERE instance_id = %s ORDER BY position, branch, round",
            instance_id,
        )
        return [row[0] for row in stored]

    def events(self, instance_id: UUID) -> list[str]:
        return [
            event
            for (event,) in self.sql("SELECT event FROM {s}.saga_event WHERE instance_id = %s ORDER BY id", instance_id)
        ]

    def age(self, seconds: float) -> None:
        """Make all stored times so many seconds earlier."""
        for table, columns in (
            ("saga_instance", "due_at created_at updated_at deadline"),
            ("saga_step", "created_at dispatched_at not_before claimed_at first_claimed_at"),
            ("saga_worker", "started_at heartbeat_at listed_at idle_at suspected_at dead_at stopped_at"),
            ("saga_queue", "claimed_born claimed_sent"),
            ("saga_lease", "until"),
            ("saga_sweep", "swept_at"),
        ):
            changes = ", ".join(f"{column} = {column} - make_interval(secs => %s)" for column in columns.split())
            self.sql(f"UPDATE {{s}}.{table} SET {changes}", *([seconds] * len(columns.split())))

    def wait_for_lock_waiters(self, number: int) -> None:
        """Wait until so many sessions of this database wait for a lock."""
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        eventually(lambda: self.sql(waiting)[0][0] >= number, f"{number} sessions to wait for a lock", 15)

    @contextmanager
    def before(self, part: str, happens: Callable[[], Any]) -> Iterator[None]:
        """Let something happen, once, before the store sends a statement that has ``part`` in its text."""
        engine, waiting = self.store.database.engine, [happens]

        def look(_: object, __: object, statement: str, *___: object) -> None:
            if part in statement and waiting:
                waiting.pop()()

        event.listen(engine, "before_cursor_execute", look)
        try:
            yield
        finally:
            event.remove(engine, "before_cursor_execute", look)
        assert not waiting, f"no statement has {part!r}"

    def close(self) -> None:
        for connection in self._opened:
            connection.close()
        self.store.database.dispose()


@contextmanager
def bench_on(url: str, schema: str = "sagas", heartbeat: float = 2.0) -> Iterator[Bench]:
    bench = Bench(url, Store(url, schema, Timing(heartbeat=heartbeat, sweep_every=heartbeat)))
    try:
        bench.store.migrate()
        yield bench
    finally:
        bench.close()


class Background:
    """A function that runs in a thread; `join` returns its result or raises its error."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error

    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def join(self, timeout: float = 30) -> Any:
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "it still waits"
        if self._error is not None:
            raise self._error
        return self._result
