"""The rules: what an event means for an instance. A pure function; another module performs the decision.

Garcia-Molina & Salem's saga (1987) with Richardson's pivot, and with doubt: an action that may have happened
is treated as one that did. ``decide`` reads no clock and rolls no dice, and it never raises on a legal state:
an event that does not apply comes back as ``accepted=False``.
"""

from datetime import datetime, timedelta

from sagas.model.commands import Decision
from sagas.model.completing import complete_step
from sagas.model.deadline import is_overdue
from sagas.model.draft import AT_ONCE, InstanceDraft
from sagas.model.events import (
    Claimed,
    Completed,
    DoubtResolved,
    Ended,
    Event,
    Failed,
    Misdelivered,
    Parked,
    RetryRequested,
    SkipRequested,
    StopRequested,
    Tick,
)
from sagas.model.examining import claim, examine
from sagas.model.executions import PARKED_AFTER
from sagas.model.late import goes_back, late_failure, late_success
from sagas.model.parking import misdelivered, park
from sagas.model.person import cancel_parked, request_retry, request_skip, resolve_doubt
from sagas.model.plan import Plan
from sagas.model.reports import take_completion, take_end, take_failure
from sagas.model.settle import past_pivot, settle
from sagas.model.state import (
    Address,
    ExecutionStatus,
    InstanceState,
    Mail,
    MailKind,
    SagaStatus,
    StepState,
    Stop,
    StopKind,
)
from sagas.model.vocabulary import HistoryEvent
from sagas.model.waiting import poll, was_awaited

DEFAULT_LEASE = timedelta(seconds=5)


def decide(
    plan: Plan,
    state: InstanceState,
    event: Event,
    now: datetime,
    *,
    lease: timedelta = DEFAULT_LEASE,
    parked_after: timedelta = PARKED_AFTER,
) -> Decision:
    """Decide what is to be done about ``event``.

    Args:
        plan: the instance's own plan, never today's code.
        state: the instance and its executions, with the evidence about their holders and messages.
        event: what happened.
        now: the database's clock.
        lease: how soon to look again at something that should be moving.
        parked_after: how long a step that cannot be called may wait, before it waits for a person.

    Returns:
        The state to save, the executions to send after the commit, and entries for the history.
    """
    draft = InstanceDraft(plan, state, now, lease, parked_after)
    read_inbox(draft)
    if state.evidence.was_granted and draft.status.is_forward:
        begin_in_its_place(draft)
    draft.accepted = True  # `accepted` is about the event alone
    match event:
        case Tick():
            for step in list(draft.steps.values()):
                look_again(draft, draft.steps[step.address])
            settle(draft)
        case Claimed():
            claim(draft, event, may_begin=not is_overdue(draft))
        case Completed():
            take_completion(draft, event, late_success, complete)
        case Failed():
            fail(draft, event)
        case Ended():
            if take_end(draft, event):
                settle(draft)
        case Parked():
            park(draft, event, settle)
        case Misdelivered():
            misdelivered(draft, event, settle)
        case StopRequested():
            request_stop(draft, event)
        case RetryRequested():
            request_retry(draft, event)
        case SkipRequested():
            request_skip(draft, event)
        case DoubtResolved():
            resolve_doubt(draft, event)
    if not isinstance(event, Tick) and state.evidence.inbox:
        look_at_waiting(draft)
    # A lane may have been left to the next decision; `pending` is recounted here.
    if is_overdue(draft) or (draft.status.is_forward and plan.is_parallel(draft.position)):
        settle(draft)
    note_late_signals(draft)
    return draft.decision()


def first(plan: Plan, now: datetime, state: InstanceState, *, lease: timedelta = DEFAULT_LEASE) -> Decision:
    """Return the decision to start, which gives birth to the first steps. The start statement is this compiled to SQL.

    A saga that must wait, or whose first step no worker runs, is left to the first `Tick`.
    """
    draft = InstanceDraft(plan, state, now, lease)
    if plan.begins_at_once:
        for step in plan.heads(0):
            draft.birth(Address(step.position, step.branch))
    return draft.decision()


