"""The database's clock, as a process knows it without asking."""

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """How far the database's clock is from this machine's, as of the last moment that came from there."""

    def __init__(self) -> None:
        self._ahead: float | None = None

    def learn(self, moment: datetime) -> None:
        """The database has just said this."""
        self._ahead = moment.timestamp() - time.time()

    def now(self) -> datetime | None:
        """What the database would say now; None where it never said anything."""
        return None if self._ahead is None else datetime.now(UTC) + timedelta(seconds=self._ahead)
