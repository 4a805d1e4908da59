"""What an instance waits for a person for, and what a person may answer.

The answers about an action in doubt are three: it happened, it did not happen, try again. Each is an event that enters
`decide` like any other, and is refused where it does not fit.
"""

import json
from dataclasses import replace
from datetime import timedelta

from sagas.model.draft import Draft
from sagas.model.events import DoubtResolved, RetryRequested, SkipRequested, StopRequested
from sagas.model.plan import Plan, StepRole
from sagas.model.settle import UNKNOWN_START, can_turn_back, is_given_up, settle, undo_order
from sagas.model.state import InstanceState, SagaStatus, StepState, StepStatus, child_id
from sagas.model.vocabulary import HistoryEvent

#: The result of an undo that a person did by hand, as JSON.
BY_HAND = '{"outcome": "manual"}'


def waits_for_a_person(plan: Plan, state: InstanceState) -> tuple[StepState, ...]:
    """The executions at which an instance waits for a person, in order.

    While it moves by itself these are the steps whose child sagas wait for one: what is to be said is said to these.
    """
    if state.status is not SagaStatus.FAILED:
        return tuple(step for step in state.steps if step.is_live and child_waits(plan, state, step))
    return tuple(stuck_at(Draft(plan, state, UNKNOWN_START, timedelta(0))))


def called(step: StepState) -> str:
    """An execution as people call it."""
    return f"step {step.name}" if step.address.is_action else f"compensation of {step.name}"


def child_waits(plan: Plan, state: InstanceState, step: StepState) -> bool:
    action = state.at(step.address.action)
    if action is None or plan.step(step.address.position, step.address.branch).role is not StepRole.CHILD:
        return False
    own = child_id(state.id, action)
    return any(child.id == own and child.status is SagaStatus.FAILED for child in state.children)


def stuck_at(draft: Draft) -> list[StepState]:
    """What a failed instance waits for: the steps past which it cannot go, or the undos that failed, in their order."""
    actions = [step for step in draft.actions() if is_given_up(draft, step) and not can_turn_back(draft, step)]
    if actions:
        return actions
    undos = [draft.last_round(action) for action in undo_order(draft)]
    return [undo for undo in undos if undo is not None and undo.status is StepStatus.FAILED]


def request_retry(draft: Draft, event: RetryRequested) -> None:
    """An operator's retry re-runs only what is missing: the undos that failed, or the step past which it stuck."""
    stuck = stuck_at(draft) if draft.status is SagaStatus.FAILED else []
    again = [step for step in stuck if can_run(draft, step)]
    if draft.status is not SagaStatus.FAILED or (stuck and not again) or draft.before.is_superseded:
        draft.accepted = False  # it has not failed, or waits for nothing but an answer
        return
    draft.note(HistoryEvent.RETRY_REQUESTED, reason=event.reason, by=event.by)
    for step in again:
        run_again(draft, step)
    go_on(draft, stuck)


def cancel_parked(draft: Draft, event: StopRequested) -> bool:
    """What waits for a person only since a step cannot be called is undone; returns whether it can be."""
    stuck = stuck_at(draft)
    waits = bool(stuck) and all(step.address.is_action and step.is_parked for step in stuck)
    if not waits or not all(can_turn_back(draft, replace(step, parked_since=None)) for step in stuck):
        return False
    draft.note(HistoryEvent.STOP_REQUESTED, reason=event.stop.reason, kind=event.stop.kind.value, by=event.by)
    draft.status, draft.error, draft.stop = SagaStatus.RUNNING, None, event.stop
    settle(draft)
    return True


def can_run(draft: Draft, step: StepState) -> bool:
    """Whether there is anything to run: a step without a compensation may still wait for an answer about its action."""
    return step.address.is_action or draft.plan_step(step).is_undoable


