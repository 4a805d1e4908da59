"""Events for runs that do not exist yet: kept for as long as their choreography says, and then dead letters."""

from sagas.engine import Alerts
from sagas.model.choreography.state import Letter
from sagas.store import Alarm, Letters

#: How many one pass makes letters of.
BATCH = 500


def bury_early(letters: Letters, alerts: Alerts) -> None:
    """Make dead letters of events whose run has not come. None is dropped: a person replays it or lets it go."""
    buried = letters.bury_early(BATCH)
    for choreography in sorted({event.choreography or "" for event in buried}):
        alerts.raise_alarm(Alarm(choreography=choreography, handler="", error=Letter.EARLY))
