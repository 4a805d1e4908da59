"""Django's migrations and the command's make the same tables, whichever comes first."""

from typing import Any

from sagas.store import Store, Timing
from tests.integration.django_.conftest import Project, succeeded
from tests.support import journal

CATALOGS = {
    "columns": """
        SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attnum,
               pg_get_expr(adbin, adrelid)
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON (adrelid, adnum) = (c.oid, attnum)
        WHERE relnamespace = to_regnamespace(%s) AND attnum > 0 AND relkind = 'r'""",
    "tables": """
        SELECT relname, relkind, relpersistence, reloptions FROM pg_class WHERE relnamespace = to_regnamespace(%s)""",
    "constraints": """
        SELECT conname, conrelid::regclass::text, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = to_regnamespace(%s)""",
    "indexes": """
        SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class c ON c.oid = indexrelid
        WHERE relnamespace = to_regnamespace(%s)""",
}
MIGRATE_AND_COUNT = """
from django.core.management import call_command
from sagas.contrib.django.models import Instance
call_command("migrate", verbosity=0)
print(Instance.objects.count())
"""


def catalogs(url: str, schema: str = "sagas") -> dict[str, list[Any]]:
    quoted = '"' + schema.replace('"', '""') + '"'
    found = {what: journal.query(url, asked, quoted) for what, asked in CATALOGS.items()}
    # Without the name of the schema, and as text: how Python quotes a row depends on the quotes in that name.
    rows = {what: [" ".join(map(str, row)) for row in rows] for what, rows in found.items()}
    return {what: sorted(row.replace(quoted, "…").replace(schema, "…") for row in rows[what]) for what in rows}


def applied(url: str, schema: str = "sagas") -> list[tuple[Any, ...]]:
    quoted = schema.replace('"', '""')
    return journal.query(url, f'SELECT number, name FROM "{quoted}".saga_migration ORDER BY number')


def command(project: Project, schema: str) -> list[str]:
    """`celery -A … sagas migrate`, and `Sagas.migrate()`: which migrations they apply."""
    store = Store(project.database_url, schema, Timing())
    try:
        return store.migrate()
    finally:
        store.database.dispose()


def test_both_make_the_same_tables_and_either_may_come_first(migrated: Project, empty: Project) -> None:
    # Given: one database that Django has migrated, and one that the command migrates, by another name
    schema, other = 'our "sagas"', {"TEST_SAGAS": '{"SCHEMA": "our \\"sagas\\""}'}
    command(empty, schema)

    made = catalogs(migrated.database_url)
    assert made == catalogs(empty.database_url, schema)
    assert all(len(rows) > 5 for rows in made.values())
    assert applied(migrated.database_url) == applied(empty.database_url, schema) != []

    # When: the other one follows
    assert command(migrated, "sagas") == []
    counted = succeeded(empty.manage("shell", "-v0", "-c", MIGRATE_AND_COUNT, **other))

    # Then: nothing has changed, Django has taken note, and its model reads there
    assert counted == "0\n"
    assert made == catalogs(migrated.database_url) == catalogs(empty.database_url, schema)
    noted = journal.query(empty.database_url, "SELECT count(*) FROM django_migrations WHERE app = 'celery_sagas'")
    assert noted[0][0] == len(applied(empty.database_url, schema))
    assert journal.query(empty.database_url, "SELECT to_regnamespace('sagas')") == [(None,)]
