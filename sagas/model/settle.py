"""The consequences of the executions' states: advance, end, or turn back; `sagas.model.undoing` has the way back."""

from sagas.model.deadline import is_overdue, may_stop, pivot_of
from sagas.model.draft import InstanceDraft
from sagas.model.plan import IfLocked, PlanStep, StepKind
from sagas.model.state import (
    RESOLVED,
    Address,
    ErrorInfo,
    ExecutionStatus,
    SagaStatus,
    StepState,
    Stop,
    StopKind,
)
from sagas.model.undoing import settle_backward
from sagas.model.vocabulary import HistoryEvent, Reason
from sagas.model.waiting import poll


def settle(draft: InstanceDraft) -> None:
    if draft.status.is_forward:
        settle_forward(draft)
    if draft.status is SagaStatus.COMPENSATING:
        settle_backward(draft)


def settle_forward(draft: InstanceDraft) -> None:
    while draft.status.is_forward:
        deadline = draft.deadline()
        if draft.stop is None and deadline is not None and is_overdue(draft) and not is_done(draft):
            draft.stop = Stop(kind=StopKind.TIMED_OUT, reason="timed out")
            draft.note(HistoryEvent.DEADLINE_PASSED, deadline=deadline.isoformat())
        if draft.stop is not None and may_stop(draft):
            kind = Reason.CANCELLED if draft.stop.kind is StopKind.CANCELLED else Reason.DEADLINE_EXCEEDED
            turn_back(draft, ErrorInfo(type=kind, message=draft.stop.reason))
            return
        if draft.before.evidence.awaits_lock and not draft.steps:
            if draft.plan.if_locked is IfLocked.REFUSE:
                turn_back(draft, ErrorInfo(type=Reason.RESOURCE_LOCKED, message="another saga holds what it locks"))
            return
        given_up = [step for step in draft.actions() if is_given_up(draft, step)]
        turning = next((step for step in given_up if can_turn_back(draft, step)), None)
        if turning is not None:
            turn_back(draft, error_of(turning))
            return
        born = next_in_lanes(draft)
        if not born and not any(step.is_live for step in draft.actions()):
            if given_up:
                needs_a_person(draft, given_up[0])
                return
            born = list(next_position(draft))
        if draft.before.evidence.awaits_lock:
            return  # an operator's retry let it go on, but others have its place
        for step in born:
            draft.birth(Address(step.position, step.branch))
        # The signal may have come before the wait for it.
        waiting = [draft.steps[Address(step.position, step.branch)] for step in born if not step.is_task]
        ended = [poll(draft, step) for step in waiting]
        if not any(ended):
            return


def is_done(draft: InstanceDraft) -> bool:
    """Return whether nothing is left to do: a deadline cannot end a saga whose last step has succeeded."""
    if any(step.is_live or is_given_up(draft, step) for step in draft.actions()):
        return False
    return not draft.plan.heads(draft.position + 1) and not next_in_lanes(draft)


def is_given_up(draft: InstanceDraft, step: StepState) -> bool:
    return step.status is ExecutionStatus.FAILED and not draft.plan_step(step).best_effort


def next_in_lanes(draft: InstanceDraft) -> list[PlanStep]:
    """Return the next steps of the lanes whose last step is done."""
    position = draft.position
    done = {
        step.address.branch
        for step in draft.actions()
        if step.address.position == position and not step.is_live and not is_given_up(draft, step)
    }
    following = [draft.plan.next_in_lane(draft.plan.step(position, branch)) for branch in sorted(done)]
    return [step for step in following if step and Address(step.position, step.branch) not in draft.steps]


def next_position(draft: InstanceDraft) -> tuple[PlanStep, ...]:
    """Return the heads of the next position; after the last one, complete the saga."""
    position = draft.position
    heads = draft.plan.heads(position + 1)
    draft.written = None
    if not heads:
        draft.status = SagaStatus.COMPLETED
    elif position >= 0:
        draft.status = SagaStatus.RUNNING
    return heads


def past_pivot(draft: InstanceDraft) -> bool:
    pivot = pivot_of(draft)
    return pivot is not None and pivot.status in RESOLVED


def is_stuck(draft: InstanceDraft, step: StepState) -> bool:
    """Return whether it was given up where there is no way back. Once a saga turns back, it waits only at undos."""
    return is_given_up(draft, step) and not can_turn_back(draft, step) and draft.last_round(step) is None


def can_turn_back(draft: InstanceDraft, step: StepState) -> bool:
    if step.is_parked:
        return False
    kind = draft.plan_step(step).kind
    return kind is StepKind.COMPENSATABLE or (kind is StepKind.PIVOT and not step.doubt)


def error_of(step: StepState) -> ErrorInfo:
    return step.error or ErrorInfo(type=Reason.STEP_FAILED, message="given up", step=step.name)


def needs_a_person(draft: InstanceDraft, step: StepState) -> None:
    """Record that a step has failed for good where there is no way back."""
    draft.status = SagaStatus.FAILED
    draft.error = error_of(step)
    reason = "cannot be called" if step.is_parked else f"{draft.plan_step(step).kind.value} step failed for good"
    draft.note(HistoryEvent.NEEDS_A_PERSON, step, reason=reason, **draft.error.to_json())


def turn_back(draft: InstanceDraft, error: ErrorInfo) -> None:
    """Leave forward: from here on no unclaimed action may be claimed, in this same transaction."""
    draft.status = SagaStatus.COMPENSATING
    draft.error = draft.error or error
    for step in draft.actions():
        if step.is_parked:
            draft.put(step, parked_since=None)
        elif step.status is ExecutionStatus.PENDING:
            draft.void(step)
        elif step.status is ExecutionStatus.RUNNING and draft.is_told_to_stop(step):
            draft.stops.append(step.address)
