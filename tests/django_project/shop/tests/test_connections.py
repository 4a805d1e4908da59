"""Which driver Django uses, and where the library's own connections lead."""

import threading
from unittest.mock import patch

from django.conf import settings
from django.db import connection, connections
from django.db.backends.postgresql.psycopg_any import is_psycopg3
from django.test import tag
from sqlalchemy import text

from sagas.contrib.django import sagas
from sagas.contrib.django.binding import CurrentUrl, database_url
from sagas.contrib.django.testing import SagaTestCase


def asked(question: str) -> str:
    """By a connection of the library's own."""
    with sagas.engine.store.database.autocommit() as own:
        return str(own.scalar(text(question)))


def do(command: str) -> None:
    with sagas.engine.store.database.autocommit() as own:
        own.exec_driver_sql(command)


@tag("driver")
class ConnectionTests(SagaTestCase):
    databases = {"default", "bound"}

    def test_the_driver_is_the_one_that_was_asked_for(self) -> None:
        connection.ensure_connection()
        module = type(connection.connection).__module__.partition(".")[0]

        self.assertEqual((module, is_psycopg3), (settings.DRIVER, settings.DRIVER == "psycopg"))
        with connections["bound"].cursor() as cursor:
            self.assertEqual(type(cursor.cursor).__name__ == "ServerBindingCursor", is_psycopg3)

    def test_the_librarys_own_go_to_the_tests_database(self) -> None:
        name = connection.settings_dict["NAME"]
        self.assertTrue(name.startswith("test_"))
        found = []
        other = threading.Thread(target=lambda: found.append(asked("SELECT current_database()")))
        other.start()
        other.join()

        self.assertEqual(asked("SELECT current_database()"), name)
        self.assertEqual(found, [name])

    def test_they_follow_djangos_options(self) -> None:
        name = 'a "clerk" of ours\\'
        quoted = '"' + name.replace('"', '""') + '"'
        do(f"DROP ROLE IF EXISTS {quoted}")
        do(f"CREATE ROLE {quoted}")
        self.addCleanup(do, f"DROP ROLE {quoted}")
        with patch.dict(connection.settings_dict["OPTIONS"], assume_role=name, options="-c work_mem=1MB"):
            self.assertEqual(asked("SELECT current_user"), name)
            self.assertEqual(asked("SHOW work_mem"), "1MB")
        self.assertNotEqual(asked("SELECT current_user"), name)

    def test_a_password_is_not_shown(self) -> None:
        with patch.dict(connection.settings_dict, PASSWORD="p%s:/@ss", USER="o'neil"):
            url = database_url("default")

        self.assertEqual((url.username, url.password), ("o'neil", "p%s:/@ss"))
        self.assertNotIn("ss", repr(url.set(query={}, database="x")).replace("postgresql+psycopg2", ""))

    def test_the_url_is_made_once_until_a_setting_changes(self) -> None:
        url = CurrentUrl("default")
        first = url()

        self.assertIs(url(), first)
        with patch.dict(connection.settings_dict, NAME="elsewhere"):
            self.assertEqual(url().database, "elsewhere")
        with patch.dict(connection.settings_dict["OPTIONS"], connect_timeout=7):
            self.assertEqual(url().query["connect_timeout"], "7")
        self.assertEqual(url(), first)

    def test_a_backend_with_passwords_that_expire_is_asked_each_time(self) -> None:
        passwords = iter(("first", "second"))

        def get_connection_params(self: object) -> dict[str, str]:
            return {"password": next(passwords)}

        url = CurrentUrl("default")
        with patch.object(type(connections["default"]), "get_connection_params", get_connection_params):
            self.assertEqual([url().password, url().password], ["first", "second"])
