"""Applies the numbered migrations: one transaction, one advisory lock, a table of what was applied."""

import re
from importlib import resources

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from sagas.errors import ConfigurationError

_NAME = re.compile(r"(\d{4})_\w+\.sql")


def migrations() -> list[tuple[int, str, str]]:
    """Number, file name and SQL of every migration, in order."""
    found = []
    for entry in resources.files(__package__).iterdir():
        match = _NAME.fullmatch(entry.name)
        if match:
            found.append((int(match[1]), entry.name, entry.read_text()))
    return sorted(found)


def migrate(connection: Connection, schema: str) -> list[str]:
    """Apply what is missing, inside the connection's transaction; the others wait for the advisory lock.

    Returns:
        The file names that this call applied; empty when the schema was up to date.

    Raises:
        ConfigurationError: the role may not create the schema or its tables.
    """
    quoted = quote(schema)
    try:
        connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:lock, 0))"), {"lock": f"sagas:{schema}"}
        )
        exists = connection.scalar(text("SELECT to_regnamespace(:schema) IS NOT NULL"), {"schema": quoted})
        if not exists:
            connection.exec_driver_sql(f"CREATE SCHEMA {quoted}")
        connection.exec_driver_sql(
            f"CREATE TABLE IF NOT EXISTS {quoted}.saga_migration ("
            "number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
        )
        applied = set(connection.scalars(text(f"SELECT number FROM {quoted}.saga_migration")))
        done = []
        for number, name, sql in migrations():
            if number not in applied:
                connection.exec_driver_sql(sql.replace("{schema}", quoted))
                connection.execute(
                    text(f"INSERT INTO {quoted}.saga_migration (number, name) VALUES (:number, :name)"),
                    {"number": number, "name": name},
                )
                done.append(name)
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) == "42501":
            raise ConfigurationError(
                f"the database role may not create the schema {schema!r}: run the migration as a role that has CREATE "
                f"on the database, or create the schema first and grant it to this role ({error.orig})"
            ) from error
        raise
    return done


def quote(schema: str) -> str:
    """The schema's name as an SQL identifier."""
    # Braces, percent signs and colons would read as placeholders in the named statements.
    if not schema or any(character in schema for character in "\x00{%:"):
        raise ConfigurationError(f"schema={schema!r} cannot name a PostgreSQL schema; use letters and underscores")
    return '"' + schema.replace('"', '""') + '"'
