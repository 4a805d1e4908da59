"""Data that bodies hand to their compensations before they return."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Label, literal_column, text

from sagas.model import Address
from sagas.store import neighbour_statements
from sagas.store.database import OUTAGE_PATIENCE, Database
from sagas.store.tables import Tables


def recorded(tables: Tables, quoted_schema: str) -> Label[Any]:
    """Return an action's records, oldest first, as a column beside those of its row."""
    statement = neighbour_statements.RECORDED.replace("{s}", quoted_schema).strip()
    return literal_column(statement, tables.record.c.data.type).label("records")


class Records:
    """Appends to and reads `saga_record`."""

    def __init__(self, database: Database, quoted_schema: str) -> None:
        self._database = database
        self._add = text(neighbour_statements.ADD_RECORD.replace("{s}", quoted_schema))
        self._read = text(neighbour_statements.RECORDS_OF.replace("{s}", quoted_schema))

    def add(self, instance_id: UUID, action: Address, token: UUID, data: str) -> bool:
        """Keep a record, whatever has become of the claim. False: the token no longer holds it."""
        values = {"instance_id": instance_id, "position": action.position, "branch": action.branch}

        def work() -> bool:
            with self._database.autocommit() as connection:
                return bool(connection.scalar(self._add, values | {"token": token, "data": data}))

        return self._database.retrying(work, OUTAGE_PATIENCE)

    def of(self, instance_id: UUID, action: Address) -> Sequence[str]:
        """Return the records of an action's executions as JSON text, oldest first."""
        values = {"instance_id": instance_id, "position": action.position, "branch": action.branch}

        def work() -> Sequence[str]:
            with self._database.autocommit() as connection:
                return connection.scalars(self._read, values).all()

        return self._database.retrying(work, OUTAGE_PATIENCE)
