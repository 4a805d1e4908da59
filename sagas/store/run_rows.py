"""The rows of runs, read into the model and written from it: what a run has beside an instance (see `rows`)."""

from typing import Any

from sqlalchemy import Row

from sagas.model.choreography.state import Arrived, Delivery, DeliveryEvidence, LateEvent, RunState
from sagas.store.rows import evidence_of, json_text, step_fields


def delivery_of(row: Row[Any]) -> Delivery:
    """Return a delivery, or an undo of one, with the evidence about it."""
    return Delivery(
        **step_fields(row, Delivery),
        event=row.event_id,
        evidence=DeliveryEvidence(**evidence_of(row), is_late=row.is_late),
    )


def arrived_of(row: Row[Any]) -> Arrived:
    """Return an event that has no number yet."""
    return Arrived(
        row=row.id,
        id=row.event_id,
        type=row.name,
        version=row.version,
        cause=row.cause,
        depth=row.depth,
        payload="",
        by_key=row.by_key,
        after_late=row.after_late,
    )


def late_event_of(row: Row[Any]) -> LateEvent:
    """Return a late event that no person has answered."""
    return LateEvent(number=row.number, id=row.event_id, type=row.name, since=row.consumed_at)


def run_columns(state: RunState) -> dict[str, Any]:
    """Return the columns of an instance that only a run has."""
    return {
        "numbered": state.numbered,
        "closed": json_text(dict(state.closed)),
        "ended_by": state.ended_by,
        "turned_at": state.turned_at,
        "came": json_text(sorted(state.came) or None),
        "quiet_from": state.quiet_from,
        "quiet_at": state.quiet_at,
    }
