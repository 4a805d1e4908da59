"""Apply the numbered migrations: one transaction, one advisory lock, a table of those applied."""

import re
from collections.abc import Sequence
from importlib import resources
from typing import Any, Protocol

from sqlalchemy import Connection

from sagas.errors import ConfigurationError
from sagas.store.database import sqlstate

_NAME = re.compile(r"(\d{4})_\w+\.sql")


def migrations() -> list[tuple[int, str, str]]:
    """Return number, file name and SQL of every migration, in order."""
    found = []
    for entry in resources.files(__package__).iterdir():
        match = _NAME.fullmatch(entry.name)
        if match:
            found.append((int(match[1]), entry.name, entry.read_text()))
    return sorted(found)


class Execute(Protocol):
    """A callable that runs SQL with ``%s`` parameters in an open transaction and returns the rows, if any."""

    def __call__(self, sql: str, parameters: Sequence[Any] = ()) -> Sequence[Sequence[Any]]: ...


def on_connection(connection: Connection) -> Execute:
    """Return an `Execute` on a SQLAlchemy connection."""

    def execute(sql: str, parameters: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        result = connection.exec_driver_sql(sql, tuple(parameters) or None)
        return result.all() if result.returns_rows else ()

    return execute


def migrate(execute: Execute, schema: str, *, only: int | None = None) -> list[str]:
    """Apply the missing migrations, inside the caller's transaction; concurrent calls wait for the advisory lock.

    Args:
        execute: runs SQL in the transaction, whatever framework it belongs to.
        only: the number of the only migration to apply; by default all of them.

    Returns:
        The file names that this call applied; empty if the schema was up to date.

    Raises:
        ConfigurationError: the role may not create the schema or its tables.
    """
    quoted = quote(schema)
    try:
        execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"sagas:{schema}"])
        if not execute("SELECT to_regnamespace(%s) IS NOT NULL", [quoted])[0][0]:
            execute(f"CREATE SCHEMA {quoted}")
        # Checked first: IF NOT EXISTS requires the right to create it all the same.
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
    """Return the schema's name as an SQL identifier."""
    # Braces, percent signs and colons would read as placeholders in the named statements; `pg_` is PostgreSQL's own.
    if not schema or schema.startswith("pg_") or any(character in schema for character in "\x00{%:"):
        raise ConfigurationError(f"schema={schema!r} cannot name a PostgreSQL schema; use letters and underscores")
    return '"' + schema.replace('"', '""') + '"'
