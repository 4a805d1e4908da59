"""Reports of executions whose claim was taken away: a success is real, and an unknown outcome may be."""

from dataclasses import replace

from sagas.model.completing import complete_step
from sagas.model.draft import BY_HAND_IF_IT_HAPPENED, HAPPENED_AND_STAYS, InstanceDraft
from sagas.model.events import Completed, Failed
from sagas.model.executions import waits_for_an_answer
from sagas.model.person import run_again
from sagas.model.plan import StepKind
from sagas.model.settle import is_stuck, settle
from sagas.model.state import RESOLVED, ExecutionStatus, SagaStatus, StepState
from sagas.model.vocabulary import HistoryEvent


def late_success(draft: InstanceDraft, step: StepState, event: Completed) -> bool:
    """Decide by the state, not by the report. Return True if the report becomes the completion."""
    if is_still_wanted(draft, step):
        draft.note(HistoryEvent.LATE_SUCCESS, step, outcome="accepted as the completion")
        # As if it had held the claim all along: a repeated report is recognised, and what follows began after it.
        held = draft.put(step, token=event.token, first_claimed_at=step.first_claimed_at or draft.now)
        complete_step(draft, held, event)
        settle(draft)
        return True
    if event.skipped:
        return False  # it did nothing
    if step.status is ExecutionStatus.COMPLETED:
        if step.address.is_action and turns_back(draft, step):
            # Completed elsewhere with the same key, and being undone: the effect may have landed after the undo.
            return stray(draft, step, event)
        draft.note(HistoryEvent.LATE_SUCCESS, step, outcome="absorbed by the idempotency key")
        return False
    if step.status is ExecutionStatus.RUNNING:
        # Another process runs it with the same key. If that ends with nothing done, this effect still exists.
        draft.put(step, doubt=step.address.is_action)
        draft.note(HistoryEvent.LATE_SUCCESS, step, outcome="absorbed by the execution that holds the claim")
        return False
    if not step.address.is_action or (is_past_return(draft, step) and not goes_back(draft)):
        draft.put(step, doubt=step.address.is_action)
        draft.note(HistoryEvent.LATE_SUCCESS, step, outcome="recorded for the person who looks at it")
        return False
    if not goes_back(draft):
        # The saga went on without it: it was skipped, or was best effort.
        draft.put(step, doubt=True)
        draft.note(HistoryEvent.LATE_SUCCESS, step, outcome="undone only if the saga turns back")
        return False
    return stray(draft, step, event)


def late_failure(draft: InstanceDraft, step: StepState, event: Failed) -> None:
    """Take a late failure that leaves the effect in doubt: never a completion, but a reason to undo (again)."""
    if event.verdict.is_clean or not step.address.is_action:
        return
    if step.token == event.token and step.status in RESOLVED:
        return  # it had ended well before the limit that it reports
    if step.status is ExecutionStatus.COMPLETED:
        is_news = turns_back(draft, step)
    else:
        is_news = not step.is_live and goes_back(draft)
        draft.put(step, doubt=True)
    if is_news:
        stray(draft, draft.steps[step.address], None)


def goes_back(draft: InstanceDraft) -> bool:
    """Return whether it goes backward. A failed instance keeps its direction: forward if stuck past its pivot."""
    if draft.status is SagaStatus.FAILED:
        return not any(is_stuck(draft, step) for step in draft.actions())
    return draft.status in (SagaStatus.COMPENSATING, SagaStatus.COMPENSATED)


def turns_back(draft: InstanceDraft, action: StepState) -> bool:
    backward = draft.status in (SagaStatus.COMPENSATING, SagaStatus.COMPENSATED)
    return backward or draft.last_round(action) is not None


def is_past_return(draft: InstanceDraft, action: StepState) -> bool:
    """Return whether the action is the pivot or comes after it, so that nothing undoes it."""
    return draft.plan_step(action).kind is not StepKind.COMPENSATABLE


def is_still_wanted(draft: InstanceDraft, step: StepState) -> bool:
    """Return whether it is unclaimed or given up without consequences, while the instance still goes that way."""
    if step.status not in (ExecutionStatus.PENDING, ExecutionStatus.FAILED):
        return False
    if step.address.is_action:
        return draft.status.is_forward
    return draft.status is SagaStatus.COMPENSATING


