#!/usr/bin/env python3
"""Everything in one command, on a bare Python:

    python3 run.py demo                   watch sagas complete, compensate and survive kills
    python3 run.py shop django            a shop with a web page, in Django, Flask or FastAPI (--help)
    python3 run.py test                   every check: lint, format, types, layers, tests
    python3 run.py test --quick           the same without the tests that need servers or minutes
    python3 run.py test -k sweep -x       pytest only, with these arguments
    python3 run.py bench                  what sagas cost beside a bare chain and other libraries, as tables (--help)
    python3 run.py bench storm            what a backlog costs after an outage, as a table (--help)
    python3 run.py matrix                 the supported versions, each in an environment of its own, as a table (--help)
    python3 run.py exec celery -A config sagas migrate
                                          any command inside the environment, in this directory

The environment is `.venv` beside this file, made from requirements.lock when that has changed.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the Python that runs this may well be older
    sys.exit(f"This needs Python 3.11 or newer, and {sys.executable} is {sys.version.split()[0]}.")
if sys.platform == "win32":
    sys.exit("Celery has no workers for Windows: use WSL, Linux or macOS.")

import fcntl
import hashlib
import importlib.util
import json
import os
import shlex
import signal
import subprocess
import tempfile
import time
import tomllib
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "made-from"
# The libraries that `bench` compares with: beside the environment that the tests see, and never in it.
PEERS = VENV / "peers"
# These run at once, and each says what it found when it has ended. Collecting the tests compiles them: otherwise all
# processes of the next check would do that, at the same time.
STATIC = ["mypy", "ruff check .", "ruff format --check .", "lint-imports"]
COLLECT = "pytest --collect-only -qq"
# Most tests wait for something, so more of them than cores run at a time; those of a file run in one process. In
# the order of the names, or files of a few long tests would be left for the end.
TESTS = "pytest -n 6 --dist loadfile --no-loadscope-reorder"
QUICK = "pytest -q -n 2 -m 'not slow' tests/unit tests/architecture tests/typing"
# Tests of timeouts and killed processes can fail because a machine is busy. As in CPython's own suite, what fails runs
# once more, alone; a test that fails again has failed.
AGAIN = "pytest --last-failed --last-failed-no-failures none --maxfail 1"
FAILURES = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"


def main(arguments):
    command, rest = (arguments or ["help"])[0], arguments[1:]
    if command not in ("demo", "shop", "test", "bench", "matrix", "exec") or (command == "exec" and not rest):
        sys.exit(__doc__)
    os.chdir(ROOT)
    try:
        make_environment()
    except KeyboardInterrupt:
        sys.exit(130)
    except PermissionError as error:
        sys.exit(f"{error}\nIf another user made {VENV}, remove it or work in a copy of your own.")
    path = f"{VENV / 'bin'}:{os.environ.get('PATH', os.defpath)}"
    environ = os.environ | {"VIRTUAL_ENV": str(VENV), "PATH": path, "PYTHONPYCACHEPREFIX": str(VENV / "pycache")}
    # Each worker of a test is a process that would otherwise compile everything again.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if command == "bench" and not {"storm", "-h", "--help"} & set(rest):
        environ |= {"SAGAS_BENCH_PEERS": make_peers()}
    if command == "test" and rest in ([], ["--quick"]):
        sys.exit(run_checks(STATIC if rest else [*STATIC, COLLECT], QUICK if rest else TESTS, environ))
    words = {
        "demo": ["python", "-m", "config.demo", *rest],
        "shop": ["python", "-m", "config.examples.serve", *rest],
        "test": ["pytest", *rest],
        "bench": ["python", "-m", "tests.benchmarks", *rest],
        "matrix": ["python", "-m", "tests.matrix", *rest],
        "exec": rest,
    }[command]
    try:
        # Not a child: so its signals, terminal and exit status are those of this process.
        os.execvpe(words[0], words, environ)
    except FileNotFoundError:
        sys.exit(f"There is no command {words[0]!r}, neither in {VENV / 'bin'} nor on PATH.")


def run_checks(static, tests, environ):
    """Run all checks, even after one has failed, so that one run shows everything that needs mending."""
    failed, received, running = [], [], []

    def on_signal(signum, frame):
        received.append(signum)
        # At Ctrl-C the terminal signals the children too; a second signal would cut their cleaning up short.
        if signum == signal.SIGTERM:
            for child in running:
                child.send_signal(signum)

    def start(check, **options):
        running.append(subprocess.Popen(shlex.split(check), env=environ, **options))
        return running[-1]

    def run(check):
        print(f"\n=== {check}", flush=True)
        return start(check).wait()

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, on_signal)
    FAILURES.unlink(missing_ok=True)
    began, alone = time.monotonic(), []
    with ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in static]
        children = [start(check, stdout=output, stderr=output) for check, output in zip(static, outputs, strict=True)]
        for check, child, output in zip(static, children, outputs, strict=True):
            status = child.wait()
            output.seek(0)
            # The names of nine thousand tests say nothing; that they cannot be collected does.
            shown = "" if check == COLLECT and status == 0 else output.read()
            print(f"\n=== {check}\n{shown}", end="", flush=True)
            if status != 0:
                failed.append(check)
    if received:
        return 128 + received[0]
    status = run(tests)
    if status == 1 and tests == TESTS and not received:
        alone = sorted(json.loads(FAILURES.read_text()))
        status = run(AGAIN)
    if received:
        return 128 + received[0]
    if status != 0:
        failed.append(tests)
    if alone and TESTS not in failed:
        print("\n=== passed only when run alone:\n  " + "\n  ".join(alone))
    took = f"{time.monotonic() - began:.0f} s"
    print(f"\n=== {took}: " + (f"FAILED: {', '.join(failed)}" if failed else "all checks passed"), flush=True)
    return 1 if failed else 0


def make_environment():
    """Install requirements.lock into `.venv`, unless that is up to date."""
    sources = hashlib.sha256()
    for name in ("requirements.lock", "pyproject.toml"):
        sources.update((ROOT / name).read_bytes())
    # The place counts: a copied or moved .venv still points to where it was made.
    python = f"{sys.version.split()[0]} {sys.base_prefix} {ROOT}\n"
    wanted = f"{python}{sources.hexdigest()}\n"
    if is_made_from(wanted):
        return
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the second of two runs waits, and finds the work done
        if is_made_from(wanted):
            return
        print(f"Making {VENV} (once; about a minute) ...", file=sys.stderr, flush=True)
        if not is_made_from(python):
            # Made for another Python, or left half-made by a run that was killed.
            if importlib.util.find_spec("ensurepip") is None:
                name = f"python3.{sys.version_info.minor}-venv"
                sys.exit(f"This Python has no venv. On Debian and Ubuntu: apt install {name}")
            quietly(lock, sys.executable, "-m", "venv", "--clear", str(VENV))
        STAMP.unlink(missing_ok=True)
        pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
        quietly(lock, *pip, "--require-hashes", "-r", "requirements.lock")
        quietly(lock, *pip, "--no-deps", "--no-build-isolation", "-e", ".")
        STAMP.write_text(wanted)


def make_peers():
    """Install the dependency group `bench` over the environment. Return its Python, or why there is none."""
    names = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["bench"]
    python, stamp = PEERS / "bin" / "python", PEERS / "made-from"
    wanted = " ".join(names) + "\n" + STAMP.read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return str(python)
    print(f"Making {PEERS} (once) ...", file=sys.stderr, flush=True)
    try:
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", PEERS], capture_output=True, text=True)
        if made.returncode == 0:
            (ours,), (theirs,) = (list(venv.glob("lib/python*/site-packages")) for venv in (VENV, PEERS))
            (theirs / "over.pth").write_text(f"{ours}\n")
            pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q", "install", *names]
            made = subprocess.run(pip, capture_output=True, text=True, timeout=300, env=os.environ | {"PIP_USER": "0"})
    except subprocess.TimeoutExpired:
        return f"{' '.join(names)} could not be installed: it took too long"
    if made.returncode != 0:
        said = [line for line in made.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        return f"{' '.join(names)} could not be installed: {said[-1]}"
    stamp.write_text(wanted)
    return str(python)


def is_made_from(wanted):
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text().startswith(wanted)


def quietly(lock, *command):
    """Run a command; show its output only if it fails."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PIP_USER": "0"},  # some configurations set it; it does not work in a venv
        pass_fds=[lock.fileno()],  # if this process is killed, the lock holds until the command has ended
    )
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\n{shlex.join(command)}\nfailed with status {done.returncode}.")


if __name__ == "__main__":
    main(sys.argv[1:])
