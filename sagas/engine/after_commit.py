"""Doing something once a caller's transaction is committed, and not if it rolls back.

Only a hurry hangs on it: when it is missed, the sweep sends; when it comes too early, the worker finds no row
and drops the message.
"""

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session

logger = logging.getLogger("sagas")

_WAITING = "sagas.after_commit"
#: How long a commit that was announced may take before its message is left to the sweep, in seconds.
COMMIT_TAKES = 2.0


def after_commit_of_session(session: Session, do: Callable[[], None]) -> None:
    """Run ``do`` after the outermost commit of a session's current transaction."""
    waiting: list[Callable[[], None]] | None = session.info.get(_WAITING)
    if waiting is None:
        waiting = session.info[_WAITING] = []
        event.listen(session, "after_commit", _session_committed)
        event.listen(session, "after_rollback", _session_rolled_back)
    waiting.append(do)


def _session_committed(session: Session) -> None:
    # Fires for savepoints too.
    if not session.in_nested_transaction():
        _run(session.info.get(_WAITING))


def _session_rolled_back(session: Session) -> None:
    waiting = session.info.get(_WAITING)
    if waiting and not session.in_nested_transaction():
        waiting.clear()


def after_commit_of_connection(connection: Connection, do: Callable[[], None], committed: Callable[[], bool]) -> None:
    """Run ``do`` once the connection's current transaction is committed, as ``committed`` sees from outside.

    Core announces a commit just before it is made and never after, so a thread waits for its effect.
    """

    def wait_and_run() -> None:
        gives_up_at = time.monotonic() + COMMIT_TAKES
        while not committed():
            if time.monotonic() > gives_up_at:
                return
            time.sleep(0.01)
        _run([do])

    def committing(_: Connection) -> None:
        forget()
        threading.Thread(target=wait_and_run, name="sagas-after-commit", daemon=True).start()

    def rolled_back(_: Connection) -> None:
        forget()

    def forget() -> None:
        event.remove(connection, "commit", committing)
        event.remove(connection, "rollback", rolled_back)

    event.listen(connection, "commit", committing)
    event.listen(connection, "rollback", rolled_back)


def _run(waiting: list[Callable[[], None]] | None) -> None:
    """Never raises: it would surface from the caller's own commit."""
    while waiting:
        do = waiting.pop(0)
        try:
            do()
        except Exception as error:
            logger.warning("nothing sent after the commit, the sweep will: %r", error)
