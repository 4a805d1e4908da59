"""Connections: one engine per process, made when needed, and retries of what PostgreSQL asks to retry."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, NullPool, PoolProxiedConnection, create_engine, event
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, OperationalError, ProgrammingError

from sagas.errors import ConfigurationError, DatabaseUnreachable, SagaError, SchemaMissing
from sagas.store.at_hand import ConnectionAtHand, seems_lost
from sagas.store.url import DatabaseUrl, driver_of, normalise_url

T = TypeVar("T")

#: Conflicts that running the same transaction again cures.
SERIALIZATION_FAILURE, DEADLOCK_DETECTED = "40001", "40P01"
#: A prepared statement is missing, exists already, or no longer fits its tables. Nothing was done, and running the same
#: transaction again cures it too (see `Prepared`).
INVALID_STATEMENT_NAME, DUPLICATE_STATEMENT, FEATURE_NOT_SUPPORTED = "26000", "42P05", "0A000"
NOT_KEPT = (INVALID_STATEMENT_NAME, DUPLICATE_STATEMENT, FEATURE_NOT_SUPPORTED)
INSUFFICIENT_PRIVILEGE = "42501"
NO_TRANSACTION = "25P01"
LOCK_NOT_AVAILABLE, QUERY_CANCELED = "55P03", "57014"
UNDEFINED_TABLE, UNDEFINED_COLUMN, INVALID_SCHEMA = "42P01", "42703", "3F000"
CONFLICT_TRIES = 10
#: Transactions are begun and ended by statements, on connections in autocommit: to take a connection out of autocommit
#: and put it back costs round trips of its own.
BEGIN, COMMIT, ROLLBACK = "BEGIN ISOLATION LEVEL READ COMMITTED", "COMMIT", "ROLLBACK"
#: A network that swallows packets must be noticed in seconds, not in the kernel's quarter of an hour: a worker whose
#: heartbeats do not arrive is declared dead, and has to learn of it.
CONNECT: dict[str, Any] = {
    "application_name": "sagas",
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}
#: The state of a connection without an open transaction, as libpq counts them.
IDLE = 0
#: How long a worker waits for a database that is away, in seconds, before it leaves the step to the sweep.
OUTAGE_PATIENCE = 30.0


class Database:
    """The engine of this process. A forked child makes its own and never touches its parent's connections."""

    def __init__(self, url: DatabaseUrl) -> None:
        self._given_url = url
        self._normalised: tuple[str | URL, URL] | None = None
        if not callable(url):
            self._normalised = url, normalise_url(url)
        #: Whether error messages omit statement parameters, which may contain secrets.
        self.hides_parameters = False
        #: Whether connections are pooled. Tests turn this off so that their database can be dropped.
        self.keeps_connections: Callable[[], bool] = lambda: True
        self._engine: Engine | None = None
        self._pid: int | None = None
        self._lock = threading.Lock()
        self._at_hand = ConnectionAtHand()

    @property
    def url(self) -> URL:
        given = self._given_url() if callable(self._given_url) else self._given_url
        # It is asked for at each statement, and both to compare and to normalise a URL is dear.
        if self._normalised is None or (given is not self._normalised[0] and given != self._normalised[0]):
            self._normalised = given, normalise_url(given)
        return self._normalised[1]

    @property
    def engine(self) -> Engine:
        url = self.url
        engine = self._engine
        if engine is not None and self._pid == os.getpid() and (engine.url is url or engine.url == url):
            return engine
        # A lock that was held at the moment of the fork would stay locked in the child.
        if self._pid not in (None, os.getpid()):
            self._lock = threading.Lock()
        with self._lock:
            engine = self._engine
            if engine is None or self._pid != os.getpid() or engine.url != url:
                if engine is not None:
                    self._at_hand.put_back()
                    engine.dispose(close=self._pid == os.getpid())
                # Unlimited overflow: as many connections as threads, so that a step cannot starve its own record.
                pool: dict[str, Any] = {"pool_size": 20, "max_overflow": -1}
                if not self.keeps_connections():
                    pool = {"poolclass": NullPool}
                with driver_of(url):
                    engine = create_engine(
                        url,
                        isolation_level="AUTOCOMMIT",
                        connect_args=CONNECT,
                        hide_parameters=self.hides_parameters,
                        **pool,
                    )
                event.listen(engine, "checkout", partial(_refuse_lost, engine))
                event.listen(engine, "reset", _roll_back)
                self._engine, self._pid = engine, os.getpid()
            return engine

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """Return a connection on which every statement is its own transaction: one round trip each."""
        with translated(), self.connect() as connection:
            yield connection

    def connect(self) -> Connection:
        """Return a connection of the pool, in autocommit, which the caller closes."""
        self._at_hand.put_back()
        return self.engine.connect()

    @property
    def is_listened_to(self) -> bool:
        """Whether the application has asked SQLAlchemy to tell it of statements, as tracing libraries do."""
        engine = self.engine
        listeners = engine.dispatch
        return bool(
            listeners.before_cursor_execute or listeners.after_cursor_execute or engine.dialect.dispatch.handle_error
        )

    def by_driver(self, work: Callable[[Any, dict[Any, Any]], T]) -> T:
        """Run ``work`` with a cursor of the driver, in autocommit: for statements that cost less than SQLAlchemy does.

        Args:
            work: takes the cursor, and a dictionary that lives as long as the session.

        Raises:
            sqlalchemy.exc.DBAPIError: as SQLAlchemy raises it.
        """
        engine = self.engine
        connection: PoolProxiedConnection | None = None
        is_over = False
        try:
            connection = self._at_hand.take(engine) or engine.raw_connection()
            answer = work(connection.cursor(), connection.info)
            is_over = True
            return answer
        except engine.dialect.loaded_dbapi.Error as error:
            wrapped = _as_sqlalchemy_raises(error, engine, connection)
            explain(wrapped)
            raise wrapped from error
        finally:
            if connection is not None and is_over:
                self._at_hand.keep(engine, connection)
            elif connection is not None:
                connection.close()

    @contextmanager
    def transaction(self, *, begun: bool = True) -> Iterator[Connection]:
        """Return a transaction that commits when the block ends and rolls back if it raises.

        It is begun by a statement, of which SQLAlchemy does not know: ``rollback()`` of the connection does nothing.

        Args:
            begun: whether it has begun; if not, its first statement begins it, in one round trip (see `run_together`).
        """
        with self.autocommit() as connection:
            if begun:
                connection.exec_driver_sql(BEGIN)
            yield connection
            if is_in_transaction(connection):
                connection.exec_driver_sql(COMMIT)

    def retrying(self, work: Callable[[], T], patience: float = 0.0) -> T:
        """Run ``work`` again after a conflict, or if a statement is not known any more, and while the database is away.

        Args:
            work: must be safe to repeat: after a broken connection it is unknown whether it was committed.
            patience: seconds to wait while the database cannot be reached.
        """
        gives_up_at = time.monotonic() + patience
        conflicts = 0
        pause = 0.05
        while True:
            try:
                return work()
            except DBAPIError as error:
                if is_conflict(error) or sqlstate(error) in NOT_KEPT:
                    conflicts += 1
                    if conflicts >= CONFLICT_TRIES:
                        raise
                elif not is_outage(error) or time.monotonic() + pause > gives_up_at:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, 1.0)

    def dispose(self) -> None:
        """Close this process's connections; new ones are made when needed."""
        if self._engine is not None and self._pid == os.getpid():
            self._at_hand.put_back()
            self._engine.dispose()
            self._engine = None


