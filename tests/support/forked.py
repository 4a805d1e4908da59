"""Python programs as processes that begin with their imports done.

A program of Celery's needs a second of a core to import what it needs, and the tests start some hundreds. Here it is
forked from a server that has imported that once; otherwise it is a process as any other, with a session, an
environment, a working directory and an output of its own.
"""

import atexit
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

#: What is imported once. Nothing that reads the environment or declares sagas as it is imported, as applications do.
IMPORTED = (
    "celery.bin.celery",
    "celery.apps.worker",
    "celery.concurrency.prefork",
    "celery.worker.consumer",
    # What each child of a pool would parse C with, to ask for the signal at its parent's death.
    "pycparser.c_parser",
    "cffi.cparser",
    "pytest",
    "kombu.transport.redis",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "sagas.cli",
    "sagas.recovery",
    "tests.support.imported",
)
Done = subprocess.CompletedProcess[str]

processes = get_context("forkserver")
processes.set_forkserver_preload(list(IMPORTED))


class Forked:
    """``python -m <module> <arguments>``, with those methods of `subprocess.Popen` that tests use."""

    def __init__(
        self, words: list[str], *, env: Mapping[str, str], cwd: Path, output: Path, errors: Path | None = None
    ) -> None:
        streams = str(output), str(errors or output)
        self._process = processes.Process(target=_run, args=(words, dict(env), str(cwd), *streams), daemon=True)
        self._process.start()
        self._lock = threading.Lock()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        with self._lock:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired("python -m", timeout or 0)
        return status

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, signum: signal.Signals) -> None:
        if self.poll() is None:
            try:
                os.kill(self.pid, signum)
            except ProcessLookupError:
                pass  # it has just ended


def run(words: list[str], *, env: Mapping[str, str], cwd: Path, timeout: float = 120) -> Done:
    """Run ``python -m <words>`` to its end, as `subprocess.run` does that captures texts."""
    with TemporaryDirectory() as directory:
        output, errors = Path(directory, "output"), Path(directory, "errors")
        process = Forked(words, env=env, cwd=cwd, output=output, errors=errors)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return Done(words, status, output.read_text(), errors.read_text())


def _run(words: list[str], environment: dict[str, str], directory: str, output: str, errors: str) -> None:
    """Become the program, in the new process."""
    os.setsid()
    for stream, path in ((1, output), (2, errors)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(opened, stream)
        os.close(opened)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    given = [path for path in environment.get("PYTHONPATH", "").split(":") if path and path not in sys.path]
    sys.path[:0] = [directory, *given]
    module, *arguments = words
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # a process of `multiprocessing` ends without
