"""What is wrong in settings.SAGAS is said with the key and the cure."""

import threading
from typing import Any

from celery import Celery, current_app, shared_task
from cryptography.fernet import Fernet
from django.core.checks import CheckMessage, run_checks
from django.db import connections
from django.test import SimpleTestCase, override_settings

from sagas import ConfigurationError, Sagas
from sagas.contrib.django import sagas
from sagas.contrib.django.binding import bound_sagas, celery_app, database_url
from sagas.contrib.django.conf import Configuration, configuration
from sagas.contrib.django.models import Instance
from sagas.contrib.django.schema import apply, create_where_migrations_are_off, table
from sagas.engine import current_app as using
from sagas.engine import engine_for
from sagas.model.payload import loads
from tests.django_project.shop.tasks import order


def made(**options: Any) -> Celery:
    return Celery("other", set_as_current=False, **options)


finalised = made()
finalised.finalize()
mine = made()
Sagas(mine, database="postgresql://localhost/x")
KEY = Fernet.generate_key().decode()
#: Nothing that a user would name here.
number = 3


class SettingsTests(SimpleTestCase):
    def refused(self, said: str, **settings: Any) -> None:
        with override_settings(SAGAS=settings), self.assertRaisesRegex(ConfigurationError, said):
            bound_sagas.__wrapped__()

    def test_everything_has_a_default(self) -> None:
        with override_settings(SAGAS={}):
            self.assertEqual(configuration(), Configuration())

    def test_an_unknown_key(self) -> None:
        self.refused(
            "SAGAS has no key 'SCEMA'; the keys are APP, CODEC, CONTROL_QUEUE, DATABASE, HEADERS, HEARTBEAT, KEYS, "
            "PARKED_AFTER, SCHEMA,",
            SCEMA="x",
        )

    def test_no_dict(self) -> None:
        with override_settings(SAGAS="postgresql://"), self.assertRaisesRegex(ConfigurationError, "must be a dict"):
            configuration()

    def test_an_unknown_database(self) -> None:
        self.refused(
            "'DATABASE'\\] is 'nowhere', which settings.DATABASES does not have: .*'default'", DATABASE="nowhere"
        )

    def test_a_database_that_is_no_postgresql(self) -> None:
        cure = "DATABASES\\['lite'\\] is 'sqlite', but sagas need PostgreSQL: name another alias"
        with self.assertRaisesRegex(ConfigurationError, cure):
            database_url("lite")
        # As migrate does
        with override_settings(SAGAS={"DATABASE": "lite"}), self.assertRaisesRegex(ConfigurationError, cure):
            apply(1)(None, connections["lite"].schema_editor())

    def test_a_database_that_is_no_postgresql_is_told_by_the_system_check(self) -> None:
        def told() -> list[CheckMessage]:
            return [message for message in run_checks() if message.id == "celery_sagas.E001"]

        self.assertEqual(told(), [])
        with override_settings(SAGAS={"DATABASE": "lite"}):
            (found,) = told()

        self.assertEqual((found.id, found.is_serious()), ("celery_sagas.E001", True))
        self.assertEqual(found.msg, "settings.DATABASES['lite'] is 'sqlite', but sagas need PostgreSQL")
        self.assertIn("settings.SAGAS['DATABASE']", found.hint)

    def test_an_app_that_cannot_be_imported(self) -> None:
        for wrong in ("nowhere.celery:app", "tests.django_project.celery:ap", "tests.django_project.celry", ""):
            with self.subTest(wrong):
                self.refused("'APP'\\] is '.*', which cannot be imported .*'shop.celery:app'", APP=wrong)

    def test_an_app_that_is_none(self) -> None:
        self.refused("'APP'\\] is '.*', which is 3, not a Celery app", APP=f"{__name__}:number")

    def test_an_app_whose_tasks_are_made(self) -> None:
        self.refused(
            "'other' has made its tasks .*on_after_finalize.* first in INSTALLED_APPS", APP=f"{__name__}:finalised"
        )

    def test_an_app_that_has_its_sagas(self) -> None:
        self.refused("'other' has its Sagas already: remove `Sagas\\(app, …\\)`", APP=f"{__name__}:mine")

    def test_numbers_that_make_no_sense(self) -> None:
        self.refused("heartbeat=0 must be a number of seconds", APP=made(), HEARTBEAT=0)

    def test_secrets_and_keys_that_cannot_work(self) -> None:
        self.refused("secrets= must be names of data fields", APP=made(), SECRETS="card")
        self.refused("SAGAS\\['KEYS'\\] holds an invalid Fernet key: make one with", APP=made(), KEYS=["no key"])
        self.refused("SAGAS\\['CODEC'\\] is 'shop:nothing', which cannot be imported", APP=made(), CODEC="shop:nothing")
        self.refused("has CODEC and KEYS: keep one", APP=made(), CODEC=Fernet(KEY), KEYS=[KEY])

    def test_secrets_and_keys_reach_the_sagas_and_are_not_shown(self) -> None:
        with override_settings(SAGAS={"APP": made(), "SECRETS": ["card"], "KEYS": [KEY]}):
            secrecy = bound_sagas.__wrapped__().engine.secrecy
            shown = repr(configuration())
        stored = secrecy.dumps({"card": "4111"}, "data")
        self.assertNotIn("4111", stored)
        self.assertEqual(secrecy.open(loads(stored)), {"card": "4111"})
        self.assertNotIn(KEY, shown)

    def test_a_schema_that_cannot_be_named(self) -> None:
        self.refused("schema='%' cannot name", APP=made(), SCHEMA="%")

    def test_any_other_schema(self) -> None:
        with override_settings(SAGAS={"SCHEMA": 'our "sagas"'}):
            self.assertEqual(connections["default"].ops.quote_name(table("t")), '"our ""sagas"""."t"')

    def test_without_any_app(self) -> None:
        # As the one that Celery makes when there is none
        nobodys = Celery("default", set_as_current=False)
        with (
            using(nobodys),
            self.assertRaisesRegex(ConfigurationError, "name it in settings.SAGAS\\['APP'\\]"),
        ):
            celery_app(Configuration())

    def test_an_app_without_a_name_is_one(self) -> None:
        nameless = Celery()
        self.addCleanup(sagas.app.set_current)
        self.assertIs(celery_app(Configuration()), nameless)

    def test_the_app_is_bound_once_and_known_in_every_thread(self) -> None:
        self.assertIs(bound_sagas(), bound_sagas())
        self.assertEqual(sagas, bound_sagas())
        self.assertIs(sagas.app, current_app._get_current_object())
        self.assertIs(sagas.app.sagas, bound_sagas())

    def test_a_start_in_another_thread_knows_it_too_whatever_other_sagas_there_are(self) -> None:
        found = []
        thread = threading.Thread(target=lambda: found.append(engine_for(order.tasks(), "order")))
        thread.start()
        thread.join()

        self.assertEqual(found, [sagas.engine])

    def test_instances_are_read_where_the_sagas_live(self) -> None:
        self.assertEqual(Instance.objects.all().db, "default")
        with override_settings(SAGAS={"DATABASE": "same"}):
            self.assertEqual(Instance.objects.all().db, "same")
            self.assertEqual(Instance.objects.using("other").db, "other")

    def test_tasks_keep_what_celery_gives_them_in_django(self) -> None:
        @shared_task
        def one() -> None: ...

        self.assertTrue(callable(one.delay_on_commit))

    def test_where_migrations_are_on_nothing_is_made_behind_their_back(self) -> None:
        # No database may be asked in a SimpleTestCase
        create_where_migrations_are_off("default")
        with override_settings(MIGRATION_MODULES={"celery_sagas": None}):
            create_where_migrations_are_off("other")