def run_again(draft: Draft, step: StepState) -> None:
    again = draft.put_back(step, forgiven=step.attempts, losses=0, polls=0, polled_since=None)
    if again.address.is_action and draft.before.awaits_lock:
        draft.keep_waiting(again)
    elif again.address.is_action:
        draft.begin(again)
    else:
        draft.put(again, first_claimed_at=draft.now)  # all of its time again; and it has been claimed before


def request_skip(draft: Draft, event: SkipRequested) -> None:
    """An operator did it by hand, or has seen that it happened, or that nothing needs to be undone."""
    stuck = stuck_at(draft) if draft.status is SagaStatus.FAILED else []
    step = the_one(stuck, event.step)
    if step is None or not fits(event, step) or is_for_its_successor(draft, event):
        draft.accepted = False
        return
    if event.undone:
        draft.note(HistoryEvent.RESOLVED_BY_HAND, step, reason=event.reason, by=event.by)
        draft.close(step, StepStatus.COMPLETED, doubt=False, error=None, result=BY_HAND, token=None)
    else:
        draft.note(HistoryEvent.SKIP_REQUESTED, step, reason=event.reason, by=event.by)
        draft.close(step, StepStatus.SKIPPED, doubt=False, result=event.result, token=None, parked_since=None)
    go_on(draft, stuck)


def resolve_doubt(draft: Draft, event: DoubtResolved) -> None:
    """A person has found out whether an action in doubt happened."""
    stuck = stuck_at(draft) if draft.status is SagaStatus.FAILED else []
    step = the_one(stuck, event.step)
    action = draft.steps[step.address.action] if step is not None else None
    keys = tuple(json.loads(event.result)) if event.result is not None else ()
    if step is None or action is None or not action.doubt or not may_answer(draft, event, step):
        draft.accepted = False
        return
    if draft.clash(action, keys) is not None:
        draft.accepted = False  # a branch beside it has returned one of these names
        return
    draft.note(HistoryEvent.DOUBT_RESOLVED, step, happened=event.happened, reason=event.reason, by=event.by)
    if event.happened:
        draft.completed(draft.put(action, token=None), event.result, keys)
        if step is not action and event.undo:
            run_again(draft, step)
        elif step is not action:
            draft.close(step, StepStatus.COMPLETED, error=None, result=BY_HAND, token=None)
    else:
        draft.put(action, doubt=False, stray=False, parked_since=None)
        if step is not action:
            draft.close(step, StepStatus.SKIPPED, token=None)  # there is nothing to undo
    go_on(draft, stuck)


def may_answer(draft: Draft, event: DoubtResolved, step: StepState) -> bool:
    """Past the pivot there is no way back for what did not happen, and an undo has to exist to run."""
    if step.address.is_action and event.happened:
        return not draft.before.is_superseded
    if step.address.is_action:
        return can_turn_back(draft, replace(step, doubt=False, parked_since=None))
    return not event.happened or not event.undo or draft.plan_step(step).is_undoable


def the_one(stuck: list[StepState], name: str | None) -> StepState | None:
    """The only one that is meant; None where there is none, or several."""
    named = [step for step in stuck if name in (None, step.name)]
    return named[0] if len(named) == 1 else None


def is_for_its_successor(draft: Draft, event: SkipRequested) -> bool:
    """Another saga has its business key by now, and does the same: what is left of this one is done by hand."""
    return draft.before.is_superseded and not event.undone


def fits(event: SkipRequested, step: StepState) -> bool:
    """Only a step returns something, and only a compensation can have been done by hand."""
    if step.address.is_action:
        return not event.undone
    return event.result is None


def go_on(draft: Draft, stuck: list[StepState]) -> None:
    """Out of `failed`, in the direction in which it was going."""
    if any(step.address.is_action for step in stuck):
        draft.status, draft.error, draft.stop = SagaStatus.RUNNING, None, None
    else:
        draft.status = SagaStatus.COMPENSATING
    settle(draft)
