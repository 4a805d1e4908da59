"""The caller's open transaction, which `start` joins: SQLAlchemy's sessions and connections.

Frameworks have their own transactions; `sagas.contrib` adapts them to the same protocol.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, TextClause
from sqlalchemy.exc import StatementError

from sagas.engine.after_commit import after_commit_of_connection, after_commit_of_session
from sagas.errors import StartRefused
from sagas.store import CallersTransaction, has_written

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, scoped_session


class JoinedConnection:
    """A transaction of a SQLAlchemy connection (see `CallersTransaction`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def url(self) -> URL:
        """The URL of its database."""
        return self._connection.engine.url

    def savepoint(self) -> AbstractContextManager[Any]:
        return self._connection.begin_nested()

    def scalar(self, statement: TextClause, parameters: Mapping[str, Any]) -> Any:
        try:
            return self._connection.scalar(statement, parameters)
        except StatementError as error:
            error.hide_parameters = True  # our parameters may be secret, whatever the caller's engine shows
            raise

    def after_commit(self, do: Callable[[], None], committed: Callable[[], bool]) -> None:
        after_commit_of_connection(self._connection, do, committed)


class JoinedSession(JoinedConnection):
    """The transaction of a SQLAlchemy session, begun if need be."""

    def __init__(self, session: "Session") -> None:
        super().__init__(session.connection())
        self._session = session

    def after_commit(self, do: Callable[[], None], committed: Callable[[], bool]) -> None:
        after_commit_of_session(self._session, do)

    def has_changes(self) -> bool:
        """Return whether it has to be committed: the session holds changes, or its transaction has written."""
        session = self._session
        pending = session.new or session.dirty or session.deleted or session.in_nested_transaction()
        if pending or self.url.get_backend_name() != "postgresql":
            return True
        return has_written(self)


def callers_transaction(
    session: "Session | scoped_session[Any] | None", connection: "Connection | CallersTransaction | None"
) -> CallersTransaction | None:
    """Return the transaction that a caller gave, if any. Raises StartRefused if it is not one."""
    if session is not None:
        from sqlalchemy.orm import Session, scoped_session  # expensive, and not every application has sessions

        own = session() if isinstance(session, scoped_session) else session
        if not isinstance(own, Session):
            raise StartRefused(
                f"session={own!r} is not a SQLAlchemy Session; for an AsyncSession use start() of sagas.contrib.asyncio"
            )
        return JoinedSession(own)
    if isinstance(connection, Connection):
        return JoinedConnection(connection)
    if connection is not None and not hasattr(connection, "savepoint"):
        raise StartRefused(
            f"connection={connection!r} is not a SQLAlchemy Connection; for an AsyncConnection use start() of "
            "sagas.contrib.asyncio"
        )
    return connection