def _as_sqlalchemy_raises(error: Exception, engine: Engine, pooled: PoolProxiedConnection | None) -> DBAPIError:
    """Return an error of the driver as SQLAlchemy's own; a connection that it ends leaves the pool."""
    connection = None if pooled is None else pooled.dbapi_connection
    raised: Any = error  # SQLAlchemy's releases differ in how they type it
    is_lost = engine.dialect.is_disconnect(raised, connection, None)
    if is_lost and pooled is not None:
        pooled.invalidate(error)
    wrapped = DBAPIError.instance(
        None,
        None,
        error,
        engine.dialect.loaded_dbapi.Error,
        hide_parameters=engine.hide_parameters,
        connection_invalidated=is_lost,
        dialect=engine.dialect,
    )
    assert isinstance(wrapped, DBAPIError)
    return wrapped


def _refuse_lost(engine: Engine, connection: Any, *_: object) -> None:
    """Replace a pooled connection that has been lost, and with it the others of the pool, which were lost with it."""
    if not seems_lost(connection):
        return
    try:
        engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error


def _roll_back(connection: Any, *_: object) -> None:
    """End the transaction of a connection that goes back to its pool: a block has raised, or a time limit struck."""
    if not connection.closed and _status(connection) != IDLE:
        with connection.cursor() as cursor:
            cursor.execute(ROLLBACK)


