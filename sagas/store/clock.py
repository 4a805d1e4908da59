"""The database's clock, as a process knows it without a query."""

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """The difference between the database's clock and this machine's, as of the last time that the database gave."""

    def __init__(self) -> None:
        self._ahead: float | None = None

    def learn(self, moment: datetime) -> None:
        """Learn the time that the database has just given."""
        self._ahead = moment.timestamp() - time.time()

    def now(self) -> datetime | None:
        """Return the database's time now; None if it never gave one."""
        return None if self._ahead is None else datetime.now(UTC) + timedelta(seconds=self._ahead)