def read_inbox(draft: InstanceDraft) -> None:
    """Take what the inbox holds, before the event. Signals stay until a step waits for them."""
    for mail in draft.before.evidence.inbox:
        if mail.kind is MailKind.SIGNAL:
            continue
        draft.consumed.add(mail.id)
        if mail.kind is MailKind.CANCEL:
            draft.stops_at_once = mail.payload == AT_ONCE
            request_stop(draft, StopRequested(stop=Stop(kind=StopKind.CANCELLED, reason=mail.name), by=mail.by))
            if draft.stops_at_once and draft.before.status is SagaStatus.COMPENSATING:
                stop_running(draft)
        elif mail.kind is MailKind.UNDO:
            undo_as_one(draft)


def stop_running(draft: InstanceDraft) -> None:
    """Stop the running actions of an instance that has turned back already, since its parent does not wait for them."""
    for step in draft.actions():
        if step.status is ExecutionStatus.RUNNING:
            draft.stops.append(step.address)
        elif step.status is ExecutionStatus.PENDING:
            draft.void(step)


def begin_in_its_place(draft: InstanceDraft) -> None:
    """Begin the steps that an operator's retry let go on and that had to wait for a place under their saga's limit."""
    for step in draft.actions():
        if step.status is ExecutionStatus.PENDING and step.dispatched_at is None:
            draft.begin(draft.put(step, not_before=None))


def look_at_waiting(draft: InstanceDraft) -> None:
    """Look at waiting steps, since reading the inbox marks it as seen."""
    if draft.before.evidence.awaits_lock:
        return
    waiting = [step for step in draft.steps.values() if step.is_live and draft.waits(step)]
    ended = [poll(draft, step) for step in waiting]
    if any(ended):
        settle(draft)


def note_late_signals(draft: InstanceDraft) -> None:
    """Note new signals that no step will take."""
    for mail in draft.before.evidence.inbox:
        if mail.kind is MailKind.SIGNAL and not mail.seen and mail.id not in draft.consumed and is_late(draft, mail):
            if not draft.status.is_forward:
                draft.consumed.add(mail.id)
            draft.note(HistoryEvent.SIGNAL_TOO_LATE, signal=mail.name, by=mail.by, number=mail.id)


def is_late(draft: InstanceDraft, mail: Mail) -> bool:
    """Return whether a signal is too late: only a saga that goes forward takes signals.

    One that has just got stuck going forward keeps the signals that came before.
    """
    if draft.status.is_forward:
        return was_awaited(draft, mail.name)
    stuck_now = draft.status is SagaStatus.FAILED and draft.before.status.is_forward
    return not stuck_now or goes_back(draft)


def undo_as_one(draft: InstanceDraft) -> None:
    """Undo a completed child saga for its parent, as a unit and in reverse order."""
    if draft.status is SagaStatus.COMPLETED and draft.before.parent is not None:
        draft.note(HistoryEvent.UNDONE_BY_PARENT)
        draft.status = SagaStatus.COMPENSATING
        settle(draft)


def look_again(draft: InstanceDraft, step: StepState) -> None:
    """Look at one execution: it may wait for a lock, or for something that no worker does."""
    if draft.before.evidence.awaits_lock and draft.status.is_forward and step.status is ExecutionStatus.PENDING:
        draft.keep_waiting(step)
    elif step.is_live and draft.waits(step):
        poll(draft, step)
    else:
        examine(draft, step)


def complete(draft: InstanceDraft, step: StepState, event: Completed) -> None:
    complete_step(draft, step, event)
    settle(draft)


def fail(draft: InstanceDraft, event: Failed) -> None:
    if not take_failure(draft, event, late_failure):
        return
    # Going forward, the error callback or the sweep draws the consequence. Going backward, Celery ends the chain of
    # compensations at an exception, so the process that records the failure dispatches the rest. In a parallel position
    # the saga turns back at once: a completion in between would let the next step of its lane begin.
    if event.unheard or not draft.status.is_forward or draft.plan.is_parallel(event.address.position):
        settle(draft)


def request_stop(draft: InstanceDraft, event: StopRequested) -> None:
    if draft.status is SagaStatus.FAILED:
        draft.accepted = cancel_parked(draft, event)
    elif not draft.status.is_forward:
        draft.accepted = draft.status in (SagaStatus.COMPENSATING, SagaStatus.COMPENSATED)
    elif past_pivot(draft):
        draft.accepted = False
    elif draft.stop is None:
        draft.stop = event.stop
        draft.note(HistoryEvent.STOP_REQUESTED, reason=event.stop.reason, kind=event.stop.kind.value, by=event.by)
        settle(draft)
