"""The pulse of a worker whose pool is made of greenlets: a body that blocks stops all of them, the heartbeat too.

Its process is alive all the same, and so is what it runs: silent, within its time. A thread of the operating system,
which no hub schedules, says so. What runs there is listed by the heartbeat alone, once the hub is free again. Each
step is waited for until then, or until its own timeout.
"""

import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any

from sagas.engine import Engine
from sagas.store import Store

logger = logging.getLogger("sagas")

#: Gives what either library has replaced, by its module and name.
Original = Callable[[str, str], Any]


def start(engine: Engine, pool: str, is_over: Callable[[], bool]) -> None:
    """Begin to beat, until the worker is over; nothing to do for any other pool.

    Args:
        pool: the module of the worker's pool.
    """
    original = _original(pool)
    if original is None:
        return
    sleep = original("time", "sleep")
    # Of its own: what the greenlets share may be held by one of those that are stopped.
    store = Store(lambda: engine.store.database.url, engine.store.schema, engine.store.timing)

    def beat() -> None:
        failed = False
        while not is_over():
            worker_id = engine.identity.id
            try:
                if worker_id is not None:
                    store.sweeping.pulse(worker_id)
                failed = False
            except Exception as error:  # the database is away; the next one tries again
                if not failed:
                    logger.warning("pulse of a worker failed, trying again: %r", error)
                failed = True
            sleep(store.timing.heartbeat)
        store.database.dispose()

    original("_thread", "start_new_thread")(beat, ())


def _original(pool: str) -> Original | None:
    """How to get what gevent or eventlet has replaced; None for pools of other kinds."""
    if pool.endswith(".gevent"):
        found: Original = import_module("gevent.monkey").get_original
        return found
    if pool.endswith(".eventlet"):
        patcher = import_module("eventlet.patcher")
        return lambda module, name: getattr(patcher.original(module), name)
    return None
