"""The caller's open transaction, which `start` joins: SQLAlchemy's sessions and connections.

A framework has transactions of its own; `sagas.contrib` adapts them to the same protocol.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection, TextClause
from sqlalchemy.orm import Session

from sagas.engine.after_commit import after_commit_of_connection, after_commit_of_session


class JoinedConnection:
    """A transaction of a SQLAlchemy connection (see `CallersTransaction`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def savepoint(self) -> AbstractContextManager[Any]:
        return self._connection.begin_nested()

    def scalar(self, statement: TextClause, parameters: Mapping[str, Any]) -> Any:
        return self._connection.scalar(statement, parameters)

    def after_commit(self, do: Callable[[], None], committed: Callable[[], bool]) -> None:
        after_commit_of_connection(self._connection, do, committed)


class JoinedSession(JoinedConnection):
    """The transaction of a SQLAlchemy session, begun if need be."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.connection())
        self._session = session

    def after_commit(self, do: Callable[[], None], committed: Callable[[], bool]) -> None:
        after_commit_of_session(self._session, do)
