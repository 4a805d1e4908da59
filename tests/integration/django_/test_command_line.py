"""`manage.py sagas …` as an operator types it; what the commands do is tested in the project."""

from uuid import uuid4

from tests.integration.django_.conftest import Project, succeeded


def test_help_is_clicks(migrated: Project) -> None:
    said = succeeded(migrated.manage("sagas", "--help"))

    assert said.startswith("Usage: manage.py sagas [OPTIONS] COMMAND")
    for command in ("cancel", "check", "list", "migrate", "retry", "show", "skip", "sweep"):
        assert f"\n  {command} " in said


def test_djangos_options_may_stand_anywhere(migrated: Project) -> None:
    own = ["--settings=tests.django_project.settings", "--pythonpath", ".", "--no-color", "--skip-checks"]
    done = migrated.manage("sagas", *own[:3], "list", *own[3:], "-v", "2", "--json", "--saga", "none", "--traceback")

    assert succeeded(done) == ""


def test_a_refusal_is_told_by_the_exit_code_and_without_a_traceback(migrated: Project) -> None:
    done = migrated.manage("sagas", "cancel", str(uuid4()), "--reason", "--traceback")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("CommandError: no saga instance")
    assert "Traceback" not in done.stderr
