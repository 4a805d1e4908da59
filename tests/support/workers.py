"""Real Celery processes for tests: started, waited for, killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.support.forked import Forked

ROOT = Path(__file__).resolve().parents[2]
#: Set if workers are to make every saga inline.
ALL_INLINE = "SAGAS_TEST_INLINE"


def eventually(condition: Callable[[], Any], what: str, timeout: float = 30.0, every: float = 0.05) -> Any:
    """Wait for the condition's first true value and return it, or fail naming what never came."""
    value = within(timeout, condition, every)
    if not value:
        raise AssertionError(f"waited {timeout:g} s in vain for: {what}")
    return value


def within(timeout: float, condition: Callable[[], Any], every: float = 0.05) -> Any:
    """Wait for the condition's first true value and return it, or its last one when the time is over."""
    gives_up_at = time.monotonic() + timeout
    while True:
        value = condition()
        if value or time.monotonic() > gives_up_at:
            return value
        time.sleep(every)


def kill_group(leader: int) -> None:
    """Kill a process and all that share its group with SIGKILL, if any is left."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass


def with_what_is_asked(arguments: tuple[str, ...]) -> list[str]:
    """A worker's arguments, with the module that makes all sagas inline if the test run is asked to."""
    given = list(arguments)
    if ALL_INLINE not in os.environ:
        return given
    if "-I" not in given:
        return [*given, "-I", "tests.support.all_inline"]
    given[given.index("-I") + 1] += ",tests.support.all_inline"
    return given


class Worker:
    """A `celery worker` in its own process group."""

    def __init__(
        self,
        environment: dict[str, str],
        log: Path,
        *,
        application: str = "tests.support.application",
        arguments: tuple[str, ...] = ("-c", "2"),
        root: Path = ROOT,
    ) -> None:
        self.log = log
        self._root = root
        self._command = ["celery", "-A", application, "worker", "-l", "INFO"]
        self._command += ["--without-gossip", "--without-mingle", "--without-heartbeat", *with_what_is_asked(arguments)]
        self.environment = os.environ | {"PYTHONPATH": str(root), "C_FORCE_ROOT": "1"} | environment
        self.process: subprocess.Popen[bytes] | Forked | None = None

    def start(self) -> "Worker":
        self._from = self.log.stat().st_size if self.log.exists() else 0
        self.process = self._launched()
        eventually(self._is_ready, f"the worker to be ready (see {self.log})", 60)
        return self

    def _launched(self) -> subprocess.Popen[bytes] | Forked:
        # Greenlets patch the standard library before anything is imported, and another release imports its own code.
        is_of_this_code = self._root == ROOT or not (self._root / "sagas").exists()
        if is_of_this_code and not {"gevent", "eventlet"} & set(self._command):
            return Forked(self._command, env=self.environment, cwd=self._root, output=self.log)
        command = [sys.executable, "-m", *self._command]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, env=self.environment, cwd=self._root, stdout=log, stderr=log, start_new_session=True
            )

    def _is_ready(self) -> bool:
        assert self.process is not None
        text = self.text()[self._from :]
        if self.process.poll() is not None:
            raise AssertionError(f"the worker ended with {self.process.returncode}:\n{text[-4000:]}")
        return " ready." in text

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def children(self) -> list[int]:
        """Return the pool's processes."""
        return [child.pid for child in psutil.Process(self.pid).children()]

    def kill(self) -> None:
        """Kill the parent and all of its children with SIGKILL, as if the machine lost its power."""
        assert self.process is not None
        kill_group(self.process.pid)
        self.process.wait()

    def stop(self) -> None:
        """Shut down warmly with SIGTERM; with SIGKILL if that takes too long."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def running(*workers: Worker) -> Iterator[None]:
    """Start workers, and leave none behind, whatever happens."""
    try:
        for worker in workers:
            worker.start()
        yield
    finally:
        for worker in workers:
            worker.stop()
