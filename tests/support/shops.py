"""Run the example shops: a framework's real web process, its worker, and a browser that orders there.

    make_tables("flask", database_url)                    # the shop's, the sagas' and the services'; pens in stock
    server = ShopServer("flask", database_url, broker_url, tmp_path)
    with serving(server), running(server.worker()), server.browser() as browser:
        answer = browser.order("order-1")                 # GET / comes first, for the CSRF cookie
        assert answer.status_code == 201
        assert browser.get("/orders/order-1/wait").json() == {"status": "completed"}

`server.kill()` is SIGKILL to the whole process group, `server.start()` begins anew on the same port. What the
processes say is in `web.log` and `worker.log` of the directory.
"""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import httpx

from config.demo import shelves
from config.examples.shops import SHOPS
from tasks.services import database, tables
from tests.support import forked
from tests.support.workers import ROOT, Worker, eventually

PENS = 1_000_000
#: How long a process may take to start on a busy machine, in seconds.
STARTS_WITHIN = 90.0
_environment = threading.Lock()


def make_tables(framework: str, database_url: str) -> None:
    """Prepare an empty database as the shop's launcher does, with enough pens for any test."""
    environment = {"SAGAS_DATABASE_URL": database_url}
    for _, *words in SHOPS[framework].prepare:
        done = forked.run(words, cwd=ROOT, env=os.environ | environment)
        assert done.returncode == 0, f"{' '.join(words)}:\n{done.stdout}{done.stderr}"
    # The services read the environment, and shops may be prepared side by side.
    with _environment, patch.dict(os.environ, environment):
        tables.create_tables(database.engine())
        shelves.stock_up("pen", PENS)
        # A database with a connection cannot be a template.
        database.engine().dispose()


class ShopServer:
    """The web process of one framework's shop, on a free port and in a process group of its own.

    Args:
        framework: `django`, `flask` or `fastapi`.
        directory: where its log goes, and its worker's.
        entry: the application of its HTTP server instead of the shop's own, as in `package.module:name`.
        environment: further variables for it and its worker.
    """

    def __init__(
        self,
        framework: str,
        database_url: str,
        broker_url: str,
        directory: Path,
        *,
        entry: str | None = None,
        **environment: str,
    ) -> None:
        self.framework = framework
        self.database_url = database_url
        self.broker_url = broker_url
        self.directory = directory
        self.log = directory / "web.log"
        self.process: forked.Forked | None = None
        self._shop = SHOPS[framework]
        self._entry = entry
        self._environment = {
            "SAGAS_DATABASE_URL": database_url,
            "SAGAS_BROKER_URL": broker_url,
            "SAGAS_HEARTBEAT": "0.5",
            "SAGAS_SWEEP_EVERY": "0.5",
        } | environment
        self._port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> "ShopServer":
        """Start it, and return when it answers requests."""
        _, *words = self._command()
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | self._environment
        self.process = forked.Forked(words, env=environment, cwd=ROOT, output=self.log)
        return self.wait_until_open()

    def wait_until_open(self) -> "ShopServer":
        """Wait until it answers requests (again)."""
        eventually(self._answers, f"the {self.framework} shop to open (see {self.log})", STARTS_WITHIN)
        return self

    def kill(self) -> None:
        """Kill all of its processes with SIGKILL, if there are any."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        """Stop it with SIGTERM, as a deployment does; with SIGKILL if that takes too long."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()

    def worker(self, *arguments: str, name: str = "worker") -> Worker:
        """Make a worker of this shop, not started yet; by default `-c 2`, prefork."""
        return Worker(
            self._environment,
            self.directory / f"{name}.log",
            application=self._shop.celery,
            arguments=("-n", f"{self.framework}-{name}@%h", *(arguments or ("-c", "2"))),
        )

    def browser(self) -> "Browser":
        """Return a customer's browser on this shop."""
        return Browser(self.url)

    def text(self) -> str:
        """Return its log so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _command(self) -> list[str]:
        words = self._shop.serve(self._port)
        if self._entry is None:
            return words
        return [self._entry if word.startswith(self._shop.celery) else word for word in words]

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the shop ended with {self.process.returncode}:\n{self.text()[-4000:]}")
        try:
            # gunicorn listens before it has loaded the application; an answer of any kind comes after.
            httpx.get(f"{self.url}/", trust_env=False, timeout=STARTS_WITHIN)
        except httpx.TransportError:
            return False
        return True


class Browser(httpx.Client):
    """A browser that has opened the shop's page: it keeps cookies, and sends what the page's script sends.

    Each request has its own connection, so that none meets one that the server is just closing.
    """

    def __init__(self, url: str, *, timeout: float = 60.0) -> None:
        super().__init__(
            base_url=url,
            timeout=timeout,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
            event_hooks={"request": [self._as_the_page_does]},
        )
        self._has_page = False

    def order(
        self,
        order_id: str | None = None,
        *,
        sku: str = "pen",
        quantity: int = 2,
        total: str = "9.90",
        at: str = "/orders",
        headers: dict[str, str] | None = None,
        **staging: float | bool,
    ) -> httpx.Response:
        """Place an order, with `step_seconds` and `shipping_fails` if given; without an id the shop assigns one."""
        body = {"sku": sku, "quantity": quantity, "total": total, **staging}
        return self.post(at, json=body if order_id is None else body | {"order_id": order_id}, headers=headers)

    def _as_the_page_does(self, request: httpx.Request) -> None:
        if request.method in ("GET", "HEAD"):
            return
        if not self._has_page:
            self._has_page = self.get("/").is_success
            # The request is already made, so httpx has not added the cookies.
            self.cookies.set_cookie_header(request)
        request.headers["Referer"] = f"{self.base_url}/"
        if token := self.cookies.get("csrftoken"):
            request.headers["X-CSRFToken"] = token


@contextmanager
def serving(*servers: ShopServer) -> Iterator[None]:
    """Start web processes, and leave none behind, whatever happens."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
