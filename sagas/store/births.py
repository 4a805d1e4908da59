"""Rows that are born by a statement, as the columns that it unnests."""

from collections.abc import Sequence
from typing import Any, Protocol

from sagas.model import PlanStep
from sagas.model.limits import Limits


class Placement(Protocol):
    """What the row of an execution keeps that no plan says: each is settled when the row is born."""

    def queue_of(self, step: PlanStep, round_: int) -> str | None:
        """Where the messages of a step go, by the round of it; None: to Celery's default."""

    def limits_of(self, step: PlanStep, round_: int) -> Limits:
        """How long one execution of it may take."""


def columns_of(heads: Sequence[PlanStep], placement: Placement) -> dict[str, list[Any]]:
    """One list a column."""
    limits = [placement.limits_of(head, 0) for head in heads]
    return {
        "branches": [head.branch for head in heads],
        "lanes": [head.lane for head in heads],
        "names": [head.name for head in heads],
        "tasks": [head.task for head in heads],
        "queues": [placement.queue_of(head, 0) for head in heads],
        "timeouts": [limit.timeout for limit in limits],
        "soft_timeouts": [limit.soft for limit in limits],
    }
