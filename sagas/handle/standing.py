"""`Sagas.standing`: how each choreography stands."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from sagas.store import MOST_COUNTED, Handlers, Standings

#: From how many events on a run is long: it is a business transaction, and not a log.
MANY_EVENTS = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class PausedHandler:
    """A handler that gave up many deliveries in a row. Its deliveries wait; one is tried once the pause is over."""

    handler: str
    since: datetime
    until: datetime
    error: str  # the type of the last error


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How one choreography stands. Each count goes up to 10,000."""

    choreography: str
    quiet: int  # runs that stand still
    dead_letters: int
    oldest_letter: datetime | None
    held: int  # deliveries that wait for an earlier one of their handler and run
    oldest_held: datetime | None  # since when the oldest of them waits
    long_runs: int  # runs in flight with 1,000 events or more
    paused: tuple[PausedHandler, ...] = ()  # its handlers that only fail


def standings(stored: Standings, handlers: Handlers) -> list[Standing]:
    """Return how each registered choreography stands."""
    paused = handlers.paused()
    rows = stored.read(most=MOST_COUNTED, many_events=MANY_EVENTS)
    return [
        Standing(**row._mapping, paused=tuple(_paused(it) for it in paused if it.choreography == row.choreography))
        for row in rows
    ]


def _paused(row: Row[Any]) -> PausedHandler:
    return PausedHandler(handler=row.handler, since=row.paused_at, until=row.paused_until, error=row.last_error or "")
