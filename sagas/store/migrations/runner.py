"""Applies the numbered migrations: one transaction, one advisory lock, a table of what was applied."""

import re
from collections.abc import Sequence
from importlib import resources
from typing import Any, Protocol

from sqlalchemy import Connection

from sagas.errors import ConfigurationError
from sagas.store.database import sqlstate

_NAME = re.compile(r"(\d{4})_\w+\.sql")


def migrations() -> list[tuple[int, str, str]]:
    """Number, file name and SQL of every migration, in order."""
    found = []
    for entry in resources.files(__package__).iterdir():
        match = _NAME.fullmatch(entry.name)
        if match:
            found.append((int(match[1]), entry.name, entry.read_text()))
    return sorted(found)


class Execute(Protocol):
    """Runs SQL with ``%s`` parameters inside an open transaction; returns the rows, if there are any."""

    def __call__(self, sql: str, parameters: Sequence[Any] = ()) -> Sequence[Sequence[Any]]: ...


def on_connection(connection: Connection) -> Execute:
    """Through SQLAlchemy."""

    def execute(sql: str, parameters: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        result = connection.exec_driver_sql(sql, tuple(parameters) or None)
        return result.all() if result.returns_rows else ()

    return execute


def migrate(execute: Execute, schema: str, *, only: int | None = None) -> list[str]:
    """Apply what is missing, inside the caller's transaction; the others wait for the advisory lock.

    Args:
        execute: how to run SQL there, whatever framework the transaction belongs to.
        only: the number of the one migration that is wanted; all of them by default.

    Returns:
        The file names that this call applied; empty when the schema was up to date.

    Raises:
        ConfigurationError: the role may not create the schema or its tables.
    """
    quoted = quote(schema)
    try:
        execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"sagas:{schema}"])
        if not execute("SELECT to_regnamespace(%s) IS NOT NULL", [quoted])[0][0]:
            execute(f"CREATE SCHEMA {quoted}")
        # Asked first: IF NOT EXISTS wants the right to create it all the same.
        if not execute("SELECT to_regclass(%s) IS NOT NULL", [f"{quoted}.saga_migration"])[0][0]:
            execute(
                f"CREATE TABLE {quoted}.saga_migration (number integer PRIMARY KEY, name text NOT NULL, "
                "applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
            )
        applied = {row[0] for row in execute(f"SELECT number FROM {quoted}.saga_migration")}
        done = []
        for number, name, sql in migrations():
            if number not in applied and only in (None, number):
                execute(sql.replace("{schema}", quoted))
                execute(f"INSERT INTO {quoted}.saga_migration (number, name) VALUES (%s, %s)", [number, name])
                done.append(name)
    except Exception as error:
        if sqlstate(error) == "42501":
            raise ConfigurationError(
                f"the database role may not create the schema {schema!r} or its tables: run the migration as the role "
                f"that owns the schema, or let an administrator CREATE SCHEMA … AUTHORIZATION this role ({error})"
            ) from error
        raise
    return done


def quote(schema: str) -> str:
    """The schema's name as an SQL identifier."""
    # Braces, percent signs and colons would read as placeholders in the named statements.
    if not schema or any(character in schema for character in "\x00{%:"):
        raise ConfigurationError(f"schema={schema!r} cannot name a PostgreSQL schema; use letters and underscores")
    return '"' + schema.replace('"', '""') + '"'
