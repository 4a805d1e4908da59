"""What follows once the executions stand as they stand: advance, end, turn back, undo the next one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sagas.model.draft import Draft
from sagas.model.plan import Plan, StepKind
from sagas.model.state import (
    RESOLVED,
    Address,
    ErrorInfo,
    InstanceState,
    SagaStatus,
    StepState,
    StepStatus,
    Stop,
    StopKind,
)

#: Sorts an action whose claim was lost with a crash: nobody knows when it began, so it is undone first.
UNKNOWN_START = datetime.max.replace(tzinfo=UTC)


def settle(draft: Draft) -> None:
    if draft.status.is_forward:
        settle_forward(draft)
    if draft.status is SagaStatus.COMPENSATING:
        settle_backward(draft)


def settle_forward(draft: Draft) -> None:
    if may_stop(draft):
        deadline = draft.before.deadline
        if draft.stop is None and deadline is not None and draft.now >= deadline:
            draft.stop = Stop(kind=StopKind.TIMED_OUT, reason="timed out")
            draft.note("deadline_passed", deadline=deadline.isoformat())
        if draft.stop is not None:
            kind = "sagas.Cancelled" if draft.stop.kind is StopKind.CANCELLED else "sagas.DeadlineExceeded"
            turn_back(draft, ErrorInfo(type=kind, message=draft.stop.reason))
            return
    given_up = [step for step in draft.actions() if step.status is StepStatus.FAILED]
    if given_up:
        give_up(draft, given_up[0])
    elif not any(step.is_live for step in draft.actions()):
        advance(draft)


def may_stop(draft: Draft) -> bool:
    """From its claim on the pivot belongs to itself; a lost claim may have been one."""
    pivot = draft.plan.pivot
    step = draft.steps.get(Address(pivot.position, pivot.branch)) if pivot else None
    if step is None:
        return True
    untouched = step.status is StepStatus.PENDING and not step.epoch_changed
    return (untouched or step.status is StepStatus.FAILED) and not step.doubt


def past_pivot(draft: Draft) -> bool:
    pivot = draft.plan.pivot
    step = draft.steps.get(Address(pivot.position, pivot.branch)) if pivot else None
    return step is not None and step.status in RESOLVED


def give_up(draft: Draft, step: StepState) -> None:
    """A step has failed for good: turn back if that is possible, else a person must look."""
    error = step.error or ErrorInfo(type="sagas.StepFailed", message="given up", step=step.name)
    kind = draft.plan_step(step).kind
    if kind is StepKind.COMPENSATABLE or (kind is StepKind.PIVOT and not step.doubt):
        turn_back(draft, error)
    else:
        draft.status = SagaStatus.FAILED
        draft.error = error
        draft.note("needs_a_person", step, reason=f"{kind.value} step failed for good", **error.to_json())


def advance(draft: Draft) -> None:
    done = max((step.address.position for step in draft.actions()), default=-1)
    following = draft.plan.after(done)
    if following is None:
        draft.status = SagaStatus.COMPLETED
    else:
        draft.status = SagaStatus.RUNNING
        draft.birth(Address(following.position, following.branch))


def turn_back(draft: Draft, error: ErrorInfo) -> None:
    """Leave forward: nothing unclaimed may be claimed from here on, in this same transaction."""
    draft.status = SagaStatus.COMPENSATING
    draft.error = draft.error or error
    for step in draft.actions():
        if step.status is StepStatus.PENDING:
            draft.void(step)


def settle_backward(draft: Draft) -> None:
    """Drain, then undo one after the other; when nothing is left, end."""
    if any(step.is_live for step in draft.actions()):
        return
    undos = [step for step in draft.compensations() if step.is_live]
    if any(step.status is StepStatus.RUNNING or step.dispatched_at or step.not_before for step in undos):
        return
    for action in undo_order(draft):
        undo = draft.last_round(action)
        if undo is not None and undo.is_live:
            draft.dispatch(undo)
            return
        if undo is None or (undo.status in RESOLVED and action.stray):
            draft.put(action, stray=False)
            round_ = undo.address.round + 1 if undo else 1
            draft.birth(Address(action.address.position, action.address.branch, round_))
            return
    unresolved = [step for step in map(draft.last_round, draft.actions()) if step and step.status is StepStatus.FAILED]
    draft.status = SagaStatus.FAILED if unresolved else SagaStatus.COMPENSATED
    for step in unresolved if draft.before.status is not SagaStatus.FAILED else ():
        draft.note("needs_a_person", step, reason="its compensation failed for good")


def undo_order(draft: Draft) -> list[StepState]:
    """What has to be undone, the last begun first: completed, or given up in doubt."""
    to_undo = [step for step in draft.actions() if must_be_undone(draft, step)]
    return sorted(
        to_undo,
        key=lambda step: (step.first_claimed_at or UNKNOWN_START, step.address.position),
        reverse=True,
    )


def must_be_undone(draft: Draft, step: StepState) -> bool:
    happened = step.status is StepStatus.COMPLETED or (step.status is StepStatus.FAILED and step.doubt) or step.stray
    return happened and draft.plan_step(step).compensation is not None


def undo_places(plan: Plan, state: InstanceState) -> list[Address]:
    """The compensations that are still to run, in their order, as their rows will be called."""
    draft = Draft(plan, state, UNKNOWN_START, timedelta(0))
    places = []
    for action in undo_order(draft):
        undo = draft.last_round(action)
        if undo is None:
            places.append(Address(action.address.position, action.address.branch, 1))
        elif undo.is_live:
            places.append(undo.address)
        elif undo.status in RESOLVED and action.stray:
            places.append(replace(undo.address, round=undo.address.round + 1))
    return places
