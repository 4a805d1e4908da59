"""Run processes that end with their block, and wait for conditions."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0


@contextmanager
def python(arguments: Sequence[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `python …` in its own process group, its output in a file; SIGTERM at the end, SIGKILL if need be."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=os.environ | {"C_FORCE_ROOT": "1", "PYTHONUNBUFFERED": "1"},
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def until(condition: Callable[[], T], what: str) -> T:
    """Wait for the condition's first true value, and return it.

    Raises:
        TimeoutError: there was none in time.
    """
    gives_up_at = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > gives_up_at:
            raise TimeoutError(f"waited {PATIENCE:g} s in vain for {what}")
        time.sleep(0.05)
    return value
