"""`flask sagas …`: the commands of `celery -A … sagas`, for the current app, with one line for an error."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from uuid import uuid4

import pytest
from click.testing import Result

from config.servers import EmbeddedPostgres, drop_database
from sagas import SagaHandle, SagaStatus
from sagas.cli import sagas as celery_commands
from sagas.contrib.flask.commands import flask_sagas
from sagas.testing import inline
from tests.conftest import GivenPostgres
from tests.integration.flask.conftest import Office
from tests.integration.flask.office import bare_app, greeting
from tests.support.workers import ROOT

Run = Callable[..., Result]


@pytest.fixture
def flask(office: Office) -> Run:
    return lambda *arguments: office.app.test_cli_runner().invoke(args=["sagas", *arguments])


@pytest.fixture
def completed(office: Office) -> SagaHandle:
    with office.app.app_context(), inline(office.sagas):
        return greeting.start({"name": "Ann"}, key="order-1")


def test_migrate_makes_the_tables_once(
    make_office: Callable[..., Office], postgres: EmbeddedPostgres | GivenPostgres
) -> None:
    name = f"test_{uuid4().hex}"
    app = make_office(database_url=postgres.create_database(name)).app
    run = app.test_cli_runner()
    try:
        first, second = (run.invoke(args=["sagas", "migrate"]) for _ in range(2))
    finally:
        drop_database(postgres.url, name)

    assert (first.exit_code, first.output.splitlines()[0]) == (0, "applied 0001_initial.sql")
    assert (second.exit_code, second.output.strip()) == (0, "schema 'sagas' is up to date")


def test_list_and_show(flask: Run, completed: SagaHandle) -> None:
    (line,) = flask("list").output.splitlines()
    assert line.split()[:3] == [str(completed.id)[:18], "completed", "greeting/order-1"]

    assert flask("show", str(completed.id)).output.startswith(f"greeting v1  {completed.id}")
    assert json.loads(flask("show", str(completed.id), "--json").output)["status"] == "completed"


def test_cancel_is_recorded_with_its_reason(office: Office, flask: Run) -> None:
    with office.app.app_context():
        run = office.start()

    done = flask("cancel", str(run.id), "--reason", "the customer called")

    assert (done.exit_code, done.output.strip()) == (0, f"{run.id} is compensated")
    assert "the customer called" in flask("show", str(run.id)).output


@pytest.mark.parametrize("verb", ["retry", "skip"])
def test_a_failed_instance_goes_on(office: Office, flask: Run, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given: one whose compensation will not succeed
    monkeypatch.setattr(office.sagas.app.tasks["tests.integration.flask.office.take_back"], "run", refuse)
    with office.app.app_context(), inline(office.sagas):
        run = greeting.start({"name": "Ben", "angry": True})
    assert run.status is SagaStatus.FAILED

    done = flask(verb, str(run.id), "--reason", "settled by hand")

    assert done.exit_code == 0, done.output
    status = {"retry": "compensating", "skip": "compensated"}[verb]
    assert done.output.strip() == f"{run.id} is {status}"


def refuse() -> None:
    raise ValueError("never")


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", str(uuid4())],
        ["show", "order-1"],
        ["cancel", str(uuid4()), "--reason", "x"],
        ["retry", str(uuid4()), "--reason", "x"],
        ["skip", str(uuid4()), "--reason", "x"],
    ],
    ids=lambda arguments: f"{arguments[0]} {len(arguments[1])}",
)
def test_what_is_not_there_is_one_line_and_exit_code_1(flask: Run, arguments: list[str]) -> None:
    done = flask(*arguments)

    assert done.exit_code == 1
    assert len(done.output.splitlines()) == 1
    assert done.output.startswith("Error: ")


def test_what_is_refused_is_one_line_and_exit_code_1(flask: Run, completed: SagaHandle) -> None:
    done = flask("cancel", str(completed.id), "--reason", "too late")

    assert (done.exit_code, len(done.output.splitlines())) == (1, 1)
    assert "is completed and cannot be cancelled" in done.output


def test_without_tables_or_database_a_command_says_so(make_office: Callable[..., Office]) -> None:
    bare = make_office(SAGAS={"SCHEMA": "nothing_here"}).app.test_cli_runner().invoke(args=["sagas", "list"])
    away = make_office(SAGAS={"DATABASE": "postgresql:///nowhere?host=/nonexistent"})
    gone = away.app.test_cli_runner().invoke(args=["sagas", "list"])

    assert (bare.exit_code, gone.exit_code) == (1, 1)
    assert "flask sagas migrate" in bare.output
    assert "the database cannot be reached" in gone.output


def test_an_app_without_sagas_is_told() -> None:
    app = bare_app("postgresql://nobody@localhost/nowhere", "memory://")
    app.cli.add_command(flask_sagas)

    done = app.test_cli_runner().invoke(args=["sagas", "list"])

    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert "'office' has no Sagas: call FlaskSagas.init_app(app)" in done.output


def test_every_command_of_celery_is_there() -> None:
    assert flask_sagas.commands == celery_commands.commands


def test_flasks_own_command_line_finds_them(office: Office, completed: SagaHandle) -> None:
    servers = {"SAGAS_DATABASE_URL": office.database_url, "SAGAS_BROKER_URL": office.broker_url}
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "config.examples.flask_shop", "sagas", "list"],
        cwd=ROOT,
        env=os.environ | servers,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == [str(completed.id)[:18], "completed"]
