"""Alerts about dead letters: at once, and then one a minute for each choreography, handler and type of error.

Ten thousand letters in a minute are ten thousand rows, and one alert. A handler that only fails is paused.
"""

import logging
import time
from collections.abc import Iterable
from datetime import UTC

from sagas.model import Note
from sagas.model.vocabulary import HistoryEvent
from sagas.signals import dead_letters_found, handler_paused
from sagas.store import Alarm, Alert, Handlers
from sagas.store.handlers import DEAD_BEFORE_PAUSE

logger = logging.getLogger("sagas")

#: Letters are reported again from this many seconds before the next alert is due, so that none falls between two.
EARLY = 5.0


class Alerts:
    """Reports dead letters, after the commit that made them."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._silent_until: dict[Alarm, float] = {}

    def tell(self, choreography: str, notes: Iterable[Note]) -> None:
        """Report the letters among the entries of a history. Never raises: the letters are listed all the same."""
        for note in notes:
            try:
                if note.event is HistoryEvent.DEAD_LETTER:
                    self._tell_of_death(choreography, note)
                elif note.event is HistoryEvent.EVENT_UNDELIVERED:
                    self.raise_alarm(Alarm(choreography=choreography, handler="", error=note.detail["reason"]))
            except Exception as error:  # what was committed stays committed
                logger.warning("a dead letter of %s was not announced: %r", choreography, error)

    def raise_alarm(self, alarm: Alarm) -> None:
        """Report letters of one kind, unless that was done just now: then the sweep does."""
        if time.monotonic() < self._silent_until.get(alarm, 0.0):
            return
        alert, seconds_left = self._handlers.raise_alarm(alarm)
        if alert is None:
            self._silent_until[alarm] = time.monotonic() + seconds_left - EARLY
        else:
            announce(alert)

    def _tell_of_death(self, choreography: str, note: Note) -> None:
        handler, error = note.step or "", str(note.detail.get("type", ""))
        is_action = note.address is not None and note.address.is_action
        if is_action and not note.detail.get("parked"):
            deaths = self._handlers.note_death(choreography, handler, error)
            if deaths.in_row == DEAD_BEFORE_PAUSE and deaths.paused_until is not None:
                until = f"{deaths.paused_until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
                logger.error(
                    "handler %s/%s is paused: it gave up %d deliveries in a row, the last one for %s. Its deliveries "
                    "wait; one is tried at %s. `sagas dead resume` lets it go on at once",
                    *(choreography, handler, deaths.in_row, error, until),
                    extra={"event": "handler_paused", "saga": choreography, "step": handler},
                )
                handler_error = {"choreography": choreography, "handler": handler, "error": error}
                handler_paused.send(sender=None, **handler_error, until=deaths.paused_until)
        self.raise_alarm(Alarm(choreography=choreography, handler=handler, error=error))


def announce(alert: Alert) -> None:
    """Log an alert and announce it to the receivers of the signal, unless its letters have been answered since."""
    if not alert.count:
        return
    alarm = alert.alarm
    what = f"{alarm.choreography}/{alarm.handler}" if alarm.handler else alarm.choreography
    summary = f"{alert.count} dead letter{'' if alert.count == 1 else 's'} of {what}: {alarm.error}"
    extra = {"event": "dead_letters_found", "saga": alarm.choreography, "step": alarm.handler or None}
    logger.error("%s; the first is %s (sagas dead list)", summary, alert.first, extra=extra)
    dead_letters_found.send(
        sender=None,
        choreography=alarm.choreography,
        handler=alarm.handler or None,
        error=alarm.error,
        count=alert.count,
        first=alert.first,
    )
