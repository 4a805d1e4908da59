"""Debian's packages that only some tests want, installed where that is nobody's machine but the tests' own."""

import os
import shutil
import subprocess
from pathlib import Path

#: No questions, and to Debian's `invoke-rc.d`: nothing is to be started.
QUIETLY = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}


def install(package: str) -> str | None:
    """By apt-get, in a container of root's, where no service starts by that. Returns why not, None: it is done."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None or Path("/run/systemd/system").exists():
        return f"{package} is not installed, and this is no container in which root could do it by apt-get"
    command = ("apt-get", "install", "--yes", "--no-install-recommends", package)
    done = subprocess.run(command, env=os.environ | QUIETLY, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"{package} cannot be installed: {done.stderr[-500:]}"
