"""Closing a handler, turning back a run, and undoing what closed handlers have done.

An undo concerns one handler and begins as soon as its action no longer runs. A run that turns back closes all handlers
that have an undo, waits for what they still run, and undoes everything, the last begun first.
"""

from dataclasses import replace
from datetime import datetime

from sagas.model.choreography.draft import RunDraft
from sagas.model.choreography.plan import HandlerPlan
from sagas.model.draft import ONLY_A_PERSON_CAN_TELL
from sagas.model.executions import is_queued
from sagas.model.state import RESOLVED, Address, ErrorInfo, ExecutionStatus, StepState
from sagas.model.undoing import UNKNOWN_START, is_in_doubt, only_a_person_can_tell
from sagas.model.vocabulary import HistoryEvent


def close_handler(draft: RunDraft, handler: HandlerPlan, number: int) -> None:
    """Begin nothing more for a handler in this run. Unclaimed actions never happen, or are in doubt; the undos follow.

    Args:
        number: of the event that closes it; 0: the run turns back.
    """
    if handler.name in draft.closed:
        return
    draft.closed[handler.name] = number
    draft.note(HistoryEvent.HANDLER_CLOSED, handler=handler.name, number=number)
    for row in draft.actions():
        if row.address.branch != handler.place:
            continue
        if row.status in (ExecutionStatus.HELD, ExecutionStatus.PENDING):
            draft.void(row)
        elif row.status is ExecutionStatus.FAILED:  # a clean no is resolved by that, and doubt is undone
            draft.put(row, dead_at=None, parked_since=None)


def turn_back(draft: RunDraft, error: ErrorInfo, number: int) -> None:
    """Close every handler that has an undo. The others finish their deliveries."""
    draft.turned_at = draft.now
    draft.error = draft.error or error
    for handler in draft.plan.handlers:
        if handler.is_undoable:
            close_handler(draft, handler, number)


def undo_closed(draft: RunDraft) -> None:
    """Begin the undos whose time has come."""
    for undo in draft.compensations():
        if undo.is_live and is_queued(undo):
            draft.dispatch(undo)
    outstanding = [row for row in draft.actions() if is_outstanding(draft, row)]
    if draft.turned_at is None:
        for action in outstanding:
            begin_undo(draft, action)
        return
    while outstanding:
        if any(row.is_live and (draft.is_closed(row) or not row.address.is_action) for row in draft.steps.values()):
            return  # it is waited for: a closed handler's action, or an undo
        last = max(outstanding, key=start_order)
        begin_undo(draft, last)
        outstanding.remove(last)


def is_outstanding(draft: RunDraft, action: StepState) -> bool:
    """Return whether a delivery still has to be undone by another execution than those that it has."""
    if not draft.is_closed(action) or action.is_live:
        return False
    if not (action.status is ExecutionStatus.COMPLETED or is_in_doubt(action) or action.stray):
        return False
    undo = draft.last_round(action)
    return undo is None or (undo.status in RESOLVED and action.stray)


def begin_undo(draft: RunDraft, action: StepState) -> None:
    undo = draft.last_round(action)
    place = replace(action.address, round=undo.address.round + 1 if undo else 1)
    action = draft.put(action, stray=False)
    if only_a_person_can_tell(draft.plan_step(action), action):
        draft.birth_for_a_person(place, ONLY_A_PERSON_CAN_TELL)
    else:
        draft.steps[place] = draft.row_at(place)
        draft.dispatch(draft.steps[place])


def start_order(action: StepState) -> tuple[datetime, Address]:
    """Return a sort key for when it began, as far as is known: a crash may have lost it."""
    return action.first_claimed_at or UNKNOWN_START, action.address
