"""Run a function once a caller's transaction is committed, and not if it rolls back.

This only saves time: if it is missed, the sweep sends; if it comes too early, the worker finds no row and drops the
message.
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

if TYPE_CHECKING:  # the import is expensive, and a caller with a session has made it
    from sqlalchemy.orm import Session, SessionTransaction

logger = logging.getLogger("sagas")

#: How long an announced commit may take before its message is left to the sweep, in seconds.
COMMIT_TAKES = 2.0

#: Functions waiting for the end of a session's transaction, each with its transaction or savepoint.
_of_sessions: "WeakKeyDictionary[Session, list[tuple[SessionTransaction | None, Callable[[], None]]]]"
_of_sessions = WeakKeyDictionary()
#: Functions waiting for the commit of a connection's transaction, each with a way to see the commit from outside.
_of_connections: WeakKeyDictionary[Connection, list[tuple[Callable[[], bool], Callable[[], None]]]]
_of_connections = WeakKeyDictionary()
#: Work that commits started in other threads; each event is set when it is done.
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
    # Before the event of the transaction's end, which would look like that of a session that is merely closed.
    if not session.in_nested_transaction():
        _of_sessions[session].clear()


def _session_rolled_back(session: "Session", rolled_back: "SessionTransaction") -> None:
    waiting = _of_sessions[session]
    waiting[:] = [entry for entry in waiting if not _is_within(entry[0], rolled_back)]


def _session_ended(session: "Session", ended: "SessionTransaction") -> None:
    # Closing a session ends its transaction without a rollback event.
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
    """Run ``do`` once the connection's current transaction is committed, which ``committed`` checks from outside.

    Core announces a commit just before it is made and never afterwards, so a thread waits for its effect.
    """
    if connection not in _of_connections:
        _of_connections[connection] = []
        # Never removed: a listener that removed itself would do so while the listeners are being called.
        event.listen(connection, "commit", _connection_commits)
        event.listen(connection, "rollback", _connection_rolled_back)
    _of_connections[connection].append((committed, _in_this_context(do)))


def _in_this_context(do: Callable[[], None]) -> Callable[[], None]:
    """Bind ``do`` to the current context: it may run in another thread, after the caller's context has ended."""
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
    """Wait for the commits. A start in a savepoint that was rolled back is never seen, and given up."""
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
    """Run ``do`` and never raise, which would surface from the caller's own commit. Never blocks an event loop."""
    try:
        asyncio.get_running_loop().run_in_executor(None, _noted(partial(_run_here, do)))
    except RuntimeError:  # no loop runs here, or it is closing
        _run_here(do)


def _run_here(do: Callable[[], None]) -> None:
    try:
        do()
    except Exception as error:
        logger.warning("nothing sent after the commit, the sweep will: %r", error)


def _noted(do: Callable[[], None]) -> Callable[[], None]:
    """Count ``do`` as under way from now until it is done."""
    done = threading.Event()
    _under_way.add(done)

    def run() -> None:
        try:
            do()
        finally:
            done.set()

    return run


def until_sent() -> None:
    """Wait for the work that commits started in other threads: for tests, whose block ends with all of it."""
    for done in list(_under_way):
        done.wait(COMMIT_TAKES)
