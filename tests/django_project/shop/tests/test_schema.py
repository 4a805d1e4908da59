"""The tables, the model and the migrations agree; other databases have none of them."""

import re
from importlib import resources

from django.core.management import call_command
from django.db import connections
from django.test import TestCase, tag

from sagas.contrib.django.models import Instance
from sagas.store import migrations


class SchemaTests(TestCase):
    databases = {"default", "other"}

    def columns(self, alias: str) -> set[str]:
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "SELECT column_name FROM information_schema.columns "
                "WHERE table_schema = 'sagas' AND table_name = 'saga_instance'"
            )
            return {name for (name,) in cursor.fetchall()}

    @tag("driver", "bare")
    def test_every_field_of_the_model_is_a_column(self) -> None:
        fields = {field.column for field in Instance._meta.get_fields()}

        self.assertLess(fields, self.columns("default"))
        self.assertEqual(Instance.objects.count(), 0)

    @tag("driver", "bare")
    def test_the_other_database_has_none_of_it(self) -> None:
        with connections["other"].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'sagas'")
            self.assertEqual(cursor.fetchone(), (0,))

    def test_no_migration_is_missing(self) -> None:
        call_command("makemigrations", "--check", "--dry-run", verbosity=0)

    def test_each_sql_migration_has_one_of_djangos_with_its_number(self) -> None:
        found = []
        for entry in resources.files("sagas.contrib.django.migrations").iterdir():
            if entry.name.endswith(".py"):
                found += [(entry.name[:4], int(number)) for number in re.findall(r"apply\((\d+)\)", entry.read_text())]

        self.assertEqual(sorted(found), [(f"{number:04}", number) for number, _, _ in migrations()])
