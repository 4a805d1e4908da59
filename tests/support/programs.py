"""Celery's other programs as real processes: beat, Flower."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.workers import Worker


@contextmanager
def briefly(*workers: Worker) -> Iterator[None]:
    """Start workers, and kill them at the end: a warm shutdown takes seconds and proves nothing here."""
    try:
        for worker in workers:
            worker.start()
        yield
    finally:
        for worker in workers:
            if worker.process is not None and worker.process.poll() is None:
                worker.kill()


class Program(Worker):
    """`celery <arguments>`, or another program, in its own process group; ready when its log says so."""

    def __init__(
        self,
        environment: dict[str, str],
        log: Path,
        *,
        ready: str,
        arguments: tuple[str, ...] = (),
        application: str = "tests.support.application",
        program: tuple[str, ...] = (),
    ) -> None:
        super().__init__(environment, log)
        self._command = [*program] or ["celery", "-A", application, *arguments]
        self._ready = ready

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"{self._command} ended with {self.process.returncode}:\n{self.text()[-4000:]}")
        return self._ready in self.text()[self._from :]

    def stop(self) -> None:
        """Stop it with SIGTERM, or SIGKILL if it does not react."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()
