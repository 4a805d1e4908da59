"""Run a shop with everything it needs: `python3 run.py shop django` (or `flask`, or `fastapi`), with an optional port.

It uses the servers that SAGAS_DATABASE_URL and SAGAS_BROKER_URL name, and starts its own where they are not set.
"""

import argparse
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from config.examples.order_form import SLOWEST
from config.examples.page import SLOW
from config.examples.shops import SHOPS
from config.processes import python, until
from config.servers import EmbeddedBroker, EmbeddedPostgres

PORT = 8000
#: How long a step takes by default: long enough to see it, and to press Cancel.
SECONDS = 1.5


def seconds(text: str) -> float:
    """Parse how long a step takes."""
    value = float(text)
    if not 0 <= value <= SLOWEST:
        raise argparse.ArgumentTypeError(f"must be from 0 to {SLOWEST:g} seconds")
    return value


def options(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line; exit with status 2 if it is invalid."""
    parser = argparse.ArgumentParser(prog="python3 run.py shop", description="Open a shop with sagas on this machine.")
    parser.add_argument("framework", choices=SHOPS)
    parser.add_argument("port", nargs="?", type=int, default=PORT)
    parser.add_argument(
        "--slow",
        metavar="SECONDS",
        type=seconds,
        default=SECONDS,
        help=f"how long each step takes, from 0 to {SLOWEST:g}, unless the order form says otherwise "
        "(default: %(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    chosen = options(arguments)
    os.environ[SLOW] = str(chosen.slow)
    signal.signal(signal.SIGTERM, _interrupted)
    with ExitStack() as started:
        try:
            return _serve(chosen.framework, chosen.port, started)
        except KeyboardInterrupt:
            print("\nstopping everything that was started", flush=True)
            return 0


def _interrupted(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _serve(framework: str, port: int, started: ExitStack) -> int:
    shop = SHOPS[framework]
    own: dict[str, str] = {}
    if not os.environ.get("SAGAS_DATABASE_URL"):
        own["SAGAS_DATABASE_URL"] = started.enter_context(EmbeddedPostgres()).url
    if not os.environ.get("SAGAS_BROKER_URL"):
        own["SAGAS_BROKER_URL"] = started.enter_context(EmbeddedBroker()).url
    os.environ.update(own)
    for command in shop.prepare:
        subprocess.run([sys.executable, *command], check=True)
    _open_for_business()
    logs = Path(started.enter_context(TemporaryDirectory(prefix="sagas-shop-")))
    schedule = str(logs / "schedule")
    worker = started.enter_context(python(shop.worker("-c", "2", "-s", schedule), logs / "worker.log"))
    web = started.enter_context(python(shop.serve(port), logs / "web.log"))

    def ended() -> list[str]:
        return [name for name, process in (("web", web), ("worker", worker)) if process.poll() is not None]

    def is_open() -> bool:
        return _listens(port) and " ready." in (logs / "worker.log").read_text()

    until(lambda: ended() or is_open(), "the shop to open")
    for name in ended():
        print((logs / f"{name}.log").read_text()[-4000:], file=sys.stderr)
        return 1
    print(f"The {framework} shop is open: http://127.0.0.1:{port}/  (pens are in stock; Ctrl-C closes it)", flush=True)
    if framework == "django":
        print(f"Its admin: http://127.0.0.1:{port}/admin/  user admin, password {_admin()}", flush=True)
    print("Its sagas, in another terminal:", flush=True)
    for name, value in own.items():
        print(f"  export {name}={shlex.quote(value)}", flush=True)
    print(f"  python3 run.py exec celery -A {shop.celery} sagas list", flush=True)
    print(f"Logs: {logs}", flush=True)
    return web.wait()


def _open_for_business() -> None:
    # Imported only now: the services read the environment.
    from config.demo import shelves
    from tasks.services import database, tables

    tables.create_tables(database.engine())
    shelves.stock_up("pen", 1000)


def _admin() -> str:
    """Create an administrator with a random password, and return the password."""
    password = secrets.token_urlsafe(9)
    given = {"DJANGO_SUPERUSER_PASSWORD": password}
    make = ["createsuperuser", "--noinput", "--username", "admin", "--email", "admin@localhost"]
    command = [sys.executable, "-m", "config.examples.django_shop.manage", *make]
    made = subprocess.run(command, env=os.environ | given, capture_output=True, text=True)
    return password if made.returncode == 0 else "as it was set before"


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