def is_in_transaction(connection: Connection) -> bool:
    """Return whether a transaction is open, as the driver knows it: without a round trip."""
    return _status(connection.connection.dbapi_connection) != IDLE


def _status(connection: Any) -> int:
    return int(connection.info.transaction_status)


def is_conflict(error: DBAPIError) -> bool:
    """Return whether it is a deadlock or a serialisation failure, which a retry cures."""
    return sqlstate(error) in (SERIALIZATION_FAILURE, DEADLOCK_DETECTED)


def is_impatient(error: DBAPIError) -> bool:
    """Return whether it is a lock or statement timeout, of the role or the step's transaction: nothing was done."""
    return sqlstate(error) in (LOCK_NOT_AVAILABLE, QUERY_CANCELED)


def sqlstate(error: BaseException) -> str | None:
    """Return PostgreSQL's code for an error, however a driver or framework wrapped it; None if it has none."""
    for wrapped in (error, getattr(error, "orig", None), error.__cause__):
        code = getattr(wrapped, "pgcode", None) or getattr(wrapped, "sqlstate", None)
        if code is not None:
            return str(code)
    return None


def is_outage(error: DBAPIError) -> bool:
    """Return whether the connection broke or could not be made, or the server is starting or stopping."""
    code = sqlstate(error)
    if error.connection_invalidated:
        return True
    if code is None:
        return isinstance(error, OperationalError)
    return code.startswith("08") or code in ("57P01", "57P02", "57P03", "53300")


@contextmanager
def reachable(database: Database) -> Iterator[None]:
    """Raise an error for the application that says what to do if the database does not answer."""
    try:
        yield
    except DBAPIError as error:
        if not is_outage(error):
            raise
        why = str(error.orig).strip().partition("\n")[0]
        raise DatabaseUnreachable(
            f"the database {database.url!r} cannot be reached ({why}): see that it runs and that Sagas(…, database=…) "
            "names it, then do it again; `start` with a key starts nothing twice"
        ) from error


@contextmanager
def translated() -> Iterator[None]:
    """Raise errors that say how to create a missing table or grant a missing privilege."""
    try:
        yield
    except SagaError:
        raise
    except Exception as error:
        explain(error)
        raise


def explain(error: Exception) -> None:
    """Raise an error that says how to create a missing table or grant a missing privilege, if that is the reason."""
    reason = str(getattr(error, "orig", error)).strip().partition("\n")[0]
    if sqlstate(error) == INSUFFICIENT_PRIVILEGE:
        raise ConfigurationError(
            f"the database role may not do what sagas do ({reason}): run `GRANT USAGE ON SCHEMA …` and `GRANT "
            "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA …` as the role that made the tables"
        ) from error
    if isinstance(error, ProgrammingError) and sqlstate(error) is None and "connection option" in reason:
        raise ConfigurationError(
            f"the database URL has an option that its driver does not know ({reason}): mend what follows its `?`"
        ) from error
    if sqlstate(error) in (UNDEFINED_TABLE, UNDEFINED_COLUMN, INVALID_SCHEMA) and "saga_" in str(error):
        raise SchemaMissing(
            f"the saga tables are missing or too old ({reason}): run `celery -A <your app> sagas migrate` "
            "(`manage.py migrate`, `flask sagas migrate`), or Sagas.migrate()"
        ) from error
