"""Child sagas and their parents, at any depth."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sagas.store import neighbour_statements
from sagas.store.database import InSchema


class Kinship(InSchema):
    """Reads the child sagas of an instance."""

    def failed_below(self, instance_id: UUID) -> Mapping[UUID, Sequence[UUID]]:
        """Return its child sagas that have failed or have a failed one below them, each with those that have failed."""
        with self._database.autocommit() as connection:
            rows = connection.execute(self._sql(neighbour_statements.FAILED_BELOW), {"id": instance_id}).all()
        return {row.child: list(row.failed) for row in rows}
