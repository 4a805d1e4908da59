"""The library's own migrations, run by Django's: the same SQL, and the same table of those applied."""

from collections.abc import Callable, Sequence
from typing import Any

from django.db import connections, transaction
from django.db.migrations.loader import MigrationLoader

from sagas.contrib.django.binding import require_postgresql
from sagas.contrib.django.conf import configuration
from sagas.store import Execute, migrate


def table(name: str) -> str:
    """Return a table's name for ``Meta.db_table``: Django quotes it as one name, so the quotes inside make it two."""
    schema = configuration().schema.replace('"', '""')
    return f'{schema}"."{name}'


def apply(number: int) -> Callable[[Any, Any], None]:
    """Return a function for ``RunPython`` that applies the library's migration with this number."""

    def run(apps: Any, schema_editor: Any) -> None:
        configured = configuration()
        if schema_editor.connection.alias == configured.database:
            migrate(executing_on(schema_editor.connection), configured.schema, only=number)

    return run


def create_where_migrations_are_off(alias: str) -> None:
    """Create the tables for tests without migrations (``MIGRATION_MODULES``, ``--nomigrations``)."""
    configured = configuration()
    module, _ = MigrationLoader.migrations_module("celery_sagas")
    if module is None and alias == configured.database:
        with transaction.atomic(using=alias):
            migrate(executing_on(connections[alias]), configured.schema)


def executing_on(connection: Any) -> Execute:
    """Return an `Execute` that runs SQL through Django's cursor, in Django's transaction."""
    require_postgresql(connection)

    def execute(sql: str, parameters: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        with connection.cursor() as cursor:
            cursor.execute(sql, list(parameters) or None)
            return cursor.fetchall() if cursor.description else ()

    return execute
