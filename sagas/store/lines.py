"""The line: steps that wait to be sent, and the lease of their sender."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from sagas.model import Address
from sagas.model.limits import Limits
from sagas.store import line_statements
from sagas.store.book import InSchema, StatementBook
from sagas.store.database import Database
from sagas.store.timing import Timing


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queue that has a line.

    Args:
        out: how many messages are sent and unclaimed.
        slots: how many tasks its consumers run at a time.
        kept: how many messages its consumers have received but keep back.
        tasks: the tasks whose messages are sent.
        taken_until: a moment up to which messages that were sent have been taken: the youngest that is claimed was
            sent then, or a consumer was idle. None if it is unknown.
    """

    queue: str
    out: int
    slots: int
    kept: int
    tasks: Sequence[str]
    taken_until: datetime | None


@dataclass(frozen=True, slots=True)
class Released:
    """An execution that has left its line and is to be published. ``plan`` is None if its fingerprint was known."""

    instance_id: UUID
    address: Address
    limits: Limits
    dispatched_at: datetime
    plan_hash: str
    plan: str | None
    headers: str | None


class Lines(InSchema):
    """Statements of the line. Those that give out steps do nothing for a worker that does not hold the lease."""

    def __init__(self, database: Database, book: StatementBook, timing: Timing) -> None:
        super().__init__(database, book)
        self._timing = timing

    def take_lease(self, name: str, me: UUID, hold: timedelta) -> bool:
        """Take or renew the lease; never waits."""
        asked = {"lease_name": name, "me": me, "hold": hold}
        with self._database.autocommit() as connection:
            return bool(connection.scalar(self._sql(line_statements.TAKE_LEASE), asked))

    def give_lease_back(self, name: str, me: UUID) -> None:
        """Give the lease back, so that another worker can have it at once."""
        with self._database.autocommit() as connection:
            connection.execute(self._sql(line_statements.GIVE_LEASE_BACK), {"lease_name": name, "me": me})

    def put_lost_back(self, name: str, me: UUID, limit: int) -> Mapping[str, int]:
        """Put steps whose message is lost, by evidence, back into their lines.

        Args:
            limit: how many of each queue, at most.

        Returns:
            How many of each queue.
        """
        asked = {"lease_name": name, "me": me, "lease": self._timing.lease, "limit": limit}
        with self._database.autocommit() as connection:
            return Counter(connection.scalars(self._sql(line_statements.PUT_LOST_BACK), asked))

    def waiting(self, most: int) -> Sequence[Waiting]:
        """Return the queues that have a line; at most ``most`` of their sent messages are counted."""
        with self._database.autocommit() as connection:
            asked = {"most": most, "lease": self._timing.lease}
            found = connection.execute(self._sql(line_statements.LOOK_AT_QUEUES), asked)
            return [Waiting(row.queue, row.out, row.slots, row.kept, row.tasks, row.taken_until) for row in found]

    def release(self, name: str, me: UUID, queue: str, limit: int, known_plans: Sequence[str]) -> Sequence[Released]:
        """Take the next steps out of a queue's line, as sent; the caller publishes them, or puts them back."""
        asked = {"lease_name": name, "me": me, "queue": queue, "limit": limit, "known_plans": list(known_plans)}
        with self._database.autocommit() as connection:
            rows = connection.execute(self._sql(line_statements.FILL), asked).all()
        return [_released(row) for row in rows]

    def put_back(self, instance_id: UUID, address: Address) -> None:
        """Return a step whose message was not sent to its place in the line."""
        place = {"position": address.position, "branch": address.branch, "round": address.round}
        with self._database.autocommit() as connection:
            connection.execute(self._sql(line_statements.PUT_BACK), place | {"id": instance_id})


def _released(row: Row[Any]) -> Released:
    return Released(
        instance_id=row.instance_id,
        address=Address(row.position, row.branch, row.round),
        limits=Limits(row.timeout, row.soft_timeout),
        dispatched_at=row.dispatched_at,
        plan_hash=row.plan_hash,
        plan=row.plan,
        headers=row.headers,
    )
