"""The workers of this schema, as their rows describe them, and the schema's own mark."""

import json
from collections.abc import Mapping
from datetime import UTC
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from sagas.model.neighbours import Neighbour
from sagas.store import fleet_statements
from sagas.store.book import InSchema, StatementBook
from sagas.store.database import Database
from sagas.store.timing import Timing


class Fleet(InSchema):
    """Reads and writes the workers' descriptions."""

    def __init__(self, database: Database, book: StatementBook, timing: Timing) -> None:
        super().__init__(database, book)
        self._lease = timing.lease

    def home(self) -> str:
        """Return the mark of this schema: the same for all processes, however they reach it, and no other schema's."""
        with self._database.autocommit() as connection:
            row = connection.execute(self._sql(fleet_statements.WHERE_HOME_IS)).one()
        return f"{row.database}/{self._book.schema}/{row.home}"

    def introduce(
        self, worker_id: UUID, *, app: str | None, control_queue: str, broker: str, plans: Mapping[str, str]
    ) -> None:
        """Write into a worker's row which app it belongs to."""
        description = {"id": worker_id, "app": app, "control_queue": control_queue, "broker": broker}
        with self._database.autocommit() as connection:
            connection.execute(
                self._sql(fleet_statements.INTRODUCE_WORKER), description | {"plans": json.dumps(dict(plans))}
            )

    def unpark(self) -> None:
        """Make every execution due that no worker could call so far: the one that begins may have its code."""
        with self._database.autocommit() as connection:
            connection.execute(self._sql(fleet_statements.UNPARK))

    def alive(self, home: str) -> list[Neighbour]:
        """Return the living workers of this schema that have introduced themselves."""
        with self._database.autocommit() as connection:
            rows = connection.execute(self._sql(fleet_statements.WORKERS_ALIVE), {"lease": self._lease}).all()
        return [
            Neighbour(
                worker=f"{row.hostname} (pid {row.pid})",
                app=row.app,
                home=home,
                control_queue=row.control_queue,
                broker=row.broker,
                plans=row.plans or {},
            )
            for row in rows
            if row.control_queue is not None
        ]

    def unheard(self, instance_id: UUID | None = None) -> list[str]:
        """Return one line, with the cure, for each queue with waiting steps that no living worker consumes."""
        asked = {"id": instance_id, "lease": self._lease}
        with self._database.autocommit() as connection:
            rows = connection.execute(self._sql(fleet_statements.UNHEARD), asked).all()
        return [
            f"{_waiting(row)} in the queue {row.queue!r} since {row.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, and "
            f"no living worker consumes it: start one with -Q {row.queue}"
            for row in rows
        ]

    def parked(self) -> list[str]:
        """Return one line, with the reason, for each kind of step that no worker could call so far."""
        with self._database.autocommit() as connection:
            rows = connection.execute(self._sql(fleet_statements.PARKED)).all()
        return [
            f"saga {row.saga!r}: {'the compensation of ' if row.is_undo else ''}step {row.name!r} cannot be called, in "
            f"{row.steps} saga{'' if row.steps == 1 else 's'}: {row.message}"
            for row in rows
        ]


def _waiting(row: Row[Any]) -> str:
    return f"step {row.step!r} waits" if row.steps == 1 else f"{row.steps} steps wait"
