"""Column arrays for inserting several step rows in one statement."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sagas.model import PlanStep
from sagas.model.limits import Limits


class Placement(Protocol):
    """The columns of a step's row that no plan says: they are settled when the row is born."""

    def queue_of(self, step: PlanStep, round_: int) -> str | None:
        """Return the queue of a step's messages, by its round; None: Celery's default."""

    def limits_of(self, step: PlanStep, round_: int) -> Limits:
        """Return how long one execution may take."""


def is_claim_synced(step: PlanStep, round_: int) -> bool:
    """Return whether the claim of a step waits for the disk: a crash must not lose it, since it must not run twice."""
    return round_ == 0 and step.is_task and not step.idempotent


def head_columns(heads: Sequence[PlanStep], placement: Placement) -> dict[str, list[Any]]:
    """Return one list per column."""
    limits = [placement.limits_of(head, 0) for head in heads]
    return {
        "branches": [head.branch for head in heads],
        "lanes": [head.lane for head in heads],
        "names": [head.name for head in heads],
        "tasks": [head.task for head in heads],
        "queues": [placement.queue_of(head, 0) for head in heads],
        "timeouts": [limit.timeout for limit in limits],
        "soft_timeouts": [limit.soft for limit in limits],
        "synced_claims": [is_claim_synced(head, 0) for head in heads],
    }


HEAD_COLUMNS = ("branches", "lanes", "names", "tasks", "queues", "timeouts", "soft_timeouts", "synced_claims")
#: The columns of no row.
NO_HEADS: Mapping[str, list[Any]] = {name: [] for name in HEAD_COLUMNS}
