"""Processes under a supervisor that starts again whatever has ended, as Docker and systemd do."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]

from config.servers import LIBC, PR_SET_PDEATHSIG
from tests.support.workers import ROOT, kill_group

#: Before a process is started again, in seconds; doubles while it does not live for long.
FIRST_PAUSE, LONGEST_PAUSE, LIVES = 0.3, 5.0, 6.0


class Kept:
    """One process that is kept running, in a process group of its own."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.command = list(command)
        self.environment = dict(environment)
        self.log = log
        self.wanted = True
        #: How it ended by itself: exit statuses, negative ones are signals.
        self.exits: Counter[int] = Counter()
        self.frozen = False
        self.preload: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._pause = FIRST_PAUSE
        self._next_start = 0.0

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return self._process.pid if self._process is not None and not self._has_ended() else None

    @property
    def age(self) -> float:
        """Seconds since it was started; 0 while it does not run."""
        return time.monotonic() - self._started_at if self.pid else 0.0

    def children(self) -> list[int]:
        """Its own children: a pool's processes."""
        try:
            return [child.pid for child in psutil.Process(self.pid).children()] if self.pid else []
        except psutil.NoSuchProcess:
            return []

    def supervise(self) -> None:
        """Start it if it should run and does not."""
        if self._process is not None and self._has_ended():
            self.exits[self._process.returncode] += 1
            lived = time.monotonic() - self._started_at
            self._pause = FIRST_PAUSE if lived > LIVES else min(self._pause * 2, LONGEST_PAUSE)
            self._next_start = time.monotonic() + self._pause
            self._process = None
        if self.wanted and self._process is None and time.monotonic() >= self._next_start:
            self._start()

    def _start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env=os.environ | {"PYTHONPATH": str(ROOT), "C_FORCE_ROOT": "1"} | self.environment | self.preload,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_dies_with_us(),
            )
        self._started_at = time.monotonic()

    def _has_ended(self) -> bool:
        """As with a container, nothing outlives the main process. Its id is nobody else's until it is waited for."""
        process = self._process
        assert process is not None
        if process.returncode is None:
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return False
            kill_group(process.pid)
            process.wait()
        return True

    def signal(self, signum: signal.Signals, *, whole: bool = True) -> None:
        """To the process, or to its whole group."""
        if self.pid:
            try:
                (os.killpg if whole else os.kill)(self.pid, signum)
            except ProcessLookupError:
                pass

    def freeze(self, *, whole: bool = True) -> None:
        """SIGSTOP, until `thaw`."""
        self.signal(signal.SIGSTOP, whole=whole)
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT."""
        self.frozen = False
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to all of it: the power went."""
        process = self._process
        if process is not None and process.returncode is None:
            kill_group(process.pid)
            process.wait()

    def end(self) -> None:
        """For good."""
        self.wanted = False
        self.kill()

    def text(self) -> str:
        """What it has said."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def _dies_with_us() -> Callable[[], None] | None:
    libc: ctypes.CDLL | None = LIBC
    if libc is None:
        return None

    def sign() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)

    return sign


def worker_command(name: str, *arguments: str) -> list[str]:
    """A `celery worker` of the campaign."""
    celery = [sys.executable, "-m", "celery", "-A", "tests.faults.campaign.application"]
    return [*celery, "worker", "-l", "WARNING", "-n", f"{name}@%h", *arguments]


def beat_command(name: str, directory: Path) -> list[str]:
    """A `celery beat` with a schedule of its own."""
    celery = [sys.executable, "-m", "celery", "-A", "tests.faults.campaign.application"]
    return [*celery, "beat", "-l", "WARNING", "-s", str(directory / f"{name}-schedule"), "--pidfile="]
