"""The types that users get, checked by mypy in strict mode."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.workers import ROOT

HERE = Path(__file__).parent


def mypy(*files: str) -> list[str]:
    """The errors, one a line."""
    # Strict by the project's settings, which excuse nothing but Celery's own untyped decorators.
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context"]
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


def test_what_users_write_is_typed() -> None:
    assert mypy("tests/typing/public_face.py") == []


def test_the_public_face_uses_every_public_name_that_users_write() -> None:
    import sagas

    written = (HERE / "public_face.py").read_text()
    errors = {name for name in sagas.__all__ if issubclass(type(getattr(sagas, name)), type)}
    errors = {name for name in errors if issubclass(getattr(sagas, name), Exception)}

    assert [name for name in sagas.__all__ if name not in errors and not re.search(rf"\b{name}\b", written)] == []


def test_mistakes_are_refused_before_they_run() -> None:
    expected = {
        number
        for number, line in enumerate((HERE / "mistakes.py").read_text().splitlines(), 1)
        if line.endswith("# refused")
    }
    refused = {int(line.split(":")[1]) for line in mypy("tests/typing/mistakes.py") if ": error:" in line}

    assert refused == expected
