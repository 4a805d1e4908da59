"""How choreographies stand: what is quiet, dead, held, or grows too long."""

from typing import Any

from sqlalchemy import Row

from sagas.store import standing_statements
from sagas.store.book import InSchema


class Standings(InSchema):
    """Counts what a person should see of choreographies."""

    def read(self, *, most: int, many_events: int) -> list[Row[Any]]:
        """Return a row for each registered choreography.

        Args:
            most: how far to count.
            many_events: the number of events from which on a run is long.
        """
        with self._database.autocommit() as connection:
            asked = {"most": most, "many_events": many_events}
            return list(connection.execute(self._sql(standing_statements.STANDING), asked))
