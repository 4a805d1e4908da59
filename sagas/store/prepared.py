"""Hot statements, which PostgreSQL parses and plans once per session and not at every call."""

import logging
import re
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, CursorResult, Dialect
from sqlalchemy.exc import DBAPIError

from sagas.store.database import BEGIN, NOT_KEPT, Database, is_in_transaction, sqlstate

logger = logging.getLogger(__name__)

#: A parameter as the driver writes it, or as SQLAlchemy does.
PARAMETER = re.compile(r"%\((\w+)\)s|(?<!:):([a-z]\w*)")
#: One plan for all parameters, which suits large tables even if it was made while they were small. For this transaction
#: only: a pooler may give the session to another client after it. Before PostgreSQL 18 a scan that cannot be avoided
#: makes a plan look so dear that each execution would be compiled (JIT), which takes seconds.
PLANNING = "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; SET LOCAL jit = off"
#: The holder of a lock may be frozen.
HURRY = "SET LOCAL lock_timeout = '1s'"

#: A statement that changes a few rows of an instance finds them one by one, and does not read all that it has.
NESTED = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
#: In one transaction each statement sees what was committed before it, whatever is the default of the role.
FRESH = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"


class Prepared:
    """A statement with named parameters that each session is given once, and then executes by name.

    A pooler that gives every transaction another session (pgbouncer in transaction mode) does not keep it. Once that is
    seen, this process sends all such statements in full.
    """

    #: Whether sessions keep prepared statements, as far as this process has seen.
    is_kept = True

    def __init__(self, statement: str) -> None:
        self._statement = PARAMETER.sub(lambda found: f"%({found[1] or found[2]})s", statement)
        parameters = list(dict.fromkeys(one or other for one, other in PARAMETER.findall(statement)))
        # Named by its text: in a session that others have used, it cannot be a statement on other tables.
        self.name = f"sagas_{blake2b(statement.encode(), digest_size=8).hexdigest()}"
        numbered = PARAMETER.sub(lambda found: f"${parameters.index(found[1] or found[2]) + 1}", statement)
        self._prepare = f"PREPARE {self.name} AS {numbered}"
        self._execute = f"EXECUTE {self.name} ({', '.join(f'%({name})s' for name in parameters)})"
        self._execute_alone = f"{PLANNING}; {self._execute}"
        self._in_full = self._statement

    def row(self, database: Database, parameters: dict[str, Any]) -> tuple[Any, ...] | None:
        """Execute it in a transaction of its own; return its row, None if it has none.

        It goes past SQLAlchemy, whose layers cost more than the statement, unless the application listens to those.
        """
        if database.is_listened_to:
            with database.autocommit() as connection:
                found = self.run(connection, parameters).one_or_none()
                return None if found is None else tuple(found)
        if self._is_known_by_name(database.engine.dialect):
            try:
                return database.by_driver(partial(self._row_by_name, parameters))
            except DBAPIError as error:
                if not _is_forgotten(error):
                    raise
        return database.by_driver(partial(self._row_in_full, parameters))

    def run(self, connection: Connection, parameters: dict[str, Any]) -> CursorResult[Any]:
        """Execute it on a connection in autocommit."""
        if self._is_known_by_name(connection.dialect):
            try:
                return self._run_by_name(connection, parameters)
            except DBAPIError as error:
                if not _is_forgotten(error):
                    raise
        return self.run_in_full(connection, parameters)

    def run_in_full(self, connection: Connection, parameters: dict[str, Any]) -> CursorResult[Any]:
        """Execute it in a transaction, which an unknown name would abort."""
        return connection.exec_driver_sql(self._in_full, parameters)

    def in_transaction(self, connection: Connection) -> str:
        """Return what to send in a transaction that is run again if its session does not know the name."""
        if not self._is_known_by_name(connection.dialect):
            return self._statement
        self._prepare_in(connection.info, connection.exec_driver_sql)
        return self._execute

    def _is_known_by_name(self, dialect: Dialect) -> bool:
        return Prepared.is_kept and dialect.driver == "psycopg2"  # psycopg 3 prepares by itself

    def _run_by_name(self, connection: Connection, parameters: dict[str, Any]) -> CursorResult[Any]:
        self._prepare_in(connection.info, connection.exec_driver_sql)
        return connection.exec_driver_sql(self._execute_alone, parameters)

    def _row_by_name(self, parameters: dict[str, Any], cursor: Any, session: dict[Any, Any]) -> tuple[Any, ...] | None:
        self._prepare_in(session, cursor.execute)
        return self._row(cursor, self._execute_alone, parameters)

    def _row_in_full(self, parameters: dict[str, Any], cursor: Any, _: object) -> tuple[Any, ...] | None:
        return self._row(cursor, self._in_full, parameters)

    @staticmethod
    def _row(cursor: Any, statement: str, parameters: dict[str, Any]) -> tuple[Any, ...] | None:
        cursor.execute(statement, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row

    def _prepare_in(self, session: dict[Any, Any], send: Callable[[str], object]) -> None:
        prepared_names = session.setdefault("sagas.prepared", set())  # lives as long as the session
        if self.name not in prepared_names:
            send(self._prepare)
            prepared_names.add(self.name)


class PreparedAfterLock(Prepared):
    """A statement that follows another one, which takes a lock, in the same transaction and round trip.

    So it sees what was committed while that one waited.
    """

    def __init__(self, lock: Prepared, statement: str) -> None:
        super().__init__(statement)
        self._lock = lock
        self._execute_alone = "; ".join([FRESH, PLANNING, lock._execute, self._execute])
        self._in_full = "; ".join([FRESH, lock._statement, self._statement])

    def row(self, database: Database, parameters: dict[str, Any]) -> tuple[Any, ...] | None:
        if database.engine.dialect.driver == "psycopg2":
            return super().row(database, parameters)
        with database.transaction() as connection:
            found = self.run_in_full(connection, parameters).one_or_none()
            return None if found is None else tuple(found)

    def run_in_full(self, connection: Connection, parameters: dict[str, Any]) -> CursorResult[Any]:
        if connection.dialect.driver == "psycopg2":
            return super().run_in_full(connection, parameters)
        # Its server binds the parameters, of one statement at a time.
        self._lock.run_in_full(connection, parameters)
        return connection.exec_driver_sql(self._statement, parameters)

    def _prepare_in(self, session: dict[Any, Any], send: Callable[[str], object]) -> None:
        self._lock._prepare_in(session, send)
        super()._prepare_in(session, send)


def run_together(
    connection: Connection,
    statements: Sequence[Prepared],
    parameters: dict[str, Any],
    hurried: bool = False,
) -> CursorResult[Any]:
    """Run statements one after the other, in one round trip, and return the result of the last one.

    They run in the transaction that is open; if none is, they begin one. If the session does not know one of them, the
    transaction has to be run again (see `Database.retrying`), which then sends all in full.

    Args:
        hurried: whether the transaction that they begin waits for each of its locks for a second at most.
    """
    begin = [] if is_in_transaction(connection) else [BEGIN]
    if begin and hurried:
        begin.append(HURRY)
    if connection.dialect.driver != "psycopg2":  # its server binds the parameters, of one statement at a time
        for statement in begin:
            connection.exec_driver_sql(statement)
        return [statement.run_in_full(connection, parameters) for statement in statements][-1]
    begin += [PLANNING, NESTED] if begin else []
    try:
        statement = "; ".join([*begin, *(statement.in_transaction(connection) for statement in statements)])
        return connection.exec_driver_sql(statement, parameters)
    except DBAPIError as error:
        _is_forgotten(error)
        raise


def _is_forgotten(error: DBAPIError) -> bool:
    """Return whether sessions turn out not to keep statements, and note that for this process."""
    if sqlstate(error) not in NOT_KEPT:
        return False
    Prepared.is_kept = False
    logger.info("sessions of this database do not keep prepared statements: %s", error.orig)
    return True
