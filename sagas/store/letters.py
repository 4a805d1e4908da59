"""Read dead letters, and acknowledge events that no handler gets."""

import json
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from sagas.model import Address
from sagas.store import letter_statements
from sagas.store.book import InSchema
from sagas.store.loop_statements import LOCK_INSTANCE

#: The filters of letters. One that is left out, or None, does not filter.
FILTERS = ("choreography", "handler", "error", "older_than", "run", "number", "event")


class Letters(InSchema):
    """Statements about dead letters."""

    def dead(self, *, limit: int, **filters: Any) -> list[Row[Any]]:
        """Return deliveries that were given up, the oldest first."""
        with self._database.autocommit() as connection:
            return list(connection.execute(self._sql(letter_statements.DEAD), _all(filters) | {"limit": limit}))

    def undelivered(self, *, limit: int, **filters: Any) -> list[Row[Any]]:
        """Return events that no handler gets, the oldest first."""
        with self._database.autocommit() as connection:
            return list(connection.execute(self._sql(letter_statements.UNDELIVERED), _all(filters) | {"limit": limit}))

    def count_dead(self, *, most: int, **filters: Any) -> int:
        """Count deliveries that were given up, up to ``most``."""
        return self._count(letter_statements.COUNT_DEAD, filters | {"limit": most})

    def count_undelivered(self, *, most: int, **filters: Any) -> int:
        """Count events that no handler gets, up to ``most``."""
        return self._count(letter_statements.COUNT_UNDELIVERED, filters | {"limit": most})

    def _count(self, statement: str, filters: dict[str, Any]) -> int:
        with self._database.autocommit() as connection:
            return int(connection.scalar(self._sql(statement), _all(filters)))

    def stored(self, run: UUID, delivery: Address) -> Row[Any] | None:
        """Return what a delivery gets, as it is stored; None: there is no such delivery."""
        asked = {"run": run, "position": delivery.position, "branch": delivery.branch}
        with self._database.autocommit() as connection:
            return connection.execute(self._sql(letter_statements.STORED), asked).one_or_none()

    def bury_early(self, limit: int) -> list[Row[Any]]:
        """Make letters of events that have waited long enough for a run that does not exist. Return them."""
        with self._database.autocommit() as connection:
            return list(connection.execute(self._sql(letter_statements.BURY_EARLY), {"limit": limit}))

    def deliver_early(self, run: UUID, event: UUID, detail: dict[str, Any]) -> tuple[bool, bool]:
        """Let an early event wait for its number. Return whether it does, and whether its run exists."""
        given = {"run": run, "event": event, "detail": json.dumps(detail)}
        with self._database.autocommit() as connection:
            row = connection.execute(self._sql(letter_statements.DELIVER_EARLY), given).one()
        return row.is_delivered, row.has_run

    def acknowledge(self, run: UUID, event: UUID, detail: dict[str, Any]) -> bool:
        """Note that a person has looked at an event. False: it is not there, or another person has.

        The run's lock comes first, since another person may have the event delivered just now.
        """
        given = {"run": run, "event": event, "detail": json.dumps(detail)}
        with self._database.transaction() as connection:
            connection.execute(self._sql(LOCK_INSTANCE), {"id": run})
            return connection.scalar(self._sql(letter_statements.ACKNOWLEDGE), given) is not None


def _all(filters: dict[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(FILTERS) | filters
