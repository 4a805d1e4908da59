"""Processes of a contender: started, waited for, frozen, ended; and what their trees have used of the CPU."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]

from config.servers import LIBC, PR_SET_PDEATHSIG
from tests.support.workers import ROOT, eventually, kill_group

#: What a worker says once it takes messages, and what our own programs print.
READY = " ready."


class Program:
    """A Python process in a group of its own, which ends with this process however that ends."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        *,
        python: str = sys.executable,
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._command = [python, *arguments]
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._from = 0
        #: By the clock, when it was first seen to be ready.
        self.ready_at: float | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._from = log.tell()
            self._process = subprocess.Popen(
                self._command,
                env=os.environ | {"PYTHONPATH": str(ROOT), "C_FORCE_ROOT": "1"} | self._environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_dies_with_us(),
            )

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    def is_ready(self) -> bool:
        """Whether it says so.

        Raises:
            AssertionError: it has ended before; with the end of its log.
        """
        assert self._process is not None
        text = self.text()
        if self._process.poll() is not None and READY not in text:
            raise AssertionError(f"{self.name} ended with {self._process.returncode}:\n{text[-4000:]}")
        if READY in text and self.ready_at is None:
            self.ready_at = time.time()
        return READY in text

    def text(self) -> str:
        """What this run of it has logged."""
        return self.log.read_bytes()[self._from :].decode(errors="replace")

    def wait(self, timeout: float) -> None:
        """Until it has ended by itself, and well.

        Raises:
            AssertionError: it takes longer, or ended with a status other than 0.
        """
        assert self._process is not None
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} has not ended after {timeout:g} s:\n{self.text()[-2000:]}") from None
        assert status == 0, f"{self.name} ended with {status}:\n{self.text()[-4000:]}"

    def freeze(self) -> None:
        """SIGSTOP to all of its group."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT; nothing for one that runs, or has ended."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self.pid, signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to end; `stop` waits for that."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self, patience: float = 15) -> None:
        if self._process is None:
            return
        self.terminate()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            pass
        kill_group(self._process.pid)
        self._process.wait()

    def cpu(self) -> float:
        return cpu_of(self.pid)

    def memory(self) -> list[int]:
        """Resident bytes of the process and of its children, the process first."""
        parent = psutil.Process(self.pid)
        return [process.memory_info().rss for process in (parent, *parent.children())]


def cpu_of(pid: int) -> float:
    """CPU seconds that a process, its living descendants, and those that ended and were waited for have used."""
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    used = 0.0
    for process in tree:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system + times.children_user + times.children_system
    return float(used)


@contextmanager
def running(programs: Iterable[Program], *, ready: bool = True) -> Iterator[None]:
    """Start all of them side by side, none is left after it; the block begins at once if they need not be ``ready``."""
    programs = list(programs)
    try:
        for program in programs:
            program.start()
        if ready:
            eventually(lambda: all(program.is_ready() for program in programs), "all processes to be ready", 120)
        yield
    finally:
        for program in programs:
            program.terminate()
        for program in programs:
            program.stop()


def pause(seconds: float) -> None:
    """Let time pass, where time itself is what is measured or an outage lasts; `eventually` waits for all else."""
    time.sleep(seconds)


def _dies_with_us() -> Callable[[], None] | None:
    libc, parent = LIBC, os.getpid()
    if libc is None or threading.current_thread() is not threading.main_thread():
        return None

    def sign() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return sign
