"""The services' connection to PostgreSQL: an engine per process, one short transaction per operation."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from sqlalchemy import URL, Connection, CursorResult, Engine, create_engine, make_url, text
from sqlalchemy.exc import InterfaceError, OperationalError

DEFAULT = "postgresql+psycopg2://sagas:sagas@localhost:5432/sagas"


def engine() -> Engine:
    """Return the engine of this process, made at first use: a connection must not cross a fork."""
    # A bare postgresql:// means another driver from one SQLAlchemy to the next, so the driver is always named.
    url = make_url(os.environ.get("SAGAS_DATABASE_URL") or DEFAULT)
    named = url if "+" in url.drivername else url.set(drivername="postgresql+psycopg2")
    return _engine_of(os.getpid(), named)


@cache
def _engine_of(pid: int, database_url: URL) -> Engine:
    # In a forked child the parent's engine stays in this cache on purpose. If it were collected, closing its
    # connections would end the sessions that the parent still uses.
    #
    # READ COMMITTED whatever the server's default: the barrier reads what another transaction committed
    # while it waited for it.
    return create_engine(database_url, pool_pre_ping=True, isolation_level="READ COMMITTED")


@contextmanager
def transaction() -> Iterator[Connection]:
    """Open a transaction, which is committed at the end of the block.

    Raises:
        ConnectionError: the database went away or gave up, perhaps after the commit. The outcome is unknown:
            ask again with the same key.
    """
    try:
        with engine().begin() as connection:
            yield connection
    except (OperationalError, InterfaceError) as error:
        raise ConnectionError(f"the shop's database did not answer: {error.orig}") from error


def execute(connection: Connection, statement: str, **parameters: object) -> CursorResult[Any]:
    """Execute a statement, in which `:name` stands for the parameter `name`."""
    return connection.execute(text(statement), parameters)
