"""DBOS: workflows whose steps are checkpointed in PostgreSQL, in threads of one process; it needs that package.

``python -m tests.benchmarks.applications.dbos_shop`` is one executing process.
"""

import os
import signal
from typing import Any

from dbos import DBOS, DBOSClient
from sqlalchemy import make_url

from tests.benchmarks.applications.noted_times import BENCH, GO, WARM, client, note_beginning, note_end

THREADS = int(os.environ.get("SAGAS_BENCH_THREADS", "16"))
URL = make_url(os.environ["SAGAS_DATABASE_URL"]).set(drivername="postgresql").render_as_string(hide_password=False)
VERSION = "bench"
_clients: list[Any] = []


@DBOS.step()
def noop() -> None:
    """Do nothing."""


@DBOS.step()
def begin() -> None:
    note_beginning()


@DBOS.step()
def end() -> None:
    note_end()


@DBOS.workflow(name="noops")
def noops(length: int) -> None:
    begin()
    for _ in range(length - 2):
        noop()
    end()


def launch() -> None:
    DBOS(
        config={
            "name": "bench",
            "system_database_url": URL,
            "application_version": VERSION,
            "executor_id": f"executor-{os.getpid()}",
            "log_level": "WARNING",
        }
    )
    DBOS.launch()
    register(WARM)


def register(queue: str) -> None:
    DBOS.register_queue(queue, worker_concurrency=THREADS, polling_interval_sec=0.05)


def prepare() -> None:
    launch()
    DBOS.destroy()


def start(what: str) -> None:
    if not _clients:
        _clients.append(DBOSClient(system_database_url=URL))
    _, queue, length = what.split()
    _clients[0].enqueue({"workflow_name": "noops", "queue_name": queue, "app_version": VERSION}, int(length))


def main() -> None:
    """Execute what is in the first queue; what is in the second, when it is told to."""
    launch()
    print("dbos is ready.", flush=True)
    client.blpop([GO])
    register(BENCH)
    signal.pause()


if __name__ == "__main__":
    main()
