"""The reasons for which deliveries of a run wait: an earlier event of the same handler, the next try, or a pause."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row

from sagas.model import ExecutionStatus

#: The number of an event and the place of a handler.
Place = tuple[int, int]


def held_up(rows: Sequence[Row[Any]]) -> Iterator[str]:
    """Yield a line for each handler of a run whose events wait for an earlier one."""
    for stream in _streams(rows):
        held = [row for row in stream if row.status == ExecutionStatus.HELD]
        if held and held[0] is not stream[0]:
            shown = f"event {held[0].position} waits"
            if len(held) > 1:
                shown = f"{len(held)} events from {held[0].position} on wait"
            yield f"{held[0].name}: {shown} {_behind(stream[0])}"


def delays(rows: Sequence[Row[Any]], paused: Mapping[str, datetime]) -> dict[Place, str]:
    """Return what each waiting delivery of a run waits for.

    Args:
        rows: of all deliveries and undos.
        paused: the handlers that are paused, and until when.
    """
    reasons = {}
    for stream in _streams(rows):
        for row in stream:
            if row.status == ExecutionStatus.HELD and row is not stream[0]:
                reasons[row.position, row.branch] = f"waits {_behind(stream[0])}"
            elif row.status == ExecutionStatus.PENDING and row.name in paused:
                reasons[row.position, row.branch] = f"its handler is paused until {_moment(paused[row.name])}"
            elif row.status == ExecutionStatus.PENDING and row.not_before is not None:
                reasons[row.position, row.branch] = f"is tried again at {_moment(row.not_before)}"
    return reasons


def _streams(rows: Sequence[Row[Any]]) -> Sequence[Sequence[Row[Any]]]:
    """Return the deliveries of each handler that are open or dead letters, in the order of their events."""
    streams: dict[int, list[Row[Any]]] = {}
    for row in rows:
        if row.round == 0 and row.event_id is not None and (row.finished_at is None or row.dead_at is not None):
            streams.setdefault(row.branch, []).append(row)
    return list(streams.values())


def _behind(head: Row[Any]) -> str:
    return f"for event {head.position}, which {_state_of(head)}"


def _state_of(head: Row[Any]) -> str:
    if head.dead_at is not None:
        return "is a dead letter"
    if head.status == ExecutionStatus.RUNNING:
        return "runs"
    if head.not_before is not None:
        return f"is tried again at {_moment(head.not_before)}"
    return "is to begin"


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
