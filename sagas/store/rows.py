"""Between rows and values: how the tables' columns become a state, and back."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from sagas.model import (
    Address,
    ChildState,
    ErrorInfo,
    Holder,
    InstanceState,
    Mail,
    MailKind,
    SagaStatus,
    StepState,
    StepStatus,
    Stop,
    StopKind,
    payload,
)

STEP_COLUMNS = (
    "status",
    "token",
    "attempts",
    "losses",
    "doubt",
    "stray",
    "dispatches",
    "dispatched_at",
    "not_before",
    "claimed_at",
    "first_claimed_at",
    "finished_at",
    "result",
    "error",
)


def state_of(row: Row[Any], steps: tuple[StepState, ...], beside: Row[Any]) -> InstanceState:
    """An instance from its row, its executions and its neighbours."""
    return InstanceState(
        id=row.id,
        status=SagaStatus(row.status),
        error=error_from(row.error),
        stop=_stop_from(row.stop),
        deadline=row.deadline,
        deadline_seconds=row.deadline_seconds,
        due_at=row.due_at,
        pending=row.pending,
        written=row.written,
        finished_at=row.finished_at,
        parent=row.parent_id,
        steps=steps,
        inbox=tuple(_mail(entry) for entry in beside.inbox or ()),
        children=tuple(_child(entry) for entry in beside.children or ()),
        awaits_lock=beside.awaits_lock,
    )


def step_of(row: Row[Any]) -> StepState:
    """An execution from its row, with the evidence about it."""
    return StepState(
        address=Address(row.position, row.branch, row.round),
        name=row.name,
        status=StepStatus(row.status),
        token=row.token,
        attempts=row.attempts,
        losses=row.losses,
        doubt=row.doubt,
        stray=row.stray,
        dispatches=row.dispatches,
        dispatched_at=row.dispatched_at,
        not_before=row.not_before,
        claimed_at=row.claimed_at,
        first_claimed_at=row.first_claimed_at,
        finished_at=row.finished_at,
        error=error_from(row.error),
        holder=Holder(row.holder),
        overtaken=row.overtaken,
        epoch_changed=row.epoch_changed,
    )


def column_of(step: StepState, column: str) -> Any:
    """What is stored of an execution in one column."""
    value = getattr(step, column)
    if column == "error":
        return json_text(value.to_json() if value else None)
    return value.value if isinstance(value, StepStatus) else value


def json_text(value: Any) -> str | None:
    """JSON as the tables take it; None stays NULL."""
    return None if value is None else json.dumps(value)


def error_from(stored: dict[str, Any] | None) -> ErrorInfo | None:
    """An error as it was stored; None when there is none."""
    return None if stored is None else ErrorInfo(**stored)


def _stop_from(stored: dict[str, Any] | None) -> Stop | None:
    if stored is None:
        return None
    return Stop(kind=StopKind(stored["kind"]), reason=stored["reason"])


def merged(data: str, results: str | None) -> dict[str, Any]:
    """The input and what the steps returned, as the steps see it."""
    whole: dict[str, Any] = payload.loads(data)
    for result in payload.loads(results or "[]"):
        if isinstance(result, Mapping):
            whole.update(result)
    return whole


def _mail(entry: dict[str, Any]) -> Mail:
    return Mail(
        id=entry["id"],
        kind=MailKind(entry["kind"]),
        name=entry["name"],
        payload=json_text(entry["payload"]),
        by=entry["by"],
    )


def _child(entry: dict[str, Any]) -> ChildState:
    results = entry["results"]
    return ChildState(
        id=UUID(entry["id"]),
        status=SagaStatus(entry["status"]),
        error=error_from(entry["error"]),
        result=payload.dumps(merged("{}", json.dumps(results)), "the result of a child saga") if results else None,
    )
