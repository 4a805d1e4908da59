"""Log lines about a saga that waits, or has not ended completed."""

import logging
from typing import Any
from uuid import UUID

from sagas.model import Decision, ErrorInfo, InstanceState, Note, Plan, SagaStatus, called, waits_for_a_person
from sagas.model.choreography.as_plan import RunPlan
from sagas.model.payload import escaped
from sagas.model.vocabulary import HistoryEvent
from sagas.store import Loaded

logger = logging.getLogger("sagas")


#: Events that a person should hear of although nothing has failed.
LOUD = (HistoryEvent.WENT_QUIET,)


def log_note(instance_id: UUID, loaded: Loaded, note: Note) -> None:
    """Log an entry of the history."""
    level = logging.WARNING if note.event in LOUD else logging.INFO
    fields = {"saga_id": str(instance_id), "saga": loaded.saga, "step": note.step, "event": note.event}
    logger.log(level, "saga %s: %s %s", instance_id, note.event, note.step or "", extra=fields)


def log_end(loaded: Loaded, decision: Decision) -> None:
    """Log a saga that has just failed as a warning, and one that has just been compensated at level INFO.

    A run that fails has a dead letter, which an alert reports: ten thousand of them make one alert, and no warnings.
    """
    state, key = decision.state, escaped(loaded.key or "-")
    fields: dict[str, Any] = {"saga_id": str(state.id), "saga": loaded.saga, "key": loaded.key}
    if state.status is SagaStatus.FAILED:
        step, why = why_failed(loaded.plan, state)
        fields |= {"event": "saga_failed", "step": step}
        level = logging.INFO if isinstance(loaded.plan, RunPlan) else logging.WARNING
        logger.log(level, "saga %s (%s, key %s) failed: %s", state.id, loaded.saga, key, why, extra=fields)
    elif state.status is SagaStatus.COMPENSATED:
        step = state.error.step if state.error else None
        fields |= {"event": "saga_compensated", "step": step}
        logger.info("saga %s (%s, key %s) compensated: %s", state.id, loaded.saga, key, _turned(state), extra=fields)


def why_failed(plan: Plan, state: InstanceState) -> tuple[str | None, str]:
    """Return the step at which it waits for a person (the first of several), and the reason, in words."""
    waiting = waits_for_a_person(plan, state)
    reasons = [
        f"{called(step.name, undo=not step.address.is_action)}: {step.error or 'it waits for an answer'}"
        for step in waiting
    ]
    turned = [f"it turned back because of {_turned(state)}"] if not any(s.address.is_action for s in waiting) else []
    return (waiting[0].name if waiting else None), "; ".join(reasons + turned)


def _turned(state: InstanceState) -> str:
    error = state.error
    if error is None:
        return "undone as a part of another saga"
    return f"{error} (in step {error.step})" if error.step else str(error)


def log_parked(decision: Decision, saga: str, error: ErrorInfo) -> None:
    """Log a step that cannot be called, once for each reason: it is tried again every minute."""
    if not decision.notes:
        return
    instance_id, step = decision.state.id, error.step
    fields = {"event": "step_parked", "saga_id": str(instance_id), "saga": saga, "step": step}
    logger.error("saga %s (%s): step %s cannot be called: %s", instance_id, saga, step, error.message, extra=fields)
