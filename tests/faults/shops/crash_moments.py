"""Deaths by SIGKILL, at four moments of one order: loaded into a shop's web process by `watched`.

The request that shall be the last one names the moment and the order in its header `X-Dies`, as in
`after-commit order-7`. Neither the library nor the shops know of this: it hangs on Django's and SQLAlchemy's commits,
and on the socket to the broker.
"""

import os
import signal
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from redis.connection import AbstractConnection
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine.default import DefaultDialect

HEADER = "X-Dies"
BEFORE_COMMIT = "before-commit"
AFTER_COMMIT = "after-commit"
#: Half of the bytes are in the broker's socket.
WITHIN_MESSAGE = "within-message"
#: The broker has answered that it has the message, and nobody has heard of it.
AFTER_MESSAGE = "after-message"

#: Whether this transaction holds the order's row and the saga's.
BOTH_ROWS = (
    "SELECT saga.id::text FROM shop_order placed JOIN sagas.saga_instance saga ON saga.key = placed.id "
    "WHERE placed.id = {id}"
)


@dataclass
class Crash:
    """What the current request brings about."""

    moment: str
    order_id: str
    commits: bool = False  # the commit that is under way is the one


current_crash: ContextVar[Crash | None] = ContextVar("current_crash", default=None)
#: The sagas whose message is the end, and when. Messages travel in another thread than their request.
sagas_to_crash: dict[str, str] = {}


def announce(header: str | None) -> None:
    """At the beginning of each request."""
    current_crash.set(Crash(*header.split()) if header else None)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def commit_begins(ask: Callable[[str], str | None]) -> None:
    """Right before a COMMIT. `ask` gives the id of the order's saga, if both are in this transaction."""
    mine = current_crash.get()
    saga_id = ask(mine.order_id) if mine else None
    if mine is None or saga_id is None:
        return
    if mine.moment == BEFORE_COMMIT:
        die()
    mine.commits = mine.moment == AFTER_COMMIT
    sagas_to_crash[saga_id] = mine.moment


def commit_ended() -> None:
    """The COMMIT has returned, and nobody else knows."""
    mine = current_crash.get()
    if mine is not None and mine.commits:
        die()


# -- Django: its `commit()` is this and, later, what was to be done on commit.

_django_commit = BaseDatabaseWrapper._commit


def django_commit(self: BaseDatabaseWrapper) -> Any:
    def ask(order_id: str) -> str | None:
        with self.cursor() as cursor:
            cursor.execute(BOTH_ROWS.format(id="%s"), [order_id])
            row = cursor.fetchone()
        return row[0] if row else None

    commit_begins(ask)
    _django_commit(self)
    commit_ended()


# -- SQLAlchemy: an event just before, of every engine; the dialect's method is the COMMIT itself.


def sqlalchemy_commits(connection: Connection) -> None:
    commit_begins(lambda order_id: connection.scalar(text(BOTH_ROWS.format(id=":id")), {"id": order_id}))


_do_commit = DefaultDialect.do_commit


def do_commit(self: DefaultDialect, connection: Any) -> None:
    _do_commit(self, connection)
    commit_ended()


# -- The broker's socket.

_send = AbstractConnection.send_packed_command
_receive = AbstractConnection.read_response


def send(self: Any, command: Any, check_health: bool = True) -> None:
    message = b"".join(part if isinstance(part, bytes) else part.encode() for part in command)
    moment = next((moment for saga_id, moment in sagas_to_crash.items() if saga_id.encode() in message), None)
    if moment == WITHIN_MESSAGE:
        if not self._sock:
            self.connect()
        self._sock.sendall(message[: len(message) // 2])
        die()
    _send(self, command, check_health)
    self.is_last = moment == AFTER_MESSAGE


def receive(self: Any, *arguments: Any, **options: Any) -> Any:
    answer = _receive(self, *arguments, **options)
    if getattr(self, "is_last", False):
        die()
    return answer


def install() -> None:
    BaseDatabaseWrapper._commit = django_commit
    event.listen(Engine, "commit", sqlalchemy_commits)
    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]
    AbstractConnection.send_packed_command = send
    AbstractConnection.read_response = receive
