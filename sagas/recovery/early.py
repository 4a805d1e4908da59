"""Events for runs that do not exist yet: kept for as long as their choreography says, and then dead letters."""

import logging

from sagas.engine import Engine

logger = logging.getLogger("sagas")

#: How many one pass makes letters of.
BATCH = 500


def bury_early(engine: Engine) -> None:
    """Make dead letters of events whose run has not come. None is dropped: a person replays it or lets it go."""
    for event in engine.store.letters.bury_early(BATCH):
        logger.warning(
            "event %s (%s) of choreography %s waits for a run that does not come: %s, key %s",
            event.event_id,
            event.name,
            event.choreography,
            event.instance_id,
            event.run_key or "-",
            extra={"event": "dead_letter", "saga_id": str(event.instance_id), "saga": event.choreography},
        )
