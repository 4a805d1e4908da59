"""Undoing a saga that has turned back: the last begun first, one by one or side by side, until nothing is left."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sagas.model.draft import ONLY_A_PERSON_CAN_TELL, InstanceDraft
from sagas.model.executions import is_queued, waits_for_an_answer
from sagas.model.plan import IfInDoubt, Plan, PlanStep, StepKind
from sagas.model.state import RESOLVED, Address, ExecutionStatus, InstanceState, SagaStatus, StepState
from sagas.model.vocabulary import HistoryEvent

#: Sorts an action whose claim was lost with a crash: its beginning is unknown, so it is undone first.
UNKNOWN_START = datetime.max.replace(tzinfo=UTC)


def settle_backward(draft: InstanceDraft) -> None:
    """Wait for running actions, then undo, last begun first, one by one or in parallel; end when nothing is left."""
    if any(step.is_live for step in draft.actions()):
        return
    # Compensations that are with a worker or on their way.
    under_way = [step for step in draft.compensations() if step.is_live and not is_queued(step)]
    failed = failed_undos(draft)
    stops = draft.plan.stop_at_failed_undo and not all(map(waits_for_an_answer, failed))
    to_undo = [] if stops else next_to_undo(draft)
    if any(step.address.action not in to_undo for step in under_way):
        return  # wait: an earlier compensation is still running
    known = frozenset(draft.steps)
    for address in to_undo:
        action = draft.steps[address]
        undo = draft.last_round(action)
        if undo is None or not undo.is_live:
            draft.put(action, stray=False)
            place = replace(address, round=undo.address.round + 1 if undo else 1)
            if only_a_person_can_tell(draft.plan_step(action), action):
                draft.birth_for_a_person(place, ONLY_A_PERSON_CAN_TELL)
            else:
                draft.birth(place)
        elif is_queued(undo):
            draft.begin(undo)
    if any(waits_for_an_answer(draft.steps[place]) for place in draft.steps.keys() - known):
        settle_backward(draft)  # nothing was sent for it, so the next ones have their turn
    if to_undo:
        return
    for step in draft.compensations():
        if is_queued(step) and step.is_live:  # to be retried, but an undo failed before its turn came
            draft.close(step, ExecutionStatus.FAILED)
    failed = failed_undos(draft)
    draft.status = SagaStatus.FAILED if failed else SagaStatus.COMPENSATED
    for step in failed:
        if draft.before.status is not SagaStatus.FAILED or is_new(draft, step):
            draft.note(HistoryEvent.NEEDS_A_PERSON, step, reason=why_failed(draft, step))


def failed_undos(draft: InstanceDraft) -> list[StepState]:
    """Return the undos that failed, for which a saga ends failed once it has turned back; the last begun first."""
    actions = sorted(draft.actions(), key=lambda step: start_order(draft, step), reverse=True)
    return [
        undo for undo in map(draft.last_round, actions) if undo is not None and undo.status is ExecutionStatus.FAILED
    ]


def is_new(draft: InstanceDraft, undo: StepState) -> bool:
    return draft.before.at(undo.address) is None


def why_failed(draft: InstanceDraft, undo: StepState) -> str:
    if draft.plan_step(undo).kind is StepKind.PIVOT:
        return "its pivot was reported after it had turned back"
    if waits_for_an_answer(undo):
        return "whether it happened is for a person to say"
    return "its compensation cannot be called" if undo.is_parked else "its compensation failed for good"


def next_to_undo(draft: InstanceDraft) -> list[Address]:
    """Return the actions to undo next: the last begun and, if the saga says so, those of parallel lanes too."""
    outstanding = [action for action in undo_order(draft) if is_outstanding(action, draft.last_round(action))]
    first_of_lanes: dict[tuple[int, int], Address] = {}
    for action in outstanding:
        if are_undone_together(draft.plan, outstanding[0].address, action.address):
            step = draft.plan_step(action)
            first_of_lanes.setdefault((step.position, step.lane), action.address)
    return list(first_of_lanes.values())


def is_outstanding(action: StepState, undo: StepState | None) -> bool:
    return undo is None or undo.is_live or (undo.status in RESOLVED and action.stray)


def are_undone_together(plan: Plan, one: Address, other: Address) -> bool:
    beside = one.position == other.position and plan.step(one.position, one.branch).undo_at_once
    return one == other or plan.undo_at_once or beside


def undo_order(draft: InstanceDraft) -> list[StepState]:
    """Return the actions to undo, last begun first: those completed, or given up in doubt."""
    to_undo = [step for step in draft.actions() if must_be_undone(draft, step)]
    return sorted(to_undo, key=lambda step: start_order(draft, step), reverse=True)


def start_order(draft: InstanceDraft, step: StepState) -> tuple[int, datetime, int]:
    """Return a sort key for when it began, as far as is known: a crash may have lost it.

    Positions, and the steps of a lane, follow one another whatever the clock says.
    """
    in_lane = {other.branch for other in draft.plan.lane(draft.plan_step(step)) if other.branch >= step.address.branch}
    moments = [
        other.first_claimed_at
        for other in draft.actions()
        if other.address.position == step.address.position and other.address.branch in in_lane
    ]
    earliest = min((moment for moment in moments if moment is not None), default=UNKNOWN_START)
    return step.address.position, earliest, step.address.branch


def must_be_undone(draft: InstanceDraft, step: StepState) -> bool:
    happened = step.status is ExecutionStatus.COMPLETED or is_in_doubt(step) or step.stray
    plan_step = draft.plan_step(step)
    return happened and (plan_step.is_undoable or only_a_person_can_tell(plan_step, step))


def is_in_doubt(action: StepState) -> bool:
    """Return whether it was given up and its effect may exist."""
    return action.status in (ExecutionStatus.FAILED, ExecutionStatus.SKIPPED) and action.doubt


def only_a_person_can_tell(plan_step: PlanStep, action: StepState) -> bool:
    """Return whether its undo waits for a person's answer, instead of running as if the action had happened."""
    return plan_step.if_in_doubt is IfInDoubt.PERSON and is_in_doubt(action)


def undo_places(plan: Plan, state: InstanceState) -> list[Address]:
    """Return the addresses of the compensations that are still to run one by one, in order."""
    draft = InstanceDraft(plan, state, UNKNOWN_START, timedelta(0))
    places = []
    for action in undo_order(draft):
        undo = draft.last_round(action)
        if not is_outstanding(action, undo):
            continue
        step = draft.plan_step(action)
        if undo is None and only_a_person_can_tell(step, action):
            continue  # no message is sent for it
        if not step.is_task or step.undo_at_once or plan.undo_at_once:
            break
        if undo is not None and undo.is_live:
            places.append(undo.address)
        else:
            places.append(replace(action.address, round=undo.address.round + 1 if undo else 1))
    return places
