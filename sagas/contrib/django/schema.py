"""The library's own migrations, run by Django's: the same SQL, the same table of what was applied."""

from collections.abc import Callable, Sequence
from typing import Any

from django.db import connections, transaction
from django.db.migrations.loader import MigrationLoader

from sagas.contrib.django.binding import require_postgresql
from sagas.contrib.django.conf import configuration
from sagas.store import Execute, migrate


def table(name: str) -> str:
    """A table's name for ``Meta.db_table``: Django quotes it as one name, so the quotes inside make it two."""
    schema = configuration().schema.replace('"', '""')
    return f'{schema}"."{name}'


def apply(number: int) -> Callable[[Any, Any], None]:
    """For ``RunPython``: applies the library's migration of this number, where the sagas live."""

    def run(apps: Any, schema_editor: Any) -> None:
        configured = configuration()
        if schema_editor.connection.alias == configured.database:
            migrate(executing_on(schema_editor.connection), configured.schema, only=number)

    return run


def create_where_migrations_are_off(alias: str) -> None:
    """Tests may run without migrations (``MIGRATION_MODULES``, ``--nomigrations``); the tables are needed anyway."""
    configured = configuration()
    module, _ = MigrationLoader.migrations_module("celery_sagas")
    if module is None and alias == configured.database:
        with transaction.atomic(using=alias):
            migrate(executing_on(connections[alias]), configured.schema)


def executing_on(connection: Any) -> Execute:
    """Runs SQL through Django's cursor, in Django's transaction."""
    require_postgresql(connection)

    def execute(sql: str, parameters: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        with connection.cursor() as cursor:
            cursor.execute(sql, list(parameters) or None)
            return cursor.fetchall() if cursor.description else ()

    return execute
