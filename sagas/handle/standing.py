"""`Sagas.standings`: how each choreography stands."""

from dataclasses import dataclass
from datetime import datetime

from sagas.engine import Engine

#: How far things are counted.
MOST_COUNTED = 10_000
#: From how many events on a run is long: it is a business transaction, and not a log.
MANY_EVENTS = 1_000


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


def standings(engine: Engine) -> list[Standing]:
    """Return how each registered choreography stands."""
    return [Standing(**row._mapping) for row in engine.store.standings.read(most=MOST_COUNTED, many_events=MANY_EVENTS)]
