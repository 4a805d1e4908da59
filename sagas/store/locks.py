"""Named resources that instances take in turns: semantic locks, and limits on how many run at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from sagas.model import Plan
from sagas.store import neighbour_statements
from sagas.store.book import InSchema

#: A limit is a resource with this prefix, which no semantic lock may have.
LIMIT_PREFIX = "limit:"


@dataclass(frozen=True, kw_only=True, slots=True)
class LockRequest:
    """A resource that an instance names when it starts."""

    resource: str
    capacity: int = 1  # how many instances may hold it at once
    lasting: bool = True  # kept by a failed instance, until a person has resolved it


class Locks(InSchema):
    """Grants and releases, each under the advisory locks of the resources until the end of its transaction."""

    def take_place(self, connection: Connection, instance_id: UUID, plan: Plan) -> tuple[bool, Sequence[UUID]]:
        """Take a place under the limit again, for an instance that a person let go on, inside the loop's transaction.

        Returns:
            The same as `grant`.
        """
        resource = LIMIT_PREFIX + plan.saga
        self._serialise(connection, instance_id, also=resource)
        values = {"id": instance_id, "resource": resource, "capacity": plan.max_concurrent}
        connection.execute(self._sql(neighbour_statements.TAKE_PLACE), values)
        return self.grant(connection, instance_id)

    def grant(self, connection: Connection, instance_id: UUID) -> tuple[bool, Sequence[UUID]]:
        """Grant an instance the resources that it named, as far as it is its turn, inside the loop's transaction.

        Returns:
            Whether it has all of them now; and the next instances in line, which should look whether there is room for
            them.
        """
        self._serialise(connection, instance_id)
        granted: list[str] = []
        for lasting in (True, False):
            stage = {"id": instance_id, "lasting": lasting}
            granted += connection.scalars(self._sql(neighbour_statements.GRANT), stage)
        awaits = connection.scalar(self._sql(neighbour_statements.AWAITS_LOCK), {"id": instance_id})
        return not awaits, self._wake(connection, granted) if granted else ()

    def release(self, instance_id: UUID) -> Sequence[UUID]:
        """Release what an ended instance held or waited for, in a transaction of its own; return the next in line."""

        def work() -> Sequence[UUID]:
            with self._database.transaction() as connection:
                self._serialise(connection, instance_id)
                released = connection.scalars(self._sql(neighbour_statements.RELEASE), {"id": instance_id})
                return self._wake(connection, released.all())

        return self._database.retrying(work)

    def first_taken(self, resources: Sequence[str], own: UUID | None) -> str | None:
        """Return a resource that an instance other than ``own`` holds or waits for; None if all are free."""
        with self._database.autocommit() as connection:
            found: str | None = connection.scalar(
                self._sql(neighbour_statements.FIND_LOCKED), {"resources": list(resources), "own": own}
            )
            return found

    def of(self, instance_id: UUID) -> Sequence[Row[Any]]:
        """Return the resources that an instance named: resource, granted_at (None: it waits), holders (the others)."""
        with self._database.autocommit() as connection:
            return connection.execute(self._sql(neighbour_statements.LOCKS_OF), {"id": instance_id}).all()

    def held_by_the_ended(self, limit: int) -> Sequence[UUID]:
        """Return instances that ended without a release: their process died in between."""
        with self._database.autocommit() as connection:
            return connection.scalars(self._sql(neighbour_statements.PICK_ENDED_HOLDERS), {"limit": limit}).all()

    def _serialise(self, connection: Connection, instance_id: UUID, also: str | None = None) -> None:
        statement = self._sql(neighbour_statements.SERIALISE_RESOURCES)
        connection.execute(statement, {"schema": self._book.schema, "id": instance_id, "also": also}).all()

    def _wake(self, connection: Connection, resources: Sequence[str]) -> Sequence[UUID]:
        values: dict[str, Any] = {"resources": list(resources)}
        return connection.scalars(self._sql(neighbour_statements.WAKE_NEXT), values).all()
