"""The reasons for which deliveries of a run wait: an earlier event of the same handler."""

from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Any

from sqlalchemy import Row

from sagas.model import StepStatus


def held_up(rows: Sequence[Row[Any]]) -> Iterator[str]:
    """Yield a line for each handler of a run whose events wait for an earlier one."""
    actions = [row for row in rows if row.round == 0]
    for name in dict.fromkeys(row.name for row in actions if row.status == StepStatus.HELD):
        held = [row.position for row in actions if row.name == name and row.status == StepStatus.HELD]
        before = [row for row in actions if row.name == name and row.position < held[0]]
        head = next((row for row in before if row.finished_at is None or row.dead_at is not None), None)
        if head is not None:
            shown = f"event {held[0]} waits" if len(held) == 1 else f"{len(held)} events from {held[0]} on wait"
            yield f"{name}: {shown} for event {head.position}, which {_how_it_stands(head)}"


def _how_it_stands(head: Row[Any]) -> str:
    if head.dead_at is not None:
        return "is a dead letter"
    if head.status == StepStatus.RUNNING:
        return "runs"
    if head.not_before is not None:
        return f"is tried again at {head.not_before.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return "is to begin"
