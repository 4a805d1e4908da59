"""Until when a saga may be stopped, by a person or by its deadline."""

from sagas.model.draft import InstanceDraft
from sagas.model.state import Address, ExecutionStatus, StepState


def may_stop(draft: InstanceDraft) -> bool:
    """Return whether the saga may still stop: a pivot cannot be stopped once claimed, and a lost claim counts."""
    pivot = pivot_of(draft)
    if pivot is None:
        return True
    untouched = pivot.status is ExecutionStatus.PENDING and not pivot.evidence.epoch_changed
    return (untouched or pivot.status is ExecutionStatus.FAILED) and not pivot.doubt


def is_overdue(draft: InstanceDraft) -> bool:
    """Return whether the deadline has passed and the saga can still be stopped: no further action begins.

    A pivot that was claimed in time may be tried again. The claim and complete statements ask the same in SQL.
    """
    deadline = draft.deadline()
    if deadline is None or draft.now < deadline or not draft.status.is_forward:
        return False
    pivot = pivot_of(draft)
    return may_stop(draft) and (pivot is None or pivot.attempts == 0)


def pivot_of(draft: InstanceDraft) -> StepState | None:
    """Return the execution of the pivot; None before it is born."""
    pivot = draft.plan.pivot
    return draft.steps.get(Address(pivot.position, pivot.branch)) if pivot else None
