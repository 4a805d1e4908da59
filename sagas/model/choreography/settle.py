"""The consequences of how a run's deliveries stand: dead letters, undos, release, and its status."""

from sagas.model.choreography.closing import undo_closed
from sagas.model.choreography.draft import RunDraft
from sagas.model.choreography.numbering import turn_run_back
from sagas.model.choreography.plan import IfDead
from sagas.model.choreography.quiet import watch_for_silence
from sagas.model.state import ErrorInfo, ExecutionStatus, SagaStatus, StepState
from sagas.model.vocabulary import HistoryEvent, Reason


def settle(draft: RunDraft) -> None:
    """Draw all consequences. Every decision ends here, and so every path ends in a release."""
    if is_overdue(draft):
        deadline = draft.deadline()
        assert deadline is not None
        draft.note(HistoryEvent.DEADLINE_PASSED, deadline=deadline.isoformat())
        turn_run_back(draft, ErrorInfo(type=Reason.DEADLINE_EXCEEDED, message="timed out"))
    bury(draft)
    undo_closed(draft)
    bury(draft)  # an undo that waits for a person's answer is a letter, too
    release(draft)
    draft.status = status_of(draft)
    if draft.status is SagaStatus.FAILED and draft.before.status is not SagaStatus.FAILED:
        worst = next(row for row in draft.steps.values() if is_in_the_way(draft, row) and not draft.is_late(row))
        draft.error = draft.error or worst.error
        draft.note(HistoryEvent.NEEDS_A_PERSON, worst, reason="a dead letter holds it up")
    elif draft.turned_at is None and draft.status is not SagaStatus.FAILED:
        draft.error = None
    watch_for_silence(draft)


def is_overdue(draft: RunDraft) -> bool:
    """Return whether its deadline has passed and it can still turn back: also a run that waits for a person can."""
    deadline = draft.deadline()
    return draft.takes_events and draft.count > 0 and deadline is not None and draft.now >= deadline


def bury(draft: RunDraft) -> None:
    """Make dead letters of what was given up, unless its handler is closed: then a clean no is an answer."""
    for row in list(draft.steps.values()):
        if row.status is not ExecutionStatus.FAILED or draft.is_dead(row):
            continue
        if row.address.is_action and (draft.is_closed(row) or is_answered(draft, row)):
            continue
        draft.put(row, dead_at=draft.now)
        if row.address.is_action and draft.handler(row).if_dead is IfDead.COMPENSATE and draft.takes_events:
            error = row.error or ErrorInfo(type=Reason.STEP_FAILED, message="given up", step=row.name)
            turn_run_back(draft, error)
            if is_answered(draft, row):
                draft.put(draft.steps[row.address], dead_at=None)
                continue
        parked = {"parked": True} if row.parked_since else {}
        draft.note(HistoryEvent.DEAD_LETTER, row, **(row.error.to_json() if row.error else {}), **parked)


def is_answered(draft: RunDraft, row: StepState) -> bool:
    """Return whether the turn of its run is the answer to a clean no, as its handler says."""
    is_over = draft.turned_at is not None and not row.doubt and not draft.is_late(row)
    return is_over and draft.handler(row).if_dead is IfDead.COMPENSATE


def release(draft: RunDraft) -> None:
    """Let the first delivery of each ordered handler begin, if it is held; and each of a handler without an order."""
    for rows in streams(draft):
        if not draft.handler(rows[0]).is_ordered:
            free = rows
        elif any(row.is_live for row in rows):  # a letter that others have passed is delivered again behind them
            free = []
        else:
            free = rows[:1]
        for row in free:
            if row.status is ExecutionStatus.HELD:
                draft.dispatch(row)


def streams(draft: RunDraft) -> list[list[StepState]]:
    """Return the open deliveries of each handler, and the dead letters that keep others from going on, in their order.

    What came late is behind all others, whatever its number: an event that the run publishes may get a higher one.
    """
    found: dict[int, list[StepState]] = {}
    for row in sorted(draft.actions(), key=lambda row: (draft.is_late(row), row.address)):
        if row.finished_at is None or is_in_the_way(draft, row):
            found.setdefault(row.address.branch, []).append(row)
    return list(found.values())


def is_in_the_way(draft: RunDraft, row: StepState) -> bool:
    """Return whether a dead letter keeps later events of its handler, or the end of its run, from going on."""
    if row.status is not ExecutionStatus.FAILED or not draft.is_dead(row):
        return False
    policy, has_turned = draft.handler(row).if_dead, draft.turned_at is not None
    holds = policy is IfDead.HOLD or (policy is IfDead.COMPENSATE and (not has_turned or draft.is_late(row)))
    return holds or not row.address.is_action


def status_of(draft: RunDraft) -> SagaStatus:
    """Return the status. It is failed only if nothing moves by itself any more and a dead letter is in the way.

    What came late does not count, but for a delivery of the run itself that waits for it.
    """
    own = [row for row in draft.steps.values() if not draft.is_late(row)]
    heads = (rows[0] for rows in streams(draft))
    moves = any(row.is_live for row in own)
    moves = moves or any(row.status is ExecutionStatus.HELD and not draft.is_late(row) for row in heads)
    is_stuck = any(is_in_the_way(draft, row) for row in own)
    if draft.has_ended and not moves and not is_stuck:
        return draft.before.status
    moves = moves or draft.waits_for_numbers
    if is_stuck and not moves:
        return SagaStatus.FAILED
    if moves or not is_over(draft):
        return label(draft)
    return SagaStatus.COMPENSATED if draft.has_gone_back else SagaStatus.COMPLETED


def is_over(draft: RunDraft) -> bool:
    """Return whether an end was numbered or the run turned back; a choreography without ends is over when it rests."""
    has_ends = bool(draft.plan.ends or draft.plan.refuses)
    return not draft.takes_events or (not has_ends and draft.count > 0)


def label(draft: RunDraft) -> SagaStatus:
    """Return the status of a run that is not over."""
    if draft.has_gone_back:
        return SagaStatus.COMPENSATING
    has_begun = draft.before.status is not SagaStatus.PENDING or any(
        row.status is ExecutionStatus.COMPLETED for row in draft.steps.values()
    )
    return SagaStatus.RUNNING if has_begun else SagaStatus.PENDING
