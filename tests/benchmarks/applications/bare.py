"""What a Celery shop writes without a library for it: a chain. And the same with a row that it keeps by hand."""

import os
from typing import Any
from uuid import uuid4

import psycopg2
from celery import Celery, chain, shared_task

from tests.benchmarks.applications.noted_times import note_end

TABLE = "CREATE TABLE progress (id uuid PRIMARY KEY, step integer NOT NULL, at timestamptz NOT NULL)"
BEGIN = "INSERT INTO progress (id, step, at) VALUES (%s, 0, clock_timestamp())"
ADVANCE = "UPDATE progress SET step = %s, at = clock_timestamp() WHERE id = %s"

app = Celery("tests.benchmarks.applications.bare", broker=os.environ.get("SAGAS_BROKER_URL", "memory://"))
app.conf.worker_hijack_root_logger = False
LATE = os.environ.get("SAGAS_BENCH_ACKS", "late") == "late"
if LATE:
    app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1)
_connections: list[Any] = []


@shared_task(ignore_result=True)
def noop() -> None:
    """Do nothing."""


@shared_task(ignore_result=True)
def end() -> None:
    note_end()


@shared_task(ignore_result=True)
def on_error() -> None:
    """What a chain with undoing would have; it is never called here."""


@shared_task(ignore_result=True)
def advance(row: str, step: int, last: bool) -> None:
    """Write in a row of its own, committed at once, how far it is."""
    _execute(ADVANCE, step, row)
    if last:
        note_end()


def prepare() -> None:
    _execute(TABLE)


def start(what: str) -> None:
    """Publish a chain: ``"chain bench 3"``, or ``"rows bench 3"`` with a row that each step updates."""
    shape, queue, count = what.split()
    length = int(count)
    if shape == "rows":
        row = str(uuid4())
        _execute(BEGIN, row)
        steps = [advance.si(row, number, number == length) for number in range(1, length + 1)]
    else:
        steps = [*(noop.si() for _ in range(length - 1)), end.si()]
    published = chain(*(step.set(queue=queue) for step in steps))
    published.apply_async(link_error=on_error.si() if LATE else None)


def _execute(statement: str, *parameters: Any) -> None:
    """On this process's own connection: a fork's parent keeps none."""
    if not _connections:
        # As libpq reads it, without the driver that SQLAlchemy is told.
        connection = psycopg2.connect(os.environ["SAGAS_DATABASE_URL"].replace("+psycopg2", ""))
        connection.autocommit = True
        _connections.append(connection)
    _connections[0].cursor().execute(statement, parameters or None)
