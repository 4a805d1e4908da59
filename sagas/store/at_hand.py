"""The connection of the hot path, which stays at hand between two statements."""

import os
import select
import threading
from typing import Any

from sqlalchemy import Engine, NullPool, PoolProxiedConnection


class ConnectionAtHand:
    """Keeps the connection of the main thread's last statement, until that thread asks for another connection.

    To take a connection out of its pool and put it back costs as much CPU as to send a statement. Processes of a
    prefork pool run their steps in the main thread. Other threads are many, or short-lived, and share the pool.
    """

    def __init__(self) -> None:
        # A list, since its `append` and `pop` cannot be torn by a signal or another thread.
        self._kept: list[tuple[int, Engine, PoolProxiedConnection]] = []

    def keep(self, engine: Engine, connection: PoolProxiedConnection) -> None:
        """Keep it for the next statement, or put it back where it cannot be kept."""
        if _is_main_thread() and not isinstance(engine.pool, NullPool):
            self._kept.append((os.getpid(), engine, connection))
        else:
            connection.close()

    def take(self, engine: Engine) -> PoolProxiedConnection | None:
        """Return the connection; None if there is none, or it is of another engine or seems lost."""
        if not _is_main_thread():
            return None
        try:
            kept = self._kept.pop()
        except IndexError:
            return None
        _, of_engine, connection = kept
        if of_engine is engine and not seems_lost(connection.dbapi_connection):
            return connection
        self._kept.append(kept)
        self.put_back()  # the pool pings it, and knows what to do if it is lost
        return None

    def put_back(self) -> None:
        """Give the connection back to its pool."""
        while self._kept:
            pid, _, connection = self._kept.pop()
            if pid == os.getpid():  # a forked child never touches its parent's connections
                connection.close()


def seems_lost(connection: Any) -> bool:
    """Return whether the end of a connection was announced, by the server or (see `CONNECT`) by the kernel.

    A ping would cost a round trip for each statement. A socket with nothing to read belongs to an open connection.
    """
    return connection.closed or _has_something_to_read(connection)


def _has_something_to_read(connection: Any) -> bool:
    try:
        return bool(select.select([connection], [], [], 0)[0])
    except ValueError:  # select() cannot handle file descriptors from 1024 on
        return True


def _is_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident
