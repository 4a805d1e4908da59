"""Rows that are born by a statement, as the columns that it unnests."""

from collections.abc import Callable, Sequence
from typing import Any

from sagas.model import PlanStep

#: Where the messages of a step go, by the round of it; None: to Celery's default.
QueueOf = Callable[[PlanStep, int], str | None]


def columns_of(heads: Sequence[PlanStep], queue_of: QueueOf) -> dict[str, list[Any]]:
    """One list a column."""
    return {
        "branches": [head.branch for head in heads],
        "lanes": [head.lane for head in heads],
        "names": [head.name for head in heads],
        "tasks": [head.task for head in heads],
        "queues": [queue_of(head, 0) for head in heads],
        "timeouts": [head.timeout for head in heads],
    }
