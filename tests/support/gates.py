"""Moments that a test and the steps in its workers wait for, by name: a step reaches a gate, the test opens it."""

import time
from typing import Any
from uuid import UUID

from sagas import SagaHandle, current_step
from tests.support import journal
from tests.support.workers import eventually

#: A step that waits for longer was forgotten by its test.
PATIENCE = 60.0


def wait_for(name: str) -> None:
    """Report in a step that it is here, and stay until the test opens the gate."""
    connection = journal.connect()
    try:
        _set(connection, current_step.saga_id, name, "reached = gate.reached + 1", reached=1)
        gives_up_at = time.monotonic() + PATIENCE
        while not _is_open(connection, current_step.saga_id, name):
            if time.monotonic() > gives_up_at:
                raise AssertionError(f"no test opened the gate {name!r}")
            time.sleep(0.02)
    finally:
        connection.close()


def is_open(name: str) -> bool:
    """Return, in a step, whether the test has opened the gate."""
    connection = journal.connect()
    try:
        return _is_open(connection, current_step.saga_id, name)
    finally:
        connection.close()


def open_gate(url: str, run: SagaHandle, name: str) -> None:
    """Open the gate in a test, for steps that wait and steps that come."""
    connection = journal.connect(url)
    try:
        _set(connection, run.id, name, "open = true", is_open=True)
    finally:
        connection.close()


def until_reached(url: str, run: SagaHandle, name: str, times: int = 1) -> None:
    """Wait in a test until steps have come to the gate so many times."""
    connection = journal.connect(url)
    cursor = connection.cursor()

    def reached() -> bool:
        cursor.execute("SELECT reached FROM public.gate WHERE saga_id = %s AND name = %s", (str(run.id), name))
        row = cursor.fetchone()
        return row is not None and row[0] >= times

    try:
        eventually(reached, f"step number {times} at the gate {name!r}")
    finally:
        connection.close()


def _is_open(connection: Any, saga_id: UUID, name: str) -> bool:
    cursor = connection.cursor()
    cursor.execute("SELECT open FROM public.gate WHERE saga_id = %s AND name = %s", (str(saga_id), name))
    row = cursor.fetchone()
    return row is not None and row[0]


def _set(connection: Any, saga_id: UUID, name: str, change: str, reached: int = 0, is_open: bool = False) -> None:
    connection.cursor().execute(
        "INSERT INTO public.gate AS gate (saga_id, name, reached, open) VALUES (%s, %s, %s, %s) "
        f"ON CONFLICT (saga_id, name) DO UPDATE SET {change}",
        (str(saga_id), name, reached, is_open),
    )
