"""Instances as handles see them: read without a lock."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, and_, or_, select, text

from sagas.model import Address, ExecutionStatus, StepState, payload
from sagas.store import statements
from sagas.store.book import InSchema, StatementBook
from sagas.store.database import Database
from sagas.store.records import recorded
from sagas.store.rows import legible, stored_step_of
from sagas.store.tables import Tables

#: How long reading an instance waits while the database is away, in seconds.
READ_PATIENCE = 5.0
#: No particular place.
EVERYWHERE = {"position": None, "lane": None, "branch": None}


class Reading(InSchema):
    """Reads instances."""

    def __init__(self, database: Database, tables: Tables, book: StatementBook) -> None:
        super().__init__(database, book)
        self._tables = tables
        self._recorded = recorded(tables, book)

    def contents(self, instance_id: UUID, connection: Connection | None = None) -> Sequence[Any]:
        """Return all stored data of an instance: the input and its steps' results; empty if it no longer exists.

        Raises:
            RowDamaged: the data cannot be read.
        """
        if connection is None:
            with self._database.autocommit() as own:
                return self.contents(instance_id, own)
        with legible(instance_id):
            asked = EVERYWHERE | {"id": instance_id}
            row = connection.execute(self._sql(statements.DATA_AND_RESULTS), asked).one_or_none()
            return () if row is None else (payload.loads(row[0]), *payload.loads(row[1] or "[]"))

    def read(self, instance_id: UUID) -> Row[Any] | None:
        """Return the instance's current row; wait while the database restarts."""

        def work() -> Row[Any] | None:
            with self._database.autocommit() as connection:
                return connection.execute(self._one(instance_id)).one_or_none()

        with legible(instance_id):
            return self._database.retrying(work, READ_PATIENCE)

    def standing(
        self, instance_id: UUID, address: Address, following: Address | None = None
    ) -> Mapping[Address, StepState]:
        """Return the states of one execution and the one that follows, from their rows alone; without missing rows."""
        step = self._tables.step
        places = [
            and_(step.c.position == one.position, step.c.branch == one.branch, step.c.round == one.round)
            for one in (address, following)
            if one is not None
        ]
        rows = self._rows(select(step).where(step.c.instance_id == instance_id, or_(*places)))
        return {state.address: state for state in map(stored_step_of, rows)}

    def unclaimed(self, instance_id: UUID) -> Sequence[Address]:
        """Return the actions that count as sent and were never claimed."""
        step = self._tables.step
        query = select(step.c.position, step.c.branch).where(
            step.c.instance_id == instance_id,
            step.c.round == 0,
            step.c.status == ExecutionStatus.PENDING,
            step.c.attempts == 0,
            step.c.task.is_not(None),
            step.c.line.is_(None),
        )

        return [Address(row.position, row.branch) for row in self._rows(query)]

    def _rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        """Run one query in a transaction of its own, and wait while the database is away."""

        def work() -> Sequence[Row[Any]]:
            with self._database.autocommit() as connection:
                return connection.execute(query).all()

        return self._database.retrying(work, READ_PATIENCE)

    def look(
        self, instance_id: UUID, *, events: bool
    ) -> tuple[Row[Any], Sequence[Row[Any]], Sequence[Row[Any]]] | None:
        """Return the instance, its executions and (if asked for) its events, all as of one moment.

        The executions come in the order of their addresses, each with the name of the worker that claimed it last;
        the events come oldest first. None: there is no such instance.
        """

        def work() -> tuple[Row[Any], Sequence[Row[Any]], Sequence[Row[Any]]] | None:
            with self._database.transaction() as connection:
                connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
                row = connection.execute(self._one(instance_id)).one_or_none()
                if row is None:
                    return None
                steps = connection.execute(self._steps(instance_id)).all()
                return row, steps, connection.execute(self._events(instance_id)).all() if events else ()

        with legible(instance_id):
            return self._database.retrying(work, READ_PATIENCE)

    def _one(self, instance_id: UUID) -> Select[Any]:
        instance = self._tables.instance
        return select(instance).where(instance.c.id == instance_id)

    def _steps(self, instance_id: UUID) -> Select[Any]:
        step, worker = self._tables.step, self._tables.worker
        return (
            select(step, worker.c.hostname, self._recorded)
            .outerjoin(worker, worker.c.id == step.c.worker_id)
            .where(step.c.instance_id == instance_id)
            .order_by(step.c.position, step.c.branch, step.c.round)
        )

    def _events(self, instance_id: UUID) -> Select[Any]:
        event = self._tables.event
        return select(event).where(event.c.instance_id == instance_id).order_by(event.c.id)

    def find(self, saga: str, key: str) -> UUID | None:
        """Return the current instance of a business key."""
        if not payload.is_storable(saga + key):
            return None  # PostgreSQL cannot store such a text, which may be an address typed by a stranger
        with self._database.autocommit() as connection:
            found: UUID | None = connection.scalar(self._sql(statements.FIND_CURRENT), {"saga": saga, "key": key})
            return found

    def between(self, lowest: UUID, highest: UUID, *, limit: int) -> Sequence[UUID]:
        """Return the ids from one to another, in order."""
        instance = self._tables.instance
        query = select(instance.c.id).where(instance.c.id.between(lowest, highest)).order_by(instance.c.id).limit(limit)
        with self._database.autocommit() as connection:
            return connection.scalars(query).all()
