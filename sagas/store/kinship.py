"""Who has started whom: child sagas and their parents, at any depth."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sagas.store import neighbour_statements
from sagas.store.database import InSchema


class Kinship(InSchema):
    """What lies below an instance."""

    def failed_below(self, instance_id: UUID) -> Mapping[UUID, Sequence[UUID]]:
        """Its child sagas that are failed, or have one that is below them; with those that are."""
        with self._database.autocommit() as connection:
            rows = connection.execute(self._sql(neighbour_statements.FAILED_BELOW), {"id": instance_id}).all()
        return {row.child: list(row.failed) for row in rows}
