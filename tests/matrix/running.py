"""Run the parts of a row in its environment, and read what they say."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import make_url

from config.servers import EmbeddedPostgres, ServerError
from tests.matrix.environments import ROOT, NotHere, environment, postgres, versions
from tests.matrix.rows import PARTS, WITH_DATABASE, Row

#: Seconds after which a part has failed.
PATIENCE = 1800.0


@dataclass(kw_only=True, slots=True)
class Result:
    """What became of a row.

    Attributes:
        versions: what its environment holds, by package.
        parts: what each part said, in a few words; "passed" begins what did not fail.
        absent: why the row is not here; then nothing ran.
    """

    row: Row
    versions: Mapping[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    absent: str | None = None
    seconds: float = 0.0

    @property
    def has_failed(self) -> bool:
        return self.absent is None and not all(said.startswith("passed") for said in self.parts.values())


def run(row: Row, directory: Path, parts: Sequence[str], tell: Callable[[str], None]) -> Result:
    """Make what the row needs, and run its parts; their output is kept beside its environment."""
    result = Result(row=row)
    began = time.monotonic()
    try:
        tell(f"{row.name}: making {directory / row.name}")
        python = environment(row, directory / row.name)
        binaries = postgres(row.postgres, directory / f"postgres-{row.postgres}")
        result.versions = versions(python)
        with EmbeddedPostgres(durable=False, binaries=binaries) as server:
            url = make_url(server.url).set(drivername=f"postgresql+{row.driver}").render_as_string(hide_password=False)
            for name in parts:
                tell(f"{row.name}: {name}, output in {directory / row.name / f'{name}.log'}")
                result.parts[name] = _run_part(name, python, url if name in WITH_DATABASE else None)
    except (NotHere, ServerError) as error:
        result.absent = str(error).splitlines()[0].rstrip(".")
    result.seconds = time.monotonic() - began
    return result


def _run_part(name: str, python: Path, url: str | None) -> str:
    home = python.parents[1]
    # Only the row's own: what the environment around this one sets must not lead elsewhere.
    environ = {key: value for key, value in os.environ.items() if not key.startswith("SAGAS_")}
    environ |= {
        "PATH": f"{python.parent}:{os.environ.get('PATH', os.defpath)}",
        "VIRTUAL_ENV": str(home),
        "PYTHONPYCACHEPREFIX": str(home / "pycache"),
        "MYPY_CACHE_DIR": str(home / "mypy"),
    }
    if url is not None:
        environ["SAGAS_DATABASE_URL"] = url
    words = list(PARTS[name])
    if words[1] == "pytest":
        words += ["-p", "no:cacheprovider"]  # the next row's would take its place
    with (home / f"{name}.log").open("w") as log:
        try:
            done = subprocess.run([python, *words], env=environ, cwd=ROOT, stdout=log, stderr=log, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            return f"FAILED: no end within {PATIENCE:.0f} s"
    return judgement(done.returncode, (home / f"{name}.log").read_text(errors="replace"))


def judgement(status: int, output: str) -> str:
    """Return what a part said in a few words, by its exit status and the last lines of its output."""
    counted = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)s?\b", _last_line(output))}
    if status != 0:
        failed = counted.get("failed", 0) + counted.get("error", 0)
        return f"FAILED: {failed} of {failed + counted.get('passed', 0)}" if failed else f"FAILED: status {status}"
    return f"passed {counted['passed']:,}" if counted else "passed"


def _last_line(output: str) -> str:
    lines = output.strip().splitlines()
    return lines[-1] if lines else ""
