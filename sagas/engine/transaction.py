"""A step's own transaction: its database effect commits together with its completion, or not at all."""

import threading
from typing import Any, NoReturn

from sqlalchemy import Connection
from sqlalchemy.exc import InvalidRequestError, SQLAlchemyError

from sagas.errors import SagaError
from sagas.store import Database

#: Not `invalidate`: SQLAlchemy calls it itself when the connection is lost.
_OURS = ("commit", "rollback", "close", "detach")


class RolledBack(InvalidRequestError):
    """A step's transaction is over, and did not contain its completion."""

    def __init__(
        self, message: str = "the step's transaction was rolled back, and a time limit struck before that was recorded"
    ) -> None:
        super().__init__(message)  # pickling passes a message, too


class StepTransaction:
    """A transaction opened at first use on a separate connection, since an open one holds back vacuum on hot tables."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None
        self.was_used = False
        self.is_committed = False
        self._lent_to: int | None = None
        self._lending = threading.Lock()

    def lend(self) -> Connection:
        """Return the connection, for the body: it serves only the first thread that asks."""
        with self._lending:
            if self._lent_to is None:
                self._lent_to = threading.get_ident()
            if self._lent_to != threading.get_ident():
                raise SagaError(
                    "current_step.connection serves one thread, and another one of this step has it: write there, or "
                    "use connections of your own in the others"
                )
            return self.connection

    @property
    def is_rolled_back(self) -> bool:
        """Whether it is over without a known commit: nothing that was written there can be relied on."""
        return self.was_used and not self.is_open and not self.is_committed

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            connection = self._database.connect().execution_options(isolation_level="READ COMMITTED")
            connection.begin()
            for method in _OURS:
                setattr(connection, method, _refusal(method))
            self._connection = connection
            self.was_used = True
        return self._connection

    def commit(self) -> None:
        """Commit and close. Raises the driver's error if the outcome is unknown."""
        connection = self.connection
        try:
            Connection.commit(connection)
            self.is_committed = True
        except BaseException:
            # A time limit may have been raised before it was sent. SQLAlchemy then still considers the transaction
            # over, and keeps its connection, with its locks.
            connection.invalidate()
            raise
        finally:
            self._close()

    def rollback(self) -> None:
        """Roll back and close, if it was opened at all."""
        if self._connection is not None:
            self._close()

    def _close(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            for method in _OURS:
                delattr(connection, method)
            connection.close()
        except BaseException as error:
            # A time limit was raised in here, and its traceback would keep the connection open, with locks that we may
            # be about to wait for. Or it was raised in the driver before, which refuses everything since.
            if not connection.closed:
                connection.invalidate()
            if not isinstance(error, SQLAlchemyError | self._database.engine.dialect.loaded_dbapi.Error):
                raise
        finally:
            self._connection = None


def _refusal(method: str) -> Any:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise SagaError(
            f"current_step.connection.{method}() is not yours to call: it commits together with the step's completion. "
            "Use begin_nested() for a savepoint, or a connection of your own"
        )

    return refuse
