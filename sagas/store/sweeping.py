"""What the sweep and the heartbeat ask of the database."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from sagas.model.draft import TIMEOUT_GRACE
from sagas.store import sweep_statements
from sagas.store.database import Database, InSchema
from sagas.store.release import RELEASE
from sagas.store.timing import Timing


@dataclass(frozen=True, kw_only=True, slots=True)
class Beat:
    """One heartbeat of a worker.

    Args:
        deliveries: the task ids that it has taken in and not finished.
        kept: the executions that it has received and keeps back, for a rate limit say, each as "id address".
        slots: how many tasks it runs at a time.
        idle: for a whole heartbeat it had nothing to do, and asked the broker for more.
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

    def __init__(self, database: Database, quoted_schema: str, timing: Timing) -> None:
        super().__init__(database, quoted_schema)
        self._times = {"lease": timing.lease, "silence": timing.silence, "outage": timing.outage}
        # Less than the shortest pause, so that one timer's own ticks never fall just short of it.
        self._times["often"] = timedelta(seconds=timing.pause * 0.7)

    def is_swept(self) -> bool:
        """Whether the timer of some worker has looked around a moment ago."""
        with self._database.autocommit() as connection:
            return bool(connection.scalar(self._sql(sweep_statements.IS_SWEPT), self._times))

    def look_around(self) -> Row[Any]:
        """Begin a pass: note an outage, and who is silent. Returns what there is to do."""
        with self._database.autocommit() as connection:
            return connection.execute(self._sql(sweep_statements.LOOK_AROUND), self._times).one()

    def go_on(self) -> None:
        """A pass that takes long is as good as one that has just begun."""
        with self._database.autocommit() as connection:
            connection.execute(self._sql(sweep_statements.GO_ON), self._times)

    def declare_dead(self) -> Sequence[Row[Any]]:
        """Workers that were suspected a lease ago and are still silent: id, hostname, pid."""
        with self._database.autocommit() as connection:
            dead = connection.execute(self._sql(sweep_statements.DECLARE_DEAD_WORKERS), self._times).all()
            connection.execute(self._sql(sweep_statements.FORGET_OLD_WORKERS))
            return dead

    def lost(self, limit: int) -> Sequence[UUID]:
        """The instances of executions that are held by the dead, or over their time."""
        with self._database.autocommit() as connection:
            asked = self._times | {"grace": TIMEOUT_GRACE.total_seconds(), "limit": limit}
            return connection.scalars(self._sql(sweep_statements.PICK_LOST), asked).all()

    def take_due(self, limit: int) -> Sequence[UUID]:
        """Take instances that are due, the longest first; for a lease no other sweep takes them."""
        with self._database.autocommit() as connection:
            taken = connection.scalars(self._sql(sweep_statements.TAKE_DUE), self._times | {"limit": limit})
            return taken.all()

    def back_off(self, instance_id: UUID, reason: dict[str, Any]) -> None:
        """An instance on which the sweep raised waits, alone."""
        with self._database.autocommit() as connection:
            connection.execute(
                self._sql(sweep_statements.BACK_OFF),
                self._times | {"id": instance_id, "detail": json.dumps(reason)},
            )

    def hasten(self, instance_id: UUID, sleeping: Sequence[str] = ()) -> None:
        """Whatever waits for a backoff or a lost message of this instance is due now; and so is who sleeps."""
        with self._database.autocommit() as connection:
            connection.execute(self._sql(sweep_statements.HASTEN), {"id": instance_id, "sleeping": list(sleeping)})

    def clock(self) -> datetime:
        with self._database.autocommit() as connection:
            now = connection.scalar(self._sql(sweep_statements.CLOCK))
        assert isinstance(now, datetime)
        return now

    def heartbeat(self, beat: Beat) -> Sequence[str] | None:
        """Report. Returns the deliveries to stop; None: this worker was declared dead and must register anew."""
        values = {name: getattr(beat, name) for name in beat.__dataclass_fields__}
        values |= {name: list(values[name]) for name in ("queues", "deliveries", "kept")}
        with self._database.autocommit() as connection:
            row = connection.execute(self._sql(sweep_statements.HEARTBEAT), values).one_or_none()
        return None if row is None else list(row[0])

    def of_other_releases(self) -> Sequence[Row[Any]]:
        """Workers that are alive and run another one: hostname, pid, release (None: older than the first that said)."""
        with self._database.autocommit() as connection:
            asked = self._times | {"release": RELEASE}
            return connection.execute(self._sql(sweep_statements.OF_OTHER_RELEASES), asked).all()

    def pulse(self, worker_id: UUID) -> None:
        """The process of this worker is alive, though it may not be able to report what it runs."""
        with self._database.autocommit() as connection:
            connection.execute(self._sql(sweep_statements.PULSE), {"id": worker_id})

    def say_goodbye(self, worker_id: UUID) -> None:
        """A clean stop: whatever this worker claimed and did not finish is over."""
        with self._database.autocommit() as connection:
            connection.execute(self._sql(sweep_statements.SAY_GOODBYE), {"id": worker_id})
