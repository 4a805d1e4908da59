"""The rules of a run: what an event means for it. A pure function; another module performs the decision.

It is a table of its own beside `sagas.model.decide.decide`: a run has neither positions that follow one another nor a
pivot. What happens to a single execution is the same, and shared.
"""

from datetime import datetime, timedelta

from sagas.model.choreography.draft import RunDraft
from sagas.model.choreography.events import (
    DeliveryRequested,
    Handled,
    LetterSkipped,
    PutOff,
    ReplayRequested,
    RunEvent,
)
from sagas.model.choreography.late import late_failure, late_success
from sagas.model.choreography.letters import deliver_late, replay, skip
from sagas.model.choreography.numbering import mute, number_arrived, publish, turn_run_back
from sagas.model.choreography.plan import ChoreographyPlan
from sagas.model.choreography.settle import settle
from sagas.model.choreography.state import RunDecision, RunState
from sagas.model.decide import DEFAULT_LEASE
from sagas.model.events import (
    Claimed,
    Completed,
    Ended,
    Event,
    Failed,
    Misdelivered,
    Parked,
    StopRequested,
    Tick,
    UndoOutcome,
)
from sagas.model.examining import claim, examine
from sagas.model.executions import PARKED_AFTER
from sagas.model.parking import misdelivered, park
from sagas.model.reports import take_completion, take_end, take_failure
from sagas.model.state import (
    ErrorInfo,
    ExecutionStatus,
    MailKind,
    StepState,
    Stop,
    StopKind,
)
from sagas.model.vocabulary import HistoryEvent, Reason


def decide_run(
    plan: ChoreographyPlan,
    state: RunState,
    event: RunEvent | Event,
    now: datetime,
    *,
    lease: timedelta = DEFAULT_LEASE,
    parked_after: timedelta = PARKED_AFTER,
) -> RunDecision:
    """Decide what is to be done about ``event``. It never raises on a legal state.

    Args:
        plan: the run's own plan, never today's code.
        state: the run and its deliveries, with the evidence about their holders and messages.
        event: what happened.
        now: the database's clock.
        lease: how soon to look again at something that should be moving.
        parked_after: how long a delivery that cannot be called may wait, before it waits for a person.

    Returns:
        The state to save, the executions to send after the commit, numbers, events to insert, and entries for the
        history. If it ``needs_whole``, nothing of it may be saved.
    """
    draft = RunDraft(plan, state, now, lease, parked_after)
    number_arrived(draft)
    read_inbox(draft)
    draft.accepted = True  # `accepted` is about the event alone
    match event:
        case Tick():
            for step in list(draft.steps.values()):
                examine(draft, draft.steps[step.address])
        case Claimed():
            claim(draft, event)
        case Completed():
            take_completion(draft, event, complete_late, complete)
        case Failed():
            take_failure(draft, event, late_failure)
        case Ended():
            take_end(draft, event)
        case Parked():
            park(draft, event, settle)
        case Misdelivered():
            misdelivered(draft, event, settle)
        case PutOff():
            put_off(draft, event)
        case StopRequested():
            request_stop(draft, event)
        case ReplayRequested():
            replay(draft, event)
        case LetterSkipped():
            skip(draft, event)
        case DeliveryRequested():
            deliver_late(draft, event)
        case _:  # a wish about steps of a saga
            draft.accepted = False
    settle(draft)
    return draft.decision()


def read_inbox(draft: RunDraft) -> None:
    """Take the cancels that callers have left. Any other mail but events is for sagas."""
    for mail in draft.before.evidence.inbox:
        draft.consumed.add(mail.id)
        if mail.kind is MailKind.CANCEL:
            request_stop(draft, StopRequested(stop=Stop(kind=StopKind.CANCELLED, reason=mail.name), by=mail.by))


def request_stop(draft: RunDraft, event: StopRequested) -> None:
    """Turn the run back, unless it has ended: another run has to take back what that did."""
    if draft.turned_at is not None:
        draft.accepted = True
    elif draft.ended_by is not None or draft.has_ended:
        draft.accepted = False
    else:
        draft.stop = event.stop
        draft.note(HistoryEvent.STOP_REQUESTED, reason=event.stop.reason, kind=event.stop.kind.value, by=event.by)
        turn_run_back(draft, ErrorInfo(type=Reason.CANCELLED, message=event.stop.reason))


def put_off(draft: RunDraft, event: PutOff) -> None:
    """Take back a claim whose body has not begun, as if it had never been. A closed handler does not begin any more."""
    row = draft.steps.get(event.address)
    if row is None or row.status is not ExecutionStatus.RUNNING or row.token != event.token:
        draft.accepted = False
        return
    attempts = row.attempts - 1
    began = row.first_claimed_at if attempts else None
    row = draft.put_back(row, attempts=attempts, first_claimed_at=began, not_before=event.until)
    if row.address.is_action and draft.is_closed(row):
        draft.void(row)


def complete_late(draft: RunDraft, step: StepState, event: Completed) -> bool:
    """Complete an execution whose claim was taken away, if that counts; return whether it does."""
    counts = late_success(draft, step, event)
    if counts:
        complete(draft, draft.steps[event.address], event)
    return counts


def complete(draft: RunDraft, step: StepState, event: Completed) -> None:
    """Take the completion of an execution that holds its claim, with the events that it publishes."""
    if event.outcome is UndoOutcome.MANUAL and not step.address.is_action:
        error = ErrorInfo(type=Reason.MANUAL_UNDO, message="its undo says: by hand, please", step=step.name)
        draft.close(step, ExecutionStatus.FAILED, result=event.result, error=error)
        return
    if event.outcome is UndoOutcome.PARTIAL and not step.address.is_action:
        draft.note(HistoryEvent.UNDONE_IN_PART, step)
    draft.close(step, ExecutionStatus.COMPLETED, result=event.result, error=None, doubt=False)
    is_muted = step.address.is_action and draft.is_closed(step)
    for published in event.published if isinstance(event, Handled) else ():
        if is_muted:
            mute(draft, published)
        else:
            publish(draft, published, after_late=draft.is_late(step))
