"""The parameters of `SAVE`: what a decision changes in the rows of its instance."""

import json
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sagas.errors import RowDamaged
from sagas.model import TRANSITIONS, InstanceState, Note, Plan, StepState
from sagas.model.choreography.state import Delivery
from sagas.store.head_columns import Placement, is_claim_synced
from sagas.store.rows import json_text
from sagas.store.step_columns import WRITTEN


class Joining(StrEnum):
    """Whether an execution that is to be sent joins its queue's line.

    An execution that ends leaves a place among the sent messages, and its successor takes it.
    """

    NOT = "not"
    BEHIND_OTHERS = "behind others"  # if there is a line
    ALWAYS = "always"


def changes(before: InstanceState, after: InstanceState) -> list[tuple[StepState | None, StepState]]:
    """Return the executions that a decision changed, each with what it was; None before its birth."""
    known = {step.address: step for step in before.steps}
    pairs = ((known.get(step.address), step) for step in after.steps)
    return [(old, new) for old, new in pairs if new is not old and new != old]


def step_values(
    before: StepState | None, after: StepState, plan: Plan, placement: Placement, joining: Joining
) -> dict[str, Any]:
    """Return an execution as `SAVE` reads it.

    Args:
        placement: the queue and limits of a step (and a round of it) when it is born.
        joining: whether it joins its queue's line instead of being sent.
    """
    address = after.address
    step = plan.step(address.position, address.branch)
    values = {column: getattr(after, column) for column in WRITTEN[type(after)]}
    values |= {
        "position": address.position,
        "branch": address.branch,
        "round": address.round,
        "error": after.error.to_json() if after.error else None,
        "is_new": before is None,
        # Never loaded. An end writes it, and clears that of an earlier end.
        "has_result": after.result is not None or before is None or before.finished_at != after.finished_at,
        "is_dispatched": before is not None and before.dispatched_at != after.dispatched_at,
        "joining": joining,
    }
    if isinstance(after, Delivery):
        values["event_id"] = after.event
    if before is None or joining is not Joining.NOT:
        values["queue"] = placement.queue_of(step, address.round)
    if before is None:
        limits = placement.limits_of(step, address.round)
        values |= {
            "lane": step.lane,
            "name": after.name,
            "task": step.task_for(address.round),
            "timeout": limits.timeout,
            "soft_timeout": limits.soft,
            "synced_claim": is_claim_synced(step, address.round),
        }
    return values


def note_values(note: Note, now: datetime) -> dict[str, Any]:
    """Return an entry for the history as `SAVE` reads it."""
    address = note.address
    return {
        "at": note.at or now,
        "event": note.event,
        "position": address.position if address else None,
        "branch": address.branch if address else None,
        "round": address.round if address else None,
        "step": note.step,
        "detail": note.detail,
    }


def instance_values(before: InstanceState, after: InstanceState) -> dict[str, Any]:
    """Return the columns of an instance.

    Raises:
        RowDamaged: its status may not change like that.
    """
    if after.status not in TRANSITIONS[before.status] | {before.status}:
        raise RowDamaged(
            f"saga {before.id} may not go from {before.status.value} to {after.status.value}: was a row edited by hand?"
        )
    return {
        "id": str(before.id),
        "loaded": before.status.value,
        "status": after.status.value,
        "error": json_text(after.error.to_json() if after.error else None),
        "stop": json_text(after.stop.to_json() if after.stop else None),
        "deadline": after.deadline,
        "due_at": after.due_at,
        "pending": after.pending,
        "written": json_text(after.written),
        "finished_at": after.finished_at,
    }


def as_json(rows: list[dict[str, Any]]) -> str:
    """Return rows as the JSON text that a statement takes apart again."""
    return json.dumps(rows, default=_as_text)


def _as_text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"a {type(value).__qualname__} is not JSON")
