"""The pulse of a worker whose pool runs greenlets: a body that blocks stops all of them, including the heartbeat.

The process is alive all the same, and so are its executions: silent, but within their time. A thread of the operating
system, which no hub schedules, says so. Only the heartbeat lists the executions, once the hub is free again; until
then, or until its own timeout, each step is waited for.
"""

import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any

from sagas.engine import WorkerIdentity
from sagas.store import Store

logger = logging.getLogger("sagas")

#: Returns the original of a function that either library replaced, by its module and name.
Original = Callable[[str, str], Any]


def start(identity: WorkerIdentity, shared: Store, pool: str, is_over: Callable[[], bool]) -> None:
    """Heartbeat until the worker is over; do nothing for any other pool.

    Args:
        shared: the worker's store.
        pool: the module of the worker's pool.
    """
    original = _original(pool)
    if original is None:
        return
    sleep = original("time", "sleep")
    # Its own store: a greenlet that is stopped may hold shared objects.
    store = Store(lambda: shared.database.url, shared.schema, shared.timing)

    def beat() -> None:
        failed = False
        while not is_over():
            worker_id = identity.id
            try:
                if worker_id is not None:
                    store.sweeping.pulse(worker_id)
                failed = False
            except Exception as error:  # the database is away; the next beat tries again
                if not failed:
                    logger.warning("pulse of a worker failed, trying again: %r", error)
                failed = True
            sleep(store.timing.heartbeat)
        store.database.dispose()

    original("_thread", "start_new_thread")(beat, ())


def _original(pool: str) -> Original | None:
    """Return how to get the originals that gevent or eventlet replaced; None for other pools."""
    if pool.endswith(".gevent"):
        found: Original = import_module("gevent.monkey").get_original
        return found
    if pool.endswith(".eventlet"):
        patcher = import_module("eventlet.patcher")
        return lambda module, name: getattr(patcher.original(module), name)
    return None
