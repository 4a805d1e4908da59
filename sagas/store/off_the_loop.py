"""Run our own blocking statements in the middle of a caller's async session."""

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

T = TypeVar("T")

#: SQLAlchemy 2.1 prepares `in_greenlet` at its first call, and that of a second thread meanwhile raises RecursionError.
_asking = threading.Lock()


def blocking(work: Callable[[], T]) -> T:
    """Run ``work``, which blocks on a connection of our own.

    In an async session's ``run_sync`` it would block the whole event loop; there it runs in a thread, and only its
    caller waits.
    """
    # SQLAlchemy runs async sessions in greenlets; without that package there are none.
    if "greenlet" in sys.modules and is_in_greenlet():
        return await_only(asyncio.to_thread(work))
    return work()


def is_in_greenlet() -> bool:
    with _asking:
        return in_greenlet()
