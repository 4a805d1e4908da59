"""Doing something once a caller's transaction is committed, and not if it rolls back.

Only a hurry hangs on it: when it is missed, the sweep sends; when it comes too early, the worker finds no row
and drops the message.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection, event

if TYPE_CHECKING:  # importing it costs much, and who has a session has done so
    from sqlalchemy.orm import Session, SessionTransaction

logger = logging.getLogger("sagas")

#: How long a commit that was announced may take before its message is left to the sweep, in seconds.
COMMIT_TAKES = 2.0

#: What waits for the end of a session's transaction, each with the transaction or savepoint that it belongs to.
_of_sessions: "WeakKeyDictionary[Session, list[tuple[SessionTransaction | None, Callable[[], None]]]]"
_of_sessions = WeakKeyDictionary()
#: What waits for the commit of a connection's transaction, each with how to see from outside that it happened.
_of_connections: WeakKeyDictionary[Connection, list[tuple[Callable[[], bool], Callable[[], None]]]]
_of_connections = WeakKeyDictionary()
#: What commits have set going in other threads; each is set when it is done.
_under_way: WeakSet[threading.Event] = WeakSet()


def after_commit_of_session(session: "Session", do: Callable[[], None]) -> None:
    """Run ``do`` after the outermost commit of a session's current transaction."""
    if session not in _of_sessions:
        _of_sessions[session] = []
        event.listen(session, "after_commit", _session_committed)
        event.listen(session, "after_rollback", _session_rolls_back)
        event.listen(session, "after_soft_rollback", _session_rolled_back)
        event.listen(session, "after_transaction_end", _session_ended)
    belongs_to = session.get_nested_transaction() or session.get_transaction()
    _of_sessions[session].append((belongs_to, _in_this_context(do)))


def _session_committed(session: "Session") -> None:
    # Fires for savepoints too.
    if not session.in_nested_transaction():
        waiting = _of_sessions[session]
        while waiting:
            _run(waiting.pop(0)[1])


def _session_rolls_back(session: "Session") -> None:
    # Before the transaction's end is heard of, which would look like that of a session that is merely closed.
    if not session.in_nested_transaction():
        _of_sessions[session].clear()


def _session_rolled_back(session: "Session", rolled_back: "SessionTransaction") -> None:
    waiting = _of_sessions[session]
    waiting[:] = [entry for entry in waiting if not _is_within(entry[0], rolled_back)]


def _session_ended(session: "Session", ended: "SessionTransaction") -> None:
    # Closing a session ends its transaction without a rollback that anybody hears of.
    if ended.parent is None and _of_sessions[session]:
        _of_sessions[session].clear()
        logger.warning(
            "a saga was started in a session that was closed without a commit: nothing was started. Commit the session "
            "after start()"
        )


def _is_within(transaction: "SessionTransaction | None", outer: "SessionTransaction") -> bool:
    while transaction is not None:
        if transaction is outer:
            return True
        transaction = transaction.parent
    return False


def after_commit_of_connection(connection: Connection, do: Callable[[], None], committed: Callable[[], bool]) -> None:
    """Run ``do`` once the connection's current transaction is committed, as ``committed`` sees from outside.

    Core announces a commit just before it is made and never after, so a thread waits for its effect.
    """
    if connection not in _of_connections:
        _of_connections[connection] = []
        # For good: a listener that removed itself would do so while the listeners are being called.
        event.listen(connection, "commit", _connection_commits)
        event.listen(connection, "rollback", _connection_rolled_back)
    _of_connections[connection].append((committed, _in_this_context(do)))


def _in_this_context(do: Callable[[], None]) -> Callable[[], None]:
    """It may be done in another thread, and when the caller's context is over."""
    return partial(copy_context().run, do)


def _connection_commits(connection: Connection) -> None:
    announced = list(_of_connections[connection])
    _of_connections[connection].clear()
    if announced:
        waiting = _noted(partial(_wait_and_run, announced))
        _run(threading.Thread(target=waiting, name="sagas-after-commit", daemon=True).start)


def _connection_rolled_back(connection: Connection) -> None:
    _of_connections[connection].clear()


def _wait_and_run(announced: list[tuple[Callable[[], bool], Callable[[], None]]]) -> None:
    """What belongs to a savepoint that was rolled back is never seen, and given up."""
    gives_up_at = time.monotonic() + COMMIT_TAKES
    while announced and time.monotonic() < gives_up_at:
        try:
            seen = [entry for entry in announced if entry[0]()]
        except Exception as error:
            logger.warning("a commit could not be seen, the sweep will send: %r", error)
            return
        for entry in seen:
            announced.remove(entry)
            _run(entry[1])
        time.sleep(0.01)


def _run(do: Callable[[], None]) -> None:
    """Never raises: it would surface from the caller's own commit. Never holds up an event loop."""
    try:
        asyncio.get_running_loop().run_in_executor(None, _noted(partial(_run_here, do)))
    except RuntimeError:  # none runs here, or it is closing
        _run_here(do)


def _run_here(do: Callable[[], None]) -> None:
    try:
        do()
    except Exception as error:
        logger.warning("nothing sent after the commit, the sweep will: %r", error)


def _noted(do: Callable[[], None]) -> Callable[[], None]:
    """Counts as under way from now until it has been done."""
    done = threading.Event()
    _under_way.add(done)

    def run() -> None:
        try:
            do()
        finally:
            done.set()

    return run


def until_sent() -> None:
    """Wait for what commits have set going in other threads: for tests, whose block ends with all of it."""
    for done in list(_under_way):
        done.wait(COMMIT_TAKES)
