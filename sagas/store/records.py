"""Data that bodies hand to their compensations before they return."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Label, literal_column

from sagas.model import Address
from sagas.store import neighbour_statements
from sagas.store.book import InSchema, StatementBook
from sagas.store.database import OUTAGE_PATIENCE
from sagas.store.tables import Tables


def recorded(tables: Tables, book: StatementBook) -> Label[Any]:
    """Return an action's records, oldest first, as a column beside those of its row."""
    statement = book.written(neighbour_statements.RECORDED).strip()
    return literal_column(statement, tables.record.c.data.type).label("records")


class Records(InSchema):
    """Appends to and reads `saga_record`."""

    def add(self, instance_id: UUID, action: Address, token: UUID, data: str) -> bool:
        """Keep a record, whatever has become of the claim. False: the token no longer holds it."""
        place = {"instance_id": instance_id, "position": action.position, "branch": action.branch}
        record = place | {"token": token, "data": data}

        def work() -> bool:
            with self._database.autocommit() as connection:
                return bool(connection.scalar(self._sql(neighbour_statements.ADD_RECORD), record))

        return self._database.retrying(work, OUTAGE_PATIENCE)

    def of(self, instance_id: UUID, action: Address) -> Sequence[str]:
        """Return the records of an action's executions as JSON text, oldest first."""
        values = {"instance_id": instance_id, "position": action.position, "branch": action.branch}

        def work() -> Sequence[str]:
            with self._database.autocommit() as connection:
                return connection.scalars(self._sql(neighbour_statements.RECORDS_OF), values).all()

        return self._database.retrying(work, OUTAGE_PATIENCE)
