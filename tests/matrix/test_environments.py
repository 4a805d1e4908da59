"""Where interpreters are looked for, what is installed, and how a failure is told."""

from pathlib import Path

import pytest

from tests.matrix.environments import NotHere, candidates, embedded_platform, free, interpreter, reason, requirements

LOCK = """\
amqp==5.4.2 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
django==5.2.19 ; python_full_version < '3.12' \\
    --hash=sha256:cc
typing-extensions==4.16.0
"""


def test_the_pins_of_a_lock_file_keep_their_markers_and_lose_their_hashes() -> None:
    assert free(LOCK, ["amqp"]) == ["django==5.2.19 ; python_full_version < '3.12'", "typing-extensions==4.16.0"]


def test_a_python_is_looked_for_on_the_path_and_where_pyenv_and_uv_keep_theirs(tmp_path: Path) -> None:
    on_path = tmp_path / "bin"
    pyenv = tmp_path / ".pyenv" / "versions" / "3.12.1" / "bin"
    uv = tmp_path / ".local" / "share" / "uv" / "python" / "cpython-3.12.7-linux" / "bin"
    for directory in (on_path, pyenv, uv):
        directory.mkdir(parents=True)
        (directory / "python3.12").touch()

    _, *found = candidates("3.12", tmp_path, {"PATH": f"/nowhere:{on_path}"})

    assert found == [directory / "python3.12" for directory in (on_path, pyenv, uv)]


def test_an_interpreter_that_there_is_not_is_told_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(NotHere, match=r"no python3\.99 on PATH, nor made by pyenv or uv"):
        interpreter("3.99")


def test_a_file_by_that_name_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.99: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NotHere):
        interpreter("3.99")


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [("Linux", "x86_64", "linux-x64"), ("Linux", "aarch64", "linux-arm64"), ("Darwin", "arm64", "darwin-arm64")],
)
def test_the_packages_of_postgresql_have_names_of_their_own_for_platforms(system: str, machine: str, name: str) -> None:
    assert embedded_platform(system, machine) == name


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("WARNING: x\nERROR: No matching distribution found for x==9\n", "No matching distribution found for x==9"),
        ("npm error code E404\nnpm error 404 Not Found\n", "code E404"),
        (
            "error: No solution found when resolving dependencies\n  cause: Because a needs b, they cannot be had.\n",
            "Because a needs b, they cannot be had.",
        ),
        ("all went well\n", None),
    ],
)
def test_the_reason_of_a_failed_installation_is_its_first_cause(said: str, why: str | None) -> None:
    assert reason(said) == why


def test_an_environment_has_what_users_and_tests_need() -> None:
    assert {"pytest", "psycopg[binary]"} <= set(requirements())
    assert any(name.startswith("celery[redis]>=") for name in requirements())
