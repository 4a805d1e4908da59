"""The completion of an execution that holds its claim."""

from sagas.model.attempts import attempt_failed
from sagas.model.draft import InstanceDraft
from sagas.model.events import Completed, UndoOutcome
from sagas.model.retry import Verdict
from sagas.model.state import ErrorInfo, ExecutionStatus, StepState
from sagas.model.vocabulary import HistoryEvent, Reason


def complete_step(draft: InstanceDraft, step: StepState, event: Completed) -> None:
    """Take the completion. A clash of results gives an action up; an undo may leave the rest to a person."""
    if event.outcome is UndoOutcome.MANUAL:
        error = ErrorInfo(type=Reason.MANUAL_UNDO, message="its compensation says: by hand, please", step=step.name)
        draft.close(step, ExecutionStatus.FAILED, result=event.result, error=error)
        return
    clash = draft.clash(step, event.keys) if step.address.is_action else None
    if clash is not None:
        # Its body is done: it never runs again for this, and is undone with the other steps.
        attempt_failed(draft, step, clash, Verdict.UNUSABLE)
        return
    if event.outcome is UndoOutcome.PARTIAL:
        draft.note(HistoryEvent.UNDONE_IN_PART, step)
    if event.skipped:
        draft.skipped(step)
    else:
        draft.completed(step, event.result, event.keys)
