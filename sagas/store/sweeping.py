"""Statements of the sweep and the heartbeat."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from sagas.errors import RowDamaged
from sagas.model.executions import TIMEOUT_GRACE
from sagas.store import sweep_statements
from sagas.store.book import InSchema, StatementBook
from sagas.store.database import Database
from sagas.store.handlers import ALARM_PAUSE
from sagas.store.release import RELEASE
from sagas.store.timing import Timing


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """One heartbeat of a worker.

    Args:
        deliveries: the task ids that it has received and not finished.
        kept: the executions that it has received but keeps back, for example for a rate limit, each as "id address".
        slots: how many tasks it runs at a time.
        idle: whether it had nothing to do for a whole heartbeat, and asked the broker for more.
    """

    id: UUID
    hostname: str
    pid: int
    queues: Sequence[str]
    deliveries: Sequence[str]
    listed_at: datetime
    idle: bool
    slots: int = 1
    kept: Sequence[str] = ()
    release: str = RELEASE


class Sweeping(InSchema):
    """Statements of liveness and recovery."""

    def __init__(self, database: Database, book: StatementBook, timing: Timing) -> None:
        super().__init__(database, book)
        self._times = {"lease": timing.lease, "silence": timing.silence, "outage": timing.outage}
        # Less than the shortest pause, so that a timer's own ticks never fall just short of it.
        self._times["often"] = timedelta(seconds=timing.pause * 0.7)
        self._times["alarm_pause"] = ALARM_PAUSE
        self._times["lately"] = timing.lately

    def is_swept(self) -> bool:
        """Return whether a worker's timer has just looked around."""
        with self._database.autocommit() as connection:
            return bool(connection.scalar(self._sql(sweep_statements.IS_SWEPT), self._times))

    def look_around(self) -> Row[Any]:
        """Begin a pass: note an outage, and silent workers. Return what there is to do."""
        with self._database.autocommit() as connection:
            return connection.execute(self._sql(sweep_statements.LOOK_AROUND), self._times).one()

    def go_on(self) -> None:
        """Mark a long pass as if it had just begun."""
        with self._database.autocommit() as connection:
            connection.execute(self._sql(sweep_statements.GO_ON), self._times)

    def declare_dead(self) -> Sequence[Row[Any]]:
        """Return workers that were suspected a lease ago and are still silent: id, hostname, pid."""
        with self._database.autocommit() as connection:
            dead = connection.execute(self._sql(sweep_statements.DECLARE_DEAD_WORKERS), self._times).all()
            connection.execute(self._sql(sweep_statements.FORGET_OLD_WORKERS))
            return dead

    def lost(self, limit: int) -> Sequence[UUID]:
        """Return the instances of executions that are held by dead workers, or over their time."""
        with self._database.autocommit() as connection:
            asked = self._times | {"grace": TIMEOUT_GRACE.total_seconds(), "limit": limit}
            return connection.scalars(self._sql(sweep_statements.PICK_LOST), asked).all()

    def take_due(self, limit: int) -> Sequence[UUID]:
        """Take due instances, longest overdue first; for a lease no other sweep takes them."""
        with self._database.autocommit() as connection:
            taken = connection.scalars(self._sql(sweep_statements.TAKE_DUE), self._times | {"limit": limit})
            return taken.all()

    def back_off(self, instance_id: UUID, reason: dict[str, Any], error: Exception) -> None:
        """Make an instance on which the sweep raised wait, alone."""
        with self._database.autocommit() as connection:
            given = {"id": instance_id, "detail": json.dumps(reason), "is_unreadable": isinstance(error, RowDamaged)}
            connection.execute(self._sql(sweep_statements.BACK_OFF), self._times | given)

    def hasten(self, instance_id: UUID, sleeping: Sequence[str] = ()) -> None:
        """Make everything of this instance due that waits for a backoff, a lost message or the end of a sleep."""
        with self._database.autocommit() as connection:
            connection.execute(self._sql(sweep_statements.HASTEN), {"id": instance_id, "sleeping": list(sleeping)})

    def clock(self) -> datetime:
        with self._database.autocommit() as connection:
            now = connection.scalar(self._sql(sweep_statements.CLOCK))
        assert isinstance(now, datetime)
        return now

    def heartbeat(self, beat: Heartbeat) -> Sequence[str] | None:
        """Report. Return the deliveries to stop; None: this worker was declared dead and must register again."""
        values = {name: getattr(beat, name) for name in beat.__dataclass_fields__}
        values |= {name: list(values[name]) for name in ("queues", "deliveries", "kept")}
        with self._database.autocommit() as connection:
            row = connection.execute(self._sql(sweep_statements.HEARTBEAT), values).one_or_none()
        return None if row is None else list(row[0])

    def of_other_releases(self) -> Sequence[Row[Any]]:
        """Return living workers of other releases: hostname, pid, release (None: a release that does not report it)."""
        with self._database.autocommit() as connection:
            asked = self._times | {"release": RELEASE}
            return connection.execute(self._sql(sweep_statements.OF_OTHER_RELEASES), asked).all()

    def pulse(self, worker_id: UUID) -> None:
        """Report that the process of this worker is alive, though it may not be able to report what it runs."""
        with self._database.autocommit() as connection:
            connection.execute(self._sql(sweep_statements.PULSE), {"id": worker_id})

    def say_goodbye(self, worker_id: UUID) -> None:
        """Record a clean stop: whatever this worker claimed and did not finish is over."""
        with self._database.autocommit() as connection:
            connection.execute(self._sql(sweep_statements.SAY_GOODBYE), {"id": worker_id})