def stray(draft: InstanceDraft, action: StepState, success: Completed | None) -> bool:
    """Handle an effect in a saga that turns or has turned back: it must be undone, again if need be.

    Args:
        success: the report that brings its result; None: the effect only may exist.
    """
    event = HistoryEvent.LATE_SUCCESS if success else HistoryEvent.LATE_FAILURE
    undo = draft.last_round(action)
    is_news = action.status is not ExecutionStatus.COMPLETED
    clash = draft.clash(action, success.keys) if success is not None and is_news else None
    if clash is not None:
        # Its result would race with that of a branch beside it, so it is undone without a result, as if it had clashed
        # in time.
        action, success = draft.put(action, error=clash), None
    if is_past_return(draft, action):
        outcome = ask_a_person(draft, action, success)
    elif undo is None or is_untouched(undo):
        learn(draft, action, success)
        outcome = "will be undone"
    elif success is not None and is_news and waits_for_an_answer(undo):
        happened(draft, action, success)
        if draft.plan_step(action).is_undoable:
            run_again(draft, undo)
            outcome = "will be undone: it answers whether it happened"
        else:
            draft.close(undo, ExecutionStatus.SKIPPED, token=None)
            outcome = "answers whether it happened: there is nothing to undo"
        draft.status = SagaStatus.COMPENSATING
    else:
        if success is not None and is_news:
            action = happened(draft, action, success)  # the next round of its undo has the result
        elif action.status is ExecutionStatus.FAILED:
            action = draft.put(action, doubt=True)
        # A question that is open already is about this report, too.
        draft.put(action, stray=not waits_for_an_answer(undo))
        outcome = (
            "recorded for the person who looks at its failed compensation"
            if undo.status is ExecutionStatus.FAILED
            else "will be undone again"
        )
    draft.note(event, action, outcome=outcome, stray=True)
    if draft.status in (SagaStatus.COMPENSATED, SagaStatus.FAILED) and (undo is None or undo.status in RESOLVED):
        draft.status = SagaStatus.COMPENSATING
    settle(draft)
    return False


def ask_a_person(draft: InstanceDraft, action: StepState, success: Completed | None) -> str:
    """Let its undo wait for an answer: nothing can undo it, and its saga must not end as if it had not happened.

    Return the outcome for the history.
    """
    undo = draft.last_round(action)
    is_certain = learn(draft, action, success).status is ExecutionStatus.COMPLETED
    if undo is None or undo.status in RESOLVED:
        place = replace(action.address, round=undo.address.round + 1 if undo else 1)
        draft.birth_for_a_person(place, HAPPENED_AND_STAYS if is_certain else BY_HAND_IF_IT_HAPPENED)
    elif is_certain:
        draft.ask(undo, HAPPENED_AND_STAYS)
    return "waits for a person: nothing can undo it"


def learn(draft: InstanceDraft, action: StepState, success: Completed | None) -> StepState:
    """Record the report about an action that is not completed: it happened, or it may have; return its new state."""
    if action.status is ExecutionStatus.COMPLETED:
        return action
    if success is not None:
        return happened(draft, action, success)
    if action.status is ExecutionStatus.FAILED:
        return draft.put(action, doubt=True)
    return draft.close(action, ExecutionStatus.FAILED, doubt=True)


def happened(draft: InstanceDraft, action: StepState, success: Completed) -> StepState:
    """Complete the action, so that its undo has its result and a repeated report is recognised."""
    return draft.completed(draft.put(action, token=success.token, stray=False), success.result, success.keys)


def is_untouched(undo: StepState) -> bool:
    """Return whether an undo was never claimed, as far as a single dispatch can tell; a crash may have lost a claim.

    An undo that was claimed may have found nothing to undo, and its key would repeat that answer.
    """
    unclaimed = undo.status is ExecutionStatus.PENDING and undo.first_claimed_at is None
    return unclaimed and undo.dispatches <= 1 and not undo.evidence.epoch_changed
