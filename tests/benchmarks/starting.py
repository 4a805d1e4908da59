"""Starter processes of a run: they are ended with it, and what they measured comes back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.bench_servers import Run
from tests.benchmarks.processes import Program, running


@dataclass(frozen=True, kw_only=True)
class Application:
    """A module of `applications`, the Python that runs it, and what its processes find in their environment."""

    module: str
    python: str | None = None
    environment: tuple[tuple[str, str], ...] = ()

    def starter(self, run: Run, name: str, *words: str) -> Program:
        arguments = ["-m", "tests.benchmarks.starter", self.module, *words]
        return run.program(name, arguments, python=self.python, **dict(self.environment))

    def prepare(self, run: Run) -> None:
        """Make its tables."""
        finished([self.starter(run, "prepare", "prepare", "1")], 180)

    def start(self, run: Run, what: str, count: int, *options: str, processes: int = 1) -> list[dict[str, Any]]:
        """Start so many, from so many processes. Returns what each of these measured."""
        share, rest = divmod(count, processes)
        shares = [share + (number < rest) for number in range(processes)]
        starters = [
            self.starter(run, f"starter{number}", what, str(part), *options)
            for number, part in enumerate(shares)
            if part
        ]
        return finished(starters, 120 + count / 10)


def finished(programs: Sequence[Program], timeout: float) -> list[dict[str, Any]]:
    """Run them side by side to their ends. Returns what each has printed as its last line."""
    with running(programs, ready=False):
        for program in programs:
            program.wait(timeout)
        lines = [program.text().strip().splitlines() for program in programs]
    return [json.loads(line[-1]) for line in lines if line and line[-1].startswith("{")]
