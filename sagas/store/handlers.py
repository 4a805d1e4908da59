"""Handlers that only fail and are paused, and alerts about dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError

from sagas.store import handler_statements
from sagas.store.book import InSchema
from sagas.store.database import is_impatient
from sagas.store.prepared import HURRY as BRIEFLY

#: How many deliveries in a row a handler gives up, with none done between, before it is paused.
DEAD_BEFORE_PAUSE = 20
#: The longest pause, in seconds; the first one is a minute, and each is twice as long as the one before.
LONGEST_PAUSE = 3600.0
#: How often an alert of one kind is given, at most.
ALARM_PAUSE = timedelta(minutes=1)
#: How far things are counted: letters that an alert tells of, instances after a page, runs of a choreography.
MOST_COUNTED = 10_000
#: How many waiting runs are made due at a time.
HURRIED_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """A kind of dead letter that an alert is about. Without a handler: events that no handler gets."""

    choreography: str
    handler: str
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """An alert: the number of letters of a kind since the former one, and the first of them."""

    alarm: Alarm
    count: int
    first: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Deaths:
    """The state of a handler after a further death."""

    in_row: int
    paused_until: datetime | None


class Handlers(InSchema):
    """Statements about handlers that fail."""

    # -- pausing

    def note_death(self, choreography: str, handler: str, error: str) -> Deaths:
        """Count a delivery that was given up. `DEAD_BEFORE_PAUSE` in a row pause the handler."""
        given = self._named(choreography, handler) | {"error": error, "most": DEAD_BEFORE_PAUSE}
        with self._database.autocommit() as connection:
            row = connection.execute(self._sql(handler_statements.NOTE_DEATH), given).one()
        return Deaths(in_row=row.dead_in_row, paused_until=row.paused_until)

    def takes_probe(self, choreography: str, handler: str) -> bool:
        """Return whether this delivery is the one that may begin after a pause."""
        given = self._named(choreography, handler) | {"longest": LONGEST_PAUSE}
        with self._database.autocommit() as connection:
            return connection.scalar(self._sql(handler_statements.TAKE_PROBE), given) is not None

    def resume(self, choreography: str, handler: str) -> datetime | None:
        """Let a handler go on. Return since when it was paused; None: it was not."""
        named = self._named(choreography, handler)
        with self._database.autocommit() as connection:
            since: datetime | None = connection.scalar(self._sql(handler_statements.RESUME), named)
        if since is not None:
            self._hurry(named)
        return since

    def hurry_if_resumed(self, choreography: str, handler: str) -> None:
        """Let what was just put off begin after all, if its handler was resumed meanwhile, which could not see it."""
        named = self._named(choreography, handler)
        with self._database.autocommit() as connection:
            is_paused = connection.scalar(self._sql(handler_statements.IS_PAUSED), named)
        if not is_paused:
            self._hurry(named)

    def paused(self, choreography: str | None = None) -> Sequence[Row[Any]]:
        """Return the paused handlers: choreography, handler, since when, until when, the type of the last error."""
        with self._database.autocommit() as connection:
            return connection.execute(self._sql(handler_statements.PAUSED), {"choreography": choreography}).all()

    def _hurry(self, handler_key: dict[str, Any]) -> None:
        """Let all deliveries of a handler begin that wait for the end of a pause."""
        while True:
            with self._database.autocommit() as connection:
                asked = handler_key | {"limit": HURRIED_AT_ONCE}
                done = connection.execute(self._sql(handler_statements.HURRY), asked).one()
            if not done.found or (not done.hurried and not self._hurry_one(handler_key)):
                return

    def _hurry_one(self, handler_key: dict[str, Any]) -> bool:
        """Wait for the lock of a run that was passed over. False: for too long, since its holder may be frozen."""
        try:
            with self._database.transaction() as connection:
                connection.exec_driver_sql(BRIEFLY)
                connection.execute(self._sql(handler_statements.HURRY_ONE), handler_key | {"limit": 1})
        except DBAPIError as error:
            if not is_impatient(error):
                raise
            return False
        return True

    # -- alerts

    def raise_alarm(self, alarm: Alarm) -> tuple[Alert | None, float]:
        """Return an alert if one is due, and for how many seconds further ones are not."""
        given = self._named(alarm.choreography, alarm.handler) | {"error": alarm.error, "pause": ALARM_PAUSE}
        with self._database.autocommit() as connection:
            row = connection.execute(self._sql(handler_statements.RAISE_ALARM), given).one()
        return (self._alert(row) if row.is_due else None), row.seconds_left

    def due_alerts(self) -> list[Alert]:
        """Return the alerts about letters that came too soon after another one; they count as told."""
        with self._database.autocommit() as connection:
            rows = connection.execute(self._sql(handler_statements.TAKE_ALARMS), {"pause": ALARM_PAUSE}).all()
        return [self._alert(row) for row in rows]

    def _alert(self, row: Row[Any]) -> Alert:
        alarm = Alarm(choreography=row.choreography, handler=row.handler, error=row.error)
        asked = self._named(alarm.choreography, alarm.handler)
        asked |= {"error": alarm.error, "since": row.former_at, "limit": MOST_COUNTED}
        with self._database.autocommit() as connection:
            found = connection.execute(self._sql(handler_statements.SINCE), asked).one()
        return Alert(alarm=alarm, count=found.n, first=found.first)

    @staticmethod
    def _named(choreography: str, handler: str) -> dict[str, Any]:
        return {"choreography": choreography, "handler": handler}
