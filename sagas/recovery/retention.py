"""Old sagas go: many short transactions, from the oldest on. Whoever interrupts it leaves the rest to the next."""

import logging
from datetime import timedelta

from sagas.engine import Engine
from sagas.errors import ConfigurationError
from sagas.store.purging import BEGINNING, Place

logger = logging.getLogger("sagas")

#: Sagas a transaction, without those that they have started.
BATCH = 200
LONGEST = timedelta(days=36_500)


def purge(engine: Engine, older_than: timedelta, *, keep_keys: bool = False) -> int:
    """Delete what ended well so long ago. Any number of these at once is right.

    Returns:
        How many instances it purged.

    Raises:
        ConfigurationError: the time is none, or none that makes sense.
    """
    if not isinstance(older_than, timedelta) or not timedelta(0) < older_than <= LONGEST:
        raise ConfigurationError(
            f"purge(older_than={older_than!r}): pass how long ago a saga has to have ended, as timedelta(days=30); "
            f"more than nothing, and up to {LONGEST.days} days"
        )
    purging = engine.store.purging
    before = purging.cut_off(older_than)
    count = 0
    last: Place | None = BEGINNING
    while last is not None:
        purged = purging.oldest(before, after=last, keep_keys=keep_keys, limit=BATCH)
        count, last = count + purged.count, purged.last
    while purging.forget_mail(before, BATCH) == BATCH:
        pass
    logger.info("purged %d sagas that ended before %s", count, before.isoformat(), extra={"purged": count})
    return count
