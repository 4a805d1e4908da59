"""The code of the last release, as it was committed: it runs beside ours in a rolling deploy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.workers import ROOT, Worker

COMMIT = "2ee3078b071112fd3cafc689c4567e512030bb78"


def unpack(directory: Path) -> Path:
    """Unpack the last release into an empty directory."""
    packed = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        pytest.skip(f"the history here lacks {COMMIT[:7]}: clone the repository, or git fetch --unshallow")
    subprocess.run(["tar", "-x", "-C", str(directory)], input=packed.stdout, check=True)
    return directory


def run_in(release: Path, database_url: str, broker_url: str, program: str) -> str:
    """Return the output of a program that runs that code."""
    environment = os.environ | {"PYTHONPATH": str(release)}
    environment |= {"SAGAS_DATABASE_URL": database_url, "SAGAS_BROKER_URL": broker_url}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=release, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def worker_of(release: Path, database_url: str, broker_url: str, log: Path) -> Worker:
    """Make a worker that runs that code; it is not started yet."""
    servers = {"SAGAS_DATABASE_URL": database_url, "SAGAS_BROKER_URL": broker_url}
    return Worker(servers, log, arguments=("-n", f"{log.stem}@%h", "-c", "2"), root=release)
