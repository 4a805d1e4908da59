"""Reports of deliveries whose claim was taken away: a success is real, and an unknown outcome may be."""

from sagas.model.choreography.draft import RunDraft
from sagas.model.choreography.events import Handled
from sagas.model.choreography.numbering import mute
from sagas.model.events import Completed, Failed
from sagas.model.late import is_untouched
from sagas.model.state import RESOLVED, ExecutionStatus, StepState
from sagas.model.vocabulary import HistoryEvent


def late_success(draft: RunDraft, step: StepState, event: Completed) -> bool:
    """Decide by the state, not by the report. Return True if the report is to be taken as the completion."""
    if step.address.is_action and draft.is_closed(step):
        stray(draft, step, event)
        return False
    if step.status in (ExecutionStatus.HELD, ExecutionStatus.PENDING, ExecutionStatus.FAILED):
        draft.note(HistoryEvent.LATE_SUCCESS, step, outcome="accepted as the completion")
        # As if it had held the claim all along: a repeated report is recognised.
        draft.put(step, token=event.token, first_claimed_at=step.first_claimed_at or draft.now)
        return True
    if step.status is ExecutionStatus.COMPLETED:
        outcome = "absorbed by the idempotency key"
    elif step.status is ExecutionStatus.RUNNING:
        # Another process runs it with the same key. If that ends with nothing done, this effect still exists.
        draft.put(step, doubt=step.address.is_action)
        outcome = "absorbed by the execution that holds the claim"
    elif step.address.is_action:
        draft.put(step, doubt=True)
        outcome = "undone only if its handler is closed"
    else:
        outcome = "recorded"
    draft.note(HistoryEvent.LATE_SUCCESS, step, outcome=outcome)
    return False


def stray(draft: RunDraft, action: StepState, success: Completed | None) -> None:
    """Take an effect of a closed handler: it must be undone, again if need be.

    Args:
        success: the report that brings its result; None: the effect only may exist.
    """
    undo = draft.last_round(action)
    if success is not None and action.status is ExecutionStatus.RUNNING:
        draft.put(action, doubt=True)  # the execution that holds the claim reports next, and is awaited
        return
    if success is not None and action.status is not ExecutionStatus.COMPLETED:
        action = draft.put(action, token=success.token)
        action = draft.close(action, ExecutionStatus.COMPLETED, result=success.result, error=None, doubt=False)
        for published in success.published if isinstance(success, Handled) else ():
            mute(draft, published)
    elif success is None and action.status is ExecutionStatus.FAILED:
        action = draft.put(action, doubt=True)
    elif success is None and action.status is ExecutionStatus.SKIPPED:
        action = draft.close(action, ExecutionStatus.FAILED, doubt=True)
    needs_another = undo is not None and not is_untouched(undo)
    if needs_another:
        draft.put(action, stray=True)
    event = HistoryEvent.LATE_SUCCESS if success else HistoryEvent.LATE_FAILURE
    outcome = "will be undone again" if needs_another else "will be undone"
    draft.note(event, action, outcome=outcome, stray=True)


def late_failure(draft: RunDraft, step: StepState, event: Failed) -> None:
    """Take a late failure that leaves the effect in doubt: never a completion, but a reason to undo (again)."""
    if event.verdict.is_clean or not step.address.is_action:
        return
    if step.token == event.token and step.status in RESOLVED:
        return  # it had ended well before the limit that it reports
    if draft.is_closed(step) and step.finished_at is not None:
        stray(draft, step, None)
    elif step.status is not ExecutionStatus.COMPLETED:
        draft.put(step, doubt=True)
