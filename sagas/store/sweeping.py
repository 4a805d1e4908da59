"""What the sweep and the heartbeat ask of the database."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.exc import DataError

from sagas.model import Address
from sagas.store import statements, sweep_statements
from sagas.store.database import Database, InSchema
from sagas.store.timing import Timing

logger = logging.getLogger("sagas")


@dataclass(frozen=True, kw_only=True, slots=True)
class Beat:
    """One heartbeat of a worker: the task ids it has taken in and not finished."""

    id: UUID
    hostname: str
    pid: int
    queues: Sequence[str]
    deliveries: Sequence[str]
    listed_at: datetime
    idle: bool


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of the sweep. After an outage nobody has been able to do anything since the one before."""

    after_outage: bool


class Sweeping(InSchema):
    """Statements of liveness and recovery."""

    def __init__(self, database: Database, quoted_schema: str, timing: Timing) -> None:
        super().__init__(database, quoted_schema)
        self._times = {"lease": timing.lease, "silence": timing.silence, "outage": timing.outage}
        # A little less than the interval, so that one timer's own ticks never fall just short of it.
        self._times["interval"] = timedelta(seconds=timing.sweep_every * 0.8)

    def begin(self, *, forced: bool) -> Pass | None:
        """Open a pass: note who is silent.

        Returns:
            None when another sweep ran a moment ago and this one is not ``forced``.
        """
        # One transaction: whoever sweeps next waits for the suspicions, and an outage is never noted without them.
        with self._database.transaction() as connection:
            row = connection.execute(
                self._sql(sweep_statements.BEGIN_SWEEP), self._times | {"forced": forced}
            ).one_or_none()
            if row is None:
                return None
            connection.execute(self._sql(sweep_statements.KEEP_EPOCH))
            # After an outage everybody is silent: suspicion begins anew, nobody is declared dead by this pass.
            connection.execute(
                self._sql(sweep_statements.SUSPECT_SILENT_WORKERS), self._times | {"again": row.after_outage}
            )
            return Pass(after_outage=row.after_outage)

    def declare_dead(self) -> Sequence[Row[Any]]:
        """Workers that were suspected a lease ago and are still silent: id, hostname, pid."""
        with self._database.autocommit() as connection:
            dead = connection.execute(self._sql(sweep_statements.DECLARE_DEAD_WORKERS), self._times).all()
            connection.execute(self._sql(sweep_statements.FORGET_OLD_WORKERS))
            return dead

    def due(self, limit: int) -> Sequence[UUID]:
        """Push what is healthy, then pick the ids of what needs a look, the longest due first."""
        with self._database.autocommit() as connection:
            try:
                connection.execute(self._sql(sweep_statements.PUSH_HEALTHY), self._times)
            except DataError as error:
                # A moment or a timeout that somebody has edited by hand is out of range, and this is one statement for
                # all. Each is looked at by itself then, and the bad one backs off alone.
                logger.warning("nothing was pushed: %s", str(error.orig).strip())
            picked = connection.scalars(self._sql(sweep_statements.PICK_DUE), self._times | {"limit": limit})
            return picked.all()

    def back_off(self, instance_id: UUID, reason: dict[str, Any]) -> None:
        """An instance on which the sweep raised waits, alone."""
        with self._database.autocommit() as connection:
            connection.execute(
                self._sql(sweep_statements.BACK_OFF),
                self._times | {"id": instance_id, "detail": json.dumps(reason)},
            )

    def mark_unsent(self, instance_id: UUID, address: Address) -> None:
        """A message could not be published: the next sweep sends it."""
        place = {"position": address.position, "branch": address.branch, "round": address.round}
        with self._database.autocommit() as connection:
            connection.execute(self._sql(statements.UNSENT), place | {"id": instance_id})

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
        values |= {"queues": list(beat.queues), "deliveries": list(beat.deliveries)}
        with self._database.autocommit() as connection:
            row = connection.execute(self._sql(sweep_statements.HEARTBEAT), values).one_or_none()
        return None if row is None else list(row[0])

    def say_goodbye(self, worker_id: UUID) -> None:
        """A clean stop: whatever this worker claimed and did not finish is over."""
        with self._database.autocommit() as connection:
            connection.execute(self._sql(sweep_statements.SAY_GOODBYE), {"id": worker_id})
