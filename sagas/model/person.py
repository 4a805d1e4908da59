"""The questions that an instance waits for a person to answer, and the possible answers.

An action in doubt has three answers: it happened, it did not happen, try again. Each is an event that enters `decide`
like any other, and is refused where it does not fit.
"""

import json
from dataclasses import replace
from datetime import timedelta

from sagas.model.draft import InstanceDraft
from sagas.model.events import DoubtResolved, RetryRequested, SkipRequested, StopRequested
from sagas.model.executions import waits_for_an_answer
from sagas.model.plan import Plan, StepRole
from sagas.model.settle import can_turn_back, is_stuck, settle
from sagas.model.state import ExecutionStatus, InstanceState, SagaStatus, StepState, child_id
from sagas.model.undoing import UNKNOWN_START, failed_undos
from sagas.model.vocabulary import HistoryEvent

#: The result of an undo that a person did by hand, as JSON.
BY_HAND = '{"outcome": "manual"}'


def waits_for_a_person(plan: Plan, state: InstanceState) -> tuple[StepState, ...]:
    """Return the executions at which an instance waits for a person, in order.

    While it moves by itself these are the steps whose child sagas wait for a person: the answers go to those.
    """
    if state.status is not SagaStatus.FAILED:
        return tuple(step for step in state.steps if step.is_live and child_waits(plan, state, step))
    return tuple(stuck_at(InstanceDraft(plan, state, UNKNOWN_START, timedelta(0))))


def waits_uncalled(plan: Plan, state: InstanceState) -> bool:
    """Return whether an instance is failed only because steps cannot be called, so that it can still be cancelled."""
    return state.status is SagaStatus.FAILED and is_cancellable(InstanceDraft(plan, state, UNKNOWN_START, timedelta(0)))


def called(step: str, *, undo: bool) -> str:
    """Return the name by which texts call a step, or its compensation."""
    return f"compensation of {step}" if undo else f"step {step}"


def child_waits(plan: Plan, state: InstanceState, step: StepState) -> bool:
    action = state.at(step.address.action)
    if action is None or plan.step(step.address.position, step.address.branch).role is not StepRole.CHILD:
        return False
    own = child_id(state.id, action)
    return any(child.id == own and child.status is SagaStatus.FAILED for child in state.evidence.children)


def stuck_at(draft: InstanceDraft) -> list[StepState]:
    """Return what a failed instance waits for, in order: the steps that it cannot pass, or the undos that failed."""
    actions = [step for step in draft.actions() if is_stuck(draft, step)]
    return actions or failed_undos(draft)


def request_retry(draft: InstanceDraft, event: RetryRequested) -> None:
    """Run again only what is missing: the undos that failed, or the step at which the instance is stuck."""
    stuck = stuck_at(draft) if draft.status is SagaStatus.FAILED else []
    again = [step for step in stuck if can_run(draft, step)]
    if draft.status is not SagaStatus.FAILED or (stuck and not again) or draft.before.evidence.is_superseded:
        draft.accepted = False  # it has not failed, or only an answer helps
        return
    draft.note(HistoryEvent.RETRY_REQUESTED, reason=event.reason, by=event.by)
    for step in again:
        run_again(draft, step)
    go_on(draft, stuck)


def cancel_parked(draft: InstanceDraft, event: StopRequested) -> bool:
    """Undo an instance that waits for a person only because steps cannot be called; return whether that is possible."""
    if not is_cancellable(draft):
        return False
    draft.note(HistoryEvent.STOP_REQUESTED, reason=event.stop.reason, kind=event.stop.kind.value, by=event.by)
    draft.status, draft.error, draft.stop = SagaStatus.RUNNING, None, event.stop
    settle(draft)
    return True


def is_cancellable(draft: InstanceDraft) -> bool:
    """Return whether a failed instance waits only for steps that cannot be called and could otherwise turn back."""
    stuck = stuck_at(draft)
    waits = bool(stuck) and all(step.address.is_action and step.is_parked for step in stuck)
    return waits and all(can_turn_back(draft, replace(step, parked_since=None)) for step in stuck)


def can_run(draft: InstanceDraft, step: StepState) -> bool:
    """Return whether there is anything to run: a step without a compensation may still wait for an answer."""
    return step.address.is_action or draft.plan_step(step).is_undoable


