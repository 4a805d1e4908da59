"""Django's open transaction, which `start` joins through Django's own connection.

It never uses a SQLAlchemy engine on Django's raw connection: closing that rolls the caller's work back.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from django.db import connections, transaction
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql import psycopg2

from sagas.errors import StartRefused


class DjangoTransaction:
    """The transaction that is open on a database alias (see `CallersTransaction`)."""

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def savepoint(self) -> AbstractContextManager[Any]:
        block: AbstractContextManager[Any] = transaction.atomic(using=self._alias)
        return block

    def scalar(self, statement: TextClause, parameters: Mapping[str, Any]) -> Any:
        with connections[self._alias].cursor() as cursor:
            cursor.execute(_pyformat(statement.text), parameters)
            row = cursor.fetchone()
        return row[0] if row else None

    def after_commit(self, do: Callable[[], None], committed: Callable[[], bool]) -> None:
        transaction.on_commit(do, using=self._alias, robust=True)


@lru_cache(maxsize=64)
def _pyformat(sql: str) -> str:
    """Return the SQL with the placeholders of Django's cursors: ``%(name)s``, with psycopg 2 and 3."""
    return str(TextClause(sql).compile(dialect=psycopg2.dialect()))  # type: ignore[no-untyped-call]


def surrounding_transaction(database: str) -> DjangoTransaction | None:
    """Return the transaction that this thread has open on the saga database; None outside one.

    Args:
        database: the alias in ``settings.SAGAS``; another alias of the same database is accepted as well.

    Raises:
        StartRefused: a transaction is open, but on another database: a saga cannot commit together with it.
    """
    ours = connections[database]
    if ours.in_atomic_block:
        return DjangoTransaction(database)
    elsewhere = []
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            if _place(connection) == _place(ours):
                return DjangoTransaction(connection.alias)
            elsewhere.append(connection.alias)
    if elsewhere:
        raise StartRefused(
            f"start() inside transaction.atomic(using={elsewhere[0]!r}), but the sagas live in the database "
            f"{database!r}: the two cannot commit together. Open transaction.atomic(using={database!r}) around "
            "start() to choose one, or set settings.SAGAS['DATABASE']"
        )
    if not (ours.settings_dict["AUTOCOMMIT"] if ours.connection is None else ours.autocommit):
        raise StartRefused(
            f"start() on {database!r} with autocommit off: Django does not announce such commits. Use "
            "transaction.atomic()"
        )
    return None


def _place(connection: Any) -> tuple[Any, ...]:
    settings = connection.settings_dict
    return connection.vendor, settings["HOST"], str(settings["PORT"]), settings["NAME"]
