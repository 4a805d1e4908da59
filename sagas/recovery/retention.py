"""Purge old sagas in many short transactions, oldest first. An interrupted purge leaves the rest to the next one."""

import logging
from datetime import timedelta

from sagas.errors import ConfigurationError
from sagas.store import Purging
from sagas.store.purging import BEGINNING, PurgeCursor

logger = logging.getLogger("sagas")

#: Sagas per transaction, not counting those that they started.
BATCH = 200
LONGEST = timedelta(days=36_500)


def purge(purging: Purging, older_than: timedelta, *, keep_keys: bool = False) -> int:
    """Delete sagas that ended well longer ago than this. Any number of purges may run at once.

    Returns:
        How many instances it purged.

    Raises:
        ConfigurationError: ``older_than`` is not a positive timedelta, or is too long.
    """
    if not isinstance(older_than, timedelta) or not timedelta(0) < older_than <= LONGEST:
        raise ConfigurationError(
            f"purge(older_than={older_than!r}): pass how long ago a saga must have ended, as timedelta(days=30); "
            f"more than nothing, and up to {LONGEST.days} days"
        )
    before = purging.cut_off(older_than)
    count = 0
    last: PurgeCursor | None = BEGINNING
    while last is not None:
        purged = purging.oldest(before, after=last, keep_keys=keep_keys, limit=BATCH)
        count, last = count + purged.count, purged.last
    for forget in (purging.forget_mail, purging.forget_imports):
        while forget(before, BATCH) == BATCH:
            pass
    logger.info("purged %d sagas that ended before %s", count, before.isoformat(), extra={"purged": count})
    return count
