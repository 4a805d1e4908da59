"""Inserting an instance with its first step: in a transaction of its own or in the caller's."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from sagas.errors import PlanChanged, StartInProgress
from sagas.model import Plan
from sagas.store import statements
from sagas.store.database import DEADLOCK_DETECTED, SERIALIZATION_FAILURE, Database, translated
from sagas.store.instances import Instances
from sagas.store.timing import Timing

LOCK_NOT_AVAILABLE = "55P03"
#: Another transaction has the key; the deadlock is two of them with two keys crosswise.
WAITED_IN_VAIN = (LOCK_NOT_AVAILABLE, SERIALIZATION_FAILURE, DEADLOCK_DETECTED)
#: How long a start inside the caller's transaction waits for another open one with the same key.
KEY_WAIT = "2s"


@dataclass(frozen=True, kw_only=True, slots=True)
class NewInstance:
    """What `start` inserts. ``data`` is encoded already."""

    id: UUID
    plan: Plan
    key: str | None
    data: str
    deadline: datetime | None
    deadline_seconds: float | None


class Starting:
    """Inserts new instances."""

    def __init__(self, database: Database, instances: Instances, quoted_schema: str, timing: Timing) -> None:
        self._database = database
        self._instances = instances
        self._timing = timing
        self._start = text(statements.START.replace("{s}", quoted_schema))
        self._register = text(statements.REGISTER_PLAN.replace("{s}", quoted_schema))
        self._count = text(statements.COUNT_IN_FLIGHT.replace("{s}", quoted_schema))
        self._registered: set[str] = set()

    def register(self, plan: Plan) -> None:
        """Make sure that nobody started this version with other steps; asks the database once a process.

        Raises:
            PlanChanged: instances with other steps under this version are in flight.
        """
        if plan.fingerprint in self._registered:
            return
        named = {"saga": plan.saga, "version": plan.version}
        with self._database.autocommit() as connection:
            row = connection.execute(self._register, named | {"plan_hash": plan.fingerprint}).one_or_none()
            if row is None:
                count = connection.scalar(self._count, named)
                raise PlanChanged(
                    f"saga {plan.saga!r} version {plan.version} has other steps or policies than the {count} instances "
                    f"in flight were started with: raise version={plan.version + 1}. They go on by their own plan."
                )
        self._instances.remember(plan)
        self._registered.add(plan.fingerprint)

    def insert(self, new: NewInstance, queue_of: Callable[[str], str | None]) -> UUID:
        """Insert in a transaction of its own; returns the existing instance's id when the key is taken."""

        def work() -> UUID | None:
            with self._database.autocommit() as connection:
                return self._insert_on(connection, new, queue_of)

        # An instance that is gone again between the two statements was purged: try once more.
        for _ in range(3):
            found = self._database.retrying(work)
            if found is not None:
                return found
        raise StartInProgress(f"key {new.key!r} of saga {new.plan.saga!r} is changing hands; try again")

    def insert_in(self, connection: Connection, new: NewInstance, queue_of: Callable[[str], str | None]) -> UUID:
        """Insert in the caller's transaction, without ever harming it.

        Raises:
            StartInProgress: another open transaction holds the key, or committed it after this one's snapshot.
        """
        found = None
        try:
            # The savepoint keeps a failure from aborting the caller's transaction.
            with translated(), connection.begin_nested():
                waited = connection.scalar(text("SELECT current_setting('lock_timeout')"))
                self._wait_for_locks(connection, KEY_WAIT)
                found = self._insert_on(connection, new, queue_of)
                self._wait_for_locks(connection, waited)
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) not in WAITED_IN_VAIN:
                raise
        if found is None and new.key is not None:
            # Committed after this transaction's snapshot (REPEATABLE READ): visible to another connection.
            found = self._instances.find(new.plan.saga, new.key)
        if found is None:
            raise StartInProgress(
                f"saga {new.plan.saga!r} with key {new.key!r} is being started in another open transaction; start "
                "last in your transaction, take several keys in one order, and try again when the other has ended"
            )
        return found

    @staticmethod
    def _wait_for_locks(connection: Connection, timeout: str) -> None:
        connection.execute(text("SELECT set_config('lock_timeout', :timeout, true)"), {"timeout": timeout})

    def _insert_on(
        self, connection: Connection, new: NewInstance, queue_of: Callable[[str], str | None]
    ) -> UUID | None:
        step = new.plan.steps[0]
        inserted = connection.scalar(
            self._start,
            {
                "id": new.id,
                "saga": new.plan.saga,
                "version": new.plan.version,
                "key": new.key,
                "plan": new.plan.text,
                "plan_hash": new.plan.fingerprint,
                "data": new.data,
                "deadline": new.deadline,
                "deadline_seconds": new.deadline_seconds,
                "lease": self._timing.lease,
                "position": step.position,
                "branch": step.branch,
                "name": step.name,
                "queue": queue_of(step.task),
                "timeout": step.timeout,
            },
        )
        if inserted is not None or new.key is None:
            return new.id
        return self._instances.find_on(connection, new.plan.saga, new.key)
