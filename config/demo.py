"""The story, on real servers and real processes: `python3 run.py demo`.

Three orders. One completes. One is refused at shipping and is undone in reverse. One loses its worker to a
SIGKILL right after the card was charged, and another worker takes it over. Then the books, which prove that
nothing was lost and nothing was done twice. It uses the servers that SAGAS_DATABASE_URL and SAGAS_BROKER_URL
name, and starts its own where they are not set.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager, ExitStack
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from uuid import uuid4

from config.processes import PATIENCE, python, until
from config.servers import EmbeddedBroker, EmbeddedPostgres


def main() -> int:
    signal.signal(signal.SIGTERM, _interrupted)
    with ExitStack() as started:
        try:
            return _story(started)
        except KeyboardInterrupt:
            print("\ninterrupted: stopping everything that was started", flush=True)
            return 130


def _interrupted(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _story(started: ExitStack) -> int:
    began = time.monotonic()
    _say("starting the servers")
    if not os.environ.get("SAGAS_DATABASE_URL"):
        os.environ["SAGAS_DATABASE_URL"] = started.enter_context(EmbeddedPostgres()).url
        print("  PostgreSQL, from a wheel, on a Unix socket")
    if not os.environ.get("SAGAS_BROKER_URL"):
        os.environ["SAGAS_BROKER_URL"] = started.enter_context(EmbeddedBroker()).url
        print("  Valkey, from a wheel, on a Unix socket")

    # Only now: the application reads its environment when it is imported.
    from config.celery_app import sagas
    from tasks.orders import order
    from tasks.services import books, database, faults, inventory, tables

    sagas.migrate()
    tables.create_tables(database.engine())
    faults.clear()
    started.callback(faults.clear)
    logs = Path(started.enter_context(TemporaryDirectory(prefix="sagas-demo-")))
    workers = {
        name: started.enter_context(_celery(logs, name, "worker", "-n", f"{name}@%h", "-c", "2"))
        for name in ("one", "two")
    }
    started.enter_context(_celery(logs, "beat", "beat", "-s", str(logs / "schedule")))
    for name in workers:
        until(lambda log=logs / f"{name}.log": " ready." in log.read_text(), f"worker {name} to be ready")
    print("  two workers and beat")

    pen = f"pen-{uuid4().hex[:8]}"
    inventory.stock_up(pen, 10)

    def place(number: int, what: str) -> tuple[str, dict[str, object]]:
        order_id = f"{uuid4().hex[:8]}-{number}"
        _say(f"order {number}: {what}")
        items = [{"sku": pen, "quantity": 2}]
        return order_id, {"order_id": order_id, "items": items, "total": Decimal("9.90")}

    first, data = place(1, "everything succeeds")
    good = order.start(data, key=first)
    good.wait(PATIENCE)
    print(good.timeline())

    second, data = place(2, "shipping refuses, so the money goes back and then the goods")
    faults.inject("shipping", "create", "refuse", order_id=second)
    undone = order.start(data, key=second)
    undone.wait(PATIENCE)
    print(undone.timeline())

    third, data = place(3, "its worker is killed (SIGKILL) right after the card was charged")
    hang = faults.inject("payment", "charge", "latency", moment="after", seconds=120, times=1, order_id=third)
    taken_over = order.start(data, key=third)
    until(lambda: faults.hits(hang), "the card to be charged")
    holder = str(taken_over.steps[1].worker).partition("@")[0]
    os.killpg(workers[holder].pid, signal.SIGKILL)
    killed_at = time.monotonic()
    print(f"  killed worker {holder!r} with all its processes; waiting for the sweep to notice", flush=True)
    taken_over.wait(PATIENCE)
    print(f"  the saga ended {time.monotonic() - killed_at:.1f} s after the kill")
    print(taken_over.timeline())

    _say("the books")
    audit = books.audit(database.engine(), completed=[first, third], compensated=[second])
    for order_id in (first, second, third):
        book = audit.orders[order_id]
        print(
            f"  order {order_id}: {book.live_charges} live charge, {book.charged} charged, {book.refunded} refunded, "
            f"{book.shipped} pieces shipped, {book.held} held, {book.notifications} confirmation"
        )
    shelf = audit.stock[pen]
    print(
        f"  {pen}: {shelf.initial} came in = {shelf.available} available + {shelf.held} held + {shelf.shipped} shipped"
    )
    for violation in audit.violations:
        print(f"  VIOLATION {violation}")
    ended = [run.status.value for run in (good, undone, taken_over)]
    right = ended == ["completed", "compensated", "completed"] and not audit.violations
    print(f"  {', '.join(ended)}: " + ("nothing lost, nothing done twice" if right else "THIS IS WRONG"))
    print(f"\ntold in {time.monotonic() - began:.0f} s; stopping everything that was started", flush=True)
    return 0 if right else 1


def _celery(logs: Path, name: str, *arguments: str) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    return python(["-m", "celery", "-A", "config", *arguments, "-l", "INFO"], logs / f"{name}.log")


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
