"""The command line in the test's own process, which is quicker than a process for each command."""

from collections.abc import Callable
from inspect import signature
from typing import Any

from click.testing import CliRunner, Result

#: Runs ``celery … sagas`` with these arguments.
Here = Callable[..., Result]


def runner() -> CliRunner:
    """Return what invokes a command, and keeps its two outputs apart."""
    # Before click 8.2 it mixes them unless it is told not to.
    apart: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
    return CliRunner(**apart)
