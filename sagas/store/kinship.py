"""Kinship between instances: child sagas and their parents, at any depth, and what steps and events begin."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sagas.store import neighbour_statements
from sagas.store.book import InSchema


class Kinship(InSchema):
    """Reads what belongs to an instance, and to what it belongs."""

    def failed_below(self, instance_id: UUID) -> Mapping[UUID, Sequence[UUID]]:
        """Return its child sagas that have failed or have a failed one below them, each with those that have failed."""
        with self._database.autocommit() as connection:
            rows = connection.execute(self._sql(neighbour_statements.FAILED_BELOW), {"id": instance_id}).all()
        return {row.child: list(row.failed) for row in rows}

    def correlation_of(self, instance_id: UUID) -> UUID | None:
        """Return the id that all instances that belong together have. None: there is no such instance."""
        with self._database.autocommit() as connection:
            found: UUID | None = connection.scalar(self._sql(neighbour_statements.CORRELATION_OF), {"id": instance_id})
        return found

    def correlated(self, correlation: UUID) -> Sequence[UUID]:
        """Return the instances that belong together, the oldest first."""
        with self._database.autocommit() as connection:
            found = connection.scalars(self._sql(neighbour_statements.CORRELATED), {"correlation": correlation})
            return found.all()

    def begun_by(self, correlation: UUID, cause: str) -> UUID | None:
        """Return the instance that an execution began, by the idempotency key of that. None: it began none."""
        asked = {"correlation": correlation, "cause": cause}
        with self._database.autocommit() as connection:
            found: UUID | None = connection.scalar(self._sql(neighbour_statements.BEGUN_BY), asked)
        return found
