"""`manage.py sagas …` through `call_command`; the command line itself is tried from outside."""

import getpass
import json
from io import StringIO
from uuid import uuid4

from django.core.management import CommandError, call_command

from sagas import SagaStatus
from sagas.contrib.django.management.commands.sagas import Command
from sagas.contrib.django.testing import SagaTestCase
from tests.django_project.shop.tests.instances import begin, run


def told(*arguments: str) -> str:
    said = StringIO()
    call_command("sagas", *arguments, stdout=said)
    return said.getvalue()


class CommandTests(SagaTestCase):
    def test_list_as_json_is_one_object_a_line(self) -> None:
        one = run(self, "k-1")

        (line,) = told("list", "--json").splitlines()

        self.assertEqual(json.loads(line)["id"], str(one.id))
        self.assertEqual(told("list", "--status", "failed"), "")

    def test_show_tells_the_story(self) -> None:
        one = run(self, "k-1", sku="gold")

        self.assertIn("declined", told("show", str(one.id)))
        self.assertEqual(json.loads(told("show", "--json", str(one.id)))["status"], "compensated")

    def test_actions_keep_the_reason_and_the_operating_systems_user(self) -> None:
        one = begin(self, "k-1")

        self.assertEqual(told("cancel", str(one.id), "--reason", "--traceback"), f"{one.id} is compensated\n")

        (asked,) = [entry.detail for entry in one.history() if entry.event == "stop_requested"]
        self.assertEqual((asked["reason"], asked["by"]), ("--traceback", getpass.getuser()))

    def test_retry_and_skip_let_a_failed_saga_go_on(self) -> None:
        one, other = run(self, "k-1", breaking="mail"), run(self, "k-2", breaking="mail")
        with self.run_sagas():
            told("retry", str(one.id), "--reason", "the mail is back")
            told("skip", str(other.id), "--reason", "thanked by phone", "--result", '{"thanked": true}')

        self.assertEqual([one.status, other.status], [SagaStatus.COMPLETED, SagaStatus.COMPLETED])
        self.assertIs(other.data["thanked"], True)

    def test_what_is_refused_raises(self) -> None:
        done = run(self, "k-1")
        for arguments, said, code in (
            (["cancel", str(done.id), "--reason", "late"], "is completed and cannot be cancelled", 1),
            (["show", str(uuid4())], "no saga instance", 1),
            (["cancel", str(done.id)], "Missing option '--reason'", 2),
            (["cancel", str(done.id), "--reason", " "], "a reason is required", 2),
            (["dance"], "No such command 'dance'", 2),
        ):
            with self.subTest(arguments), self.assertRaisesRegex(CommandError, said) as raised:
                told(*arguments)
            self.assertEqual(raised.exception.returncode, code)

    def test_an_option_that_is_no_text_is_refused(self) -> None:
        with self.assertRaisesRegex(TypeError, "Unknown option"):
            call_command("sagas", "list", limit=5)

    def test_djangos_own_options_may_be_given_too(self) -> None:
        run(self, "k-1")
        said = StringIO()
        call_command("sagas", "list", "--verbosity=2", "--no-color", "-v", "0", stdout=said, skip_checks=True)
        self.assertIn("k-1", said.getvalue())

    def test_without_a_command_and_for_help_it_explains_itself(self) -> None:
        for arguments in ([], ["--help"], ["-h"]):
            self.assertIn("Usage: manage.py sagas [OPTIONS] COMMAND", told(*arguments))
        self.assertIn("--reason TEXT", told("skip", "--help"))
        said = StringIO()
        Command(stdout=said).print_help("manage.py", "sagas")  # manage.py help sagas
        self.assertEqual(said.getvalue(), told("--help"))

    def test_the_others_do_what_they_do_in_celery(self) -> None:
        begin(self, "k-1")
        self.assertEqual(told("migrate"), "schema 'sagas' is up to date\n")
        self.assertEqual(told("sweep"), "moved 0\n")
        self.assertEqual(told("check"), "no problems found\n")
        self.assertEqual(told("purge", "--older-than", "30d", "--keep-keys"), "purged 0\n")

    def test_check_fails_when_it_finds_something(self) -> None:
        from tests.django_project.celery import app

        app.conf.task_always_eager = True
        self.addCleanup(setattr, app.conf, "task_always_eager", False)
        said = StringIO()
        with self.assertRaises(CommandError) as raised:
            call_command("sagas", "check", stdout=said)
        self.assertEqual(raised.exception.returncode, 1)
        self.assertIn("task_always_eager", said.getvalue())
