"""Insert an instance with its first step: in a transaction of its own or in the caller's."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import URL, TextClause, text

from sagas.errors import ConfigurationError, PlanChanged, StartInProgress, StartRefused
from sagas.model import Plan, SagaStatus
from sagas.model.executions import LONGEST_SILENCE
from sagas.store import statements
from sagas.store.book import InSchema, StatementBook
from sagas.store.database import (
    DEADLOCK_DETECTED,
    LOCK_NOT_AVAILABLE,
    NO_TRANSACTION,
    SERIALIZATION_FAILURE,
    Database,
    sqlstate,
    translated,
)
from sagas.store.head_columns import Placement, head_columns
from sagas.store.instances import Instances
from sagas.store.locks import LockRequest
from sagas.store.off_the_loop import blocking

T = TypeVar("T")

#: Another transaction has the key; a deadlock means two of them with two keys crosswise.
WAITED_IN_VAIN = (LOCK_NOT_AVAILABLE, SERIALIZATION_FAILURE, DEADLOCK_DETECTED)
#: How long a start inside the caller's transaction waits for another open one with the same key.
KEY_WAIT = "2s"


class CallersTransaction(Protocol):
    """An open transaction of the application, in whatever framework. It is joined, never ended."""

    def savepoint(self) -> AbstractContextManager[Any]:
        """Return a context manager that rolls back its block if the block raises."""

    def scalar(self, statement: TextClause, parameters: Mapping[str, Any]) -> Any:
        """Return the first column of the first row; None if there is no row."""

    def after_commit(self, do: Callable[[], None], committed: Callable[[], bool]) -> None:
        """Run ``do`` once the transaction has committed, and not if it, or a savepoint around this call, rolls back.

        Args:
            committed: tells by another connection whether it has committed, for frameworks that announce commits too
                early.
        """


def has_written(transaction: CallersTransaction) -> bool:
    """Return whether it has written or locked anything; a transaction that has only read need not be committed."""
    return bool(transaction.scalar(text(statements.HAS_WRITTEN), {}))


@dataclass(frozen=True, kw_only=True, slots=True)
class NewInstance:
    """The values that `start` inserts. ``data`` is already encoded."""

    id: UUID
    plan: Plan
    key: str | None
    data: str
    deadline: datetime | None
    deadline_seconds: float | None
    headers: str | None = None  # the headers that its messages carry, encoded too
    lock_requests: Sequence[LockRequest] = ()
    restarts: bool = False  # if the key's former instance was undone


@dataclass(frozen=True, slots=True)
class Started:
    """The instance that a start led to: the new one, or the one that has the key."""

    id: UUID
    is_to_be_sent: bool = False  # False: it is not new, or waits in its queue's line


class Starting(InSchema):
    """Inserts new instances."""

    def __init__(self, database: Database, instances: Instances, book: StatementBook) -> None:
        super().__init__(database, book)
        self._instances = instances
        self._start_by_name = book.prepared(statements.START)
        self._registered: dict[str, list[URL]] = {}

    def register(self, plan: Plan) -> None:
        """Make sure that this version was not started with other steps; asks each database once per process.

        Raises:
            PlanChanged: instances with other steps under this version are in flight.
        """
        if self._database.url not in self._registered.get(plan.fingerprint, ()):  # to hash a URL is dear
            blocking(partial(self._register_now, plan))

    def _register_now(self, plan: Plan) -> None:
        named = {"saga": plan.saga, "version": plan.version}
        with self._database.autocommit() as connection:
            asked = named | {"plan_hash": plan.fingerprint}
            row = connection.execute(self._sql(statements.REGISTER_PLAN), asked).one_or_none()
            if row is None:
                count = connection.scalar(self._sql(statements.COUNT_IN_FLIGHT), named)
                raise PlanChanged(
                    f"saga {plan.saga!r} version {plan.version} has other steps or policies than the {count} instances "
                    f"in flight were started with: raise version={plan.version + 1}. They go on by their own plan."
                )
        self._instances.remember(plan)
        self._registered.setdefault(plan.fingerprint, []).append(self._database.url)

    def insert(self, new: NewInstance, placement: Placement) -> Started:
        """Insert in a transaction of its own; return the existing instance if the key is taken."""

        def work() -> Started | None:
            if new.restarts:  # the key is freed first
                with self._database.transaction() as connection:
                    return self._insert_by(connection.scalar, new, placement)
            values = self._values(new, placement) | {"id": str(new.id)}
            inserted = self._start_by_name.row(self._database, values)
            if inserted is not None or new.key is None:
                return Started(new.id, bool(inserted and inserted[0]))
            with self._database.autocommit() as connection:
                return self._found_by(connection.scalar, new)

        # An instance that disappears between the two statements was purged: try once more.
        for _ in range(3):
            found = self._database.retrying(work)
            if found is not None:
                return found
        raise StartInProgress(f"key {new.key!r} of saga {new.plan.saga!r} is changing hands; try again")

    def insert_in(self, transaction: CallersTransaction, new: NewInstance, placement: Placement) -> Started:
        """Insert in the caller's transaction, without ever harming it.

        Raises:
            StartInProgress: another open transaction holds the key, or committed it after this one's snapshot.
        """
        found = None
        try:
            found = self.unharmed(
                transaction, lambda: self._insert_by(transaction.scalar, new, placement), may_wait=new.key is not None
            )
            if new.key is None:
                assert found is not None
                return found
        except Exception as error:
            if new.key is None or sqlstate(error) not in WAITED_IN_VAIN:
                raise
        if found is None and new.key is not None:
            # Committed after this transaction's snapshot (REPEATABLE READ): visible to another connection.
            existing = blocking(partial(self._instances.find, new.plan.saga, new.key))
            found = None if existing is None else Started(existing)
        if found is None or (new.restarts and found.id != new.id and self._may_be_retired(found.id)):
            raise StartInProgress(
                f"saga {new.plan.saga!r} with key {new.key!r} is being started in another open transaction; start "
                "last in your transaction, take several keys in one order, and try again when the other has ended"
            )
        return found

    def unharmed(self, transaction: CallersTransaction, work: Callable[[], T], *, may_wait: bool) -> T:
        """Do something in the caller's transaction that neither aborts it by failing nor makes it wait for long.

        Args:
            may_wait: whether to wait for a moment for a key that another open transaction holds.

        Raises:
            StartRefused: it is not a transaction.
        """
        try:
            with translated(), transaction.savepoint():
                if not may_wait:
                    return work()
                waited = transaction.scalar(self._sql(statements.LIMIT_LOCK_WAIT), {"wait": KEY_WAIT})
                done = work()
                transaction.scalar(self._sql(statements.RESTORE_LOCK_WAIT), {"wait": waited})
                return done
        except Exception as error:
            if sqlstate(error) != NO_TRANSACTION:
                raise
            raise StartRefused(
                "the connection to join commits every statement by itself (AUTOCOMMIT): pass one with a transaction, "
                "or none, and what you start or publish is committed at once"
            ) from error

    def _may_be_retired(self, instance_id: UUID) -> bool:
        """Return whether it should have been retired: another transaction is about to, and may still roll back."""
        row = blocking(partial(self._instances.read, instance_id))
        return row is not None and row.status == SagaStatus.COMPENSATED

    def refuse_elsewhere(self, transaction: CallersTransaction, url: URL) -> None:
        """Make sure that the caller's transaction is in this very database, where workers look. Queries both.

        Args:
            url: the address of the caller's connection.

        Raises:
            ConfigurationError: the transaction is in another database.
        """
        here = blocking(self._own_place)
        if url.get_backend_name() != "postgresql" or transaction.scalar(self._sql(statements.WHERE_AM_I), {}) != here:
            raise ConfigurationError(
                f"the transaction to join is in {url!r} and sagas are in {self._database.url!r}, where no worker would "
                "find what was started: give Sagas the transaction's database, or start outside of the transaction "
                "(in Flask: FlaskSagas(join=False))"
            )

    def _own_place(self) -> str:
        with self._database.autocommit() as connection:
            return str(connection.scalar(self._sql(statements.WHERE_AM_I)))

    def _insert_by(
        self,
        scalar: Callable[[TextClause, Mapping[str, Any]], Any],
        new: NewInstance,
        placement: Placement,
    ) -> Started | None:
        """Return the new instance, or the one that has the key; None if that cannot be seen from here."""
        if new.restarts:
            scalar(self._sql(statements.RETIRE_ENDED), _named(new))
        inserted = scalar(self._sql(statements.START), self._values(new, placement))
        if inserted is not None or new.key is None:
            return Started(new.id, bool(inserted))
        return self._found_by(scalar, new)

    def _found_by(self, scalar: Callable[[TextClause, Mapping[str, Any]], Any], new: NewInstance) -> Started | None:
        found = scalar(self._sql(statements.FIND_CURRENT), _named(new))
        if found is None:
            return None
        id_ = UUID(str(found))  # a driver may have its own class for UUIDs
        return Started(id_, id_ == new.id)  # the answer to the first try was lost

    @staticmethod
    def _values(new: NewInstance, placement: Placement) -> dict[str, Any]:
        plan = new.plan
        return _named(new) | {
            "id": new.id,
            "version": plan.version,
            "plan": plan.text,
            "plan_hash": plan.fingerprint,
            "data": new.data,
            "headers": new.headers,
            "deadline": new.deadline,
            "deadline_seconds": new.deadline_seconds,
            "silence": LONGEST_SILENCE,
            "line": f"{'' if plan.priority is None else plan.priority}:{plan.saga}",
            **head_columns(plan.heads(0) if plan.begins_at_once else (), placement),
            "resources": [request.resource for request in new.lock_requests],
            "capacities": [request.capacity for request in new.lock_requests],
            "lasting": [request.lasting for request in new.lock_requests],
        }


def _named(new: NewInstance) -> dict[str, Any]:
    return {"saga": new.plan.saga, "key": new.key}
