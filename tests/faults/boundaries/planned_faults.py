"""Planned faults: a table of which saga's process dies where. A test fills it; processes ask at each point they pass.

Counting in the database makes "the n-th passage" one number over all processes of a saga. The same table keeps what
was passed, so a healthy run shows every point that a saga has.
"""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from tests.support import journal

CREATE = """
CREATE TABLE public.planned_fault (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga_id uuid NOT NULL, point text NOT NULL, nth integer NOT NULL, how text NOT NULL, turn integer NOT NULL,
    passed integer NOT NULL DEFAULT 0, struck_at timestamptz, pid integer
);
CREATE TABLE public.passage (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga_id uuid NOT NULL, point text NOT NULL, step text, pid integer NOT NULL, struck boolean NOT NULL DEFAULT false
);
CREATE INDEX ON public.planned_fault (saga_id, point);
CREATE INDEX ON public.passage (saga_id);
"""

#: One round trip: the passage is recorded, and counted if a fault is planned there whose turn has come.
PASS = """
WITH struck AS (
    UPDATE public.planned_fault SET passed = passed + 1, pid = %(pid)s,
        struck_at = CASE WHEN passed + 1 = nth THEN clock_timestamp() END
    WHERE saga_id = %(saga_id)s AND point = %(point)s AND struck_at IS NULL AND NOT EXISTS (
        SELECT FROM public.planned_fault AS earlier WHERE earlier.saga_id = planned_fault.saga_id
            AND earlier.turn < planned_fault.turn AND earlier.struck_at IS NULL)
    RETURNING how, struck_at
), written AS (
    INSERT INTO public.passage (saga_id, point, step, pid, struck)
    VALUES (%(saga_id)s, %(point)s, %(step)s, %(pid)s, EXISTS (SELECT FROM struck WHERE struck_at IS NOT NULL))
)
SELECT how FROM struck WHERE struck_at IS NOT NULL LIMIT 1
"""

#: Stands for the saga at points that belong to none: a worker's heartbeats, a sweep's look around.
NO_SAGA = UUID(int=0)


class How(StrEnum):
    """What happens at a point."""

    PROCESS = "process"  # that one dies, as by the OOM killer
    GROUP = "group"  # its whole worker dies, as with its container
    REFUSED = "refused"  # no process dies: what was about to happen raises


@dataclass(frozen=True, kw_only=True)
class PlannedFault:
    """One fault of a saga: at the n-th passage of a point, counted once its turn has come."""

    point: str
    nth: int = 1
    how: How = How.PROCESS
    turn: int = 0


@dataclass(frozen=True)
class Passage:
    """A point that a process passed for a saga; its last one if it was `struck` there."""

    point: str
    step: str | None
    pid: int
    struck: bool

    @property
    def what(self) -> str:
        """The point without its site."""
        return self.point.partition(" | ")[2]


def create(url: str) -> None:
    journal.query(url, CREATE)


def arm(url: str, saga_id: UUID, faults: Sequence[PlannedFault]) -> None:
    """Plan faults, before a saga starts or later."""
    for fault in faults:
        journal.query(
            url,
            "INSERT INTO public.planned_fault (saga_id, point, nth, how, turn) VALUES (%s, %s, %s, %s, %s)",
            str(saga_id),
            fault.point,
            fault.nth,
            fault.how.value,
            fault.turn,
        )


def outstanding(url: str, saga_id: UUID) -> list[str]:
    """Return the points of the faults that have not struck yet."""
    rows = journal.query(
        url,
        "SELECT point FROM public.planned_fault WHERE saga_id = %s AND struck_at IS NULL ORDER BY turn",
        str(saga_id),
    )
    return [point for (point,) in rows]


def passages(url: str, saga_id: UUID) -> list[Passage]:
    """Return every point that was passed for a saga, in order."""
    rows = journal.query(
        url, "SELECT point, step, pid, struck FROM public.passage WHERE saga_id = %s ORDER BY id", str(saga_id)
    )
    return [Passage(*row) for row in rows]


_own = threading.local()


def strikes(saga_id: UUID, point: str, step: str | None) -> How | None:
    """Return what happens in this process, which passes a point; None: nothing."""
    if getattr(_own, "pid", None) != os.getpid():
        # A forked child has its parent's; closing that here would end the parent's session.
        _own.inherited = getattr(_own, "connection", None)
        _own.connection, _own.pid = journal.connect(), os.getpid()
    cursor: Any = _own.connection.cursor()
    cursor.execute(PASS, {"saga_id": str(saga_id), "point": point, "step": step, "pid": os.getpid()})
    row = cursor.fetchone()
    return None if row is None else How(row[0])
