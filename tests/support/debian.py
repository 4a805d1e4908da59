"""Debian's packages that only some tests need, installed only on a machine that is the tests' own."""

import os
import shutil
import subprocess
from pathlib import Path

#: No questions, and `invoke-rc.d` must not start anything.
QUIETLY = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}


def install(package: str) -> str | None:
    """Install by apt-get, as root in a container, where that starts no service. Return why not; None: it is done."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None or Path("/run/systemd/system").exists():
        return f"{package} is not installed, and this is not a container in which root could install it by apt-get"
    command = ("apt-get", "install", "--yes", "--no-install-recommends", package)
    done = subprocess.run(command, env=os.environ | QUIETLY, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"{package} cannot be installed: {done.stderr[-500:]}"