def run_again(draft: InstanceDraft, step: StepState) -> None:
    again = draft.put_back(step, forgiven=step.attempts, losses=0, polls=0, polled_since=None)
    if again.address.is_action and draft.before.evidence.awaits_lock:
        draft.keep_waiting(again)
    elif again.address.is_action:
        draft.begin(again)
    else:
        draft.put(again, first_claimed_at=draft.now)  # it has all of its time again, and has been claimed before


def request_skip(draft: InstanceDraft, event: SkipRequested) -> None:
    """Skip a step: an operator did it by hand, or saw that it happened or that nothing needs to be undone."""
    stuck = stuck_at(draft) if draft.status is SagaStatus.FAILED else []
    step = only_match(stuck, event.step)
    if step is None or not is_about(event, step) or is_for_its_successor(draft, event):
        draft.accepted = False
        return
    if event.undone:
        draft.note(HistoryEvent.RESOLVED_BY_HAND, step, reason=event.reason, by=event.by)
        draft.close(step, ExecutionStatus.COMPLETED, doubt=False, error=None, result=BY_HAND, token=None)
    else:
        draft.note(HistoryEvent.SKIP_REQUESTED, step, reason=event.reason, by=event.by)
        draft.close(step, ExecutionStatus.SKIPPED, doubt=False, result=event.result, token=None, parked_since=None)
    go_on(draft, stuck)


def resolve_doubt(draft: InstanceDraft, event: DoubtResolved) -> None:
    """Take a person's answer on whether an action in doubt happened."""
    stuck = stuck_at(draft) if draft.status is SagaStatus.FAILED else []
    step = only_match(stuck, event.step)
    action = draft.steps[step.address.action] if step is not None else None
    keys = tuple(json.loads(event.result)) if event.result is not None else ()
    if step is None or action is None or not may_answer(draft, event, step, action):
        draft.accepted = False
        return
    if draft.clash(action, keys) is not None:
        draft.accepted = False  # a parallel branch has returned one of these names
        return
    draft.note(HistoryEvent.DOUBT_RESOLVED, step, happened=event.happened, reason=event.reason, by=event.by)
    if event.happened:
        if action.doubt or event.result is not None:
            draft.completed(draft.put(action, token=None), event.result, keys)
        if step is not action and event.undo:
            run_again(draft, step)
        elif step is not action:
            draft.close(step, ExecutionStatus.COMPLETED, error=None, result=BY_HAND, token=None)
    else:
        draft.put(action, doubt=False, stray=False, parked_since=None)
        if step is not action:
            draft.close(step, ExecutionStatus.SKIPPED, token=None)  # there is nothing to undo
    go_on(draft, stuck)


def may_answer(draft: InstanceDraft, event: DoubtResolved, step: StepState, action: StepState) -> bool:
    """Return whether the answer fits: past the pivot there is no way back, and an undo must exist to run.

    An action that a person was asked about may have reported its success since then, which no answer can deny.
    """
    has_told = event.happened and step is not action and waits_for_an_answer(step)
    if not action.doubt and not has_told:
        return False
    if step.address.is_action and event.happened:
        return not draft.before.evidence.is_superseded
    if step.address.is_action:
        return can_turn_back(draft, replace(step, doubt=False, parked_since=None))
    return not event.happened or not event.undo or draft.plan_step(step).is_undoable


def only_match(stuck: list[StepState], name: str | None) -> StepState | None:
    """Return the only execution that can be meant; None if there is none, or several."""
    named = [step for step in stuck if name in (None, step.name)]
    return named[0] if len(named) == 1 else None


def is_for_its_successor(draft: InstanceDraft, event: SkipRequested) -> bool:
    """Return whether another saga has its business key and does the same: the rest of this one is done by hand."""
    return draft.before.evidence.is_superseded and not event.undone


def is_about(event: SkipRequested, step: StepState) -> bool:
    """Return whether the skip fits: only a step has a result, and only a compensation can have been done by hand."""
    if step.address.is_action:
        return not event.undone
    return event.result is None


def go_on(draft: InstanceDraft, stuck: list[StepState]) -> None:
    """Leave `failed`, in the direction in which the instance was going."""
    if any(step.address.is_action for step in stuck):
        draft.status, draft.error, draft.stop = SagaStatus.RUNNING, None, None
    else:
        draft.status = SagaStatus.COMPENSATING
    settle(draft)
