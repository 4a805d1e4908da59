"""Run our own blocking statements in the middle of a caller's async session."""

import asyncio
import sys
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

T = TypeVar("T")


def blocking(work: Callable[[], T]) -> T:
    """Run ``work``, which blocks on a connection of our own.

    In an async session's ``run_sync`` it would block the whole event loop; there it runs in a thread, and only its
    caller waits.
    """
    # SQLAlchemy runs async sessions in greenlets; without that package there are none.
    if "greenlet" in sys.modules and in_greenlet():
        return await_only(asyncio.to_thread(work))
    return work()
