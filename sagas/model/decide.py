"""The rules: what an event means for an instance. A pure function; another module performs the answer.

Garcia-Molina & Salem's saga (1987) with Richardson's pivot, and with doubt: an action that may have happened
is treated as one that did. ``decide`` reads no clock and rolls no dice, and it never raises on a legal state:
an event that does not apply comes back as ``accepted=False``.
"""

from datetime import datetime, timedelta

from sagas.model.commands import Decision
from sagas.model.draft import LONGEST_COUNTDOWN, PARKED_FOR, Draft, is_queued
from sagas.model.events import (
    Claimed,
    Completed,
    Event,
    Failed,
    Misdelivered,
    Parked,
    RetryRequested,
    SkipRequested,
    StopRequested,
    Tick,
)
from sagas.model.late import late_failure, late_success, take_completion
from sagas.model.plan import Plan
from sagas.model.retry import Verdict
from sagas.model.settle import can_turn_back, is_given_up, past_pivot, settle, undo_order
from sagas.model.state import (
    RESOLVED,
    Address,
    ErrorInfo,
    Holder,
    InstanceState,
    MailKind,
    SagaStatus,
    StepState,
    StepStatus,
    Stop,
    StopKind,
)
from sagas.model.waiting import look

#: What an undo has for its result that a person did by hand, as JSON.
BY_HAND = '{"outcome": "manual"}'
#: How soon a message is sent again that reached a worker without its task; twice as long after each try.
SECOND_TRY = timedelta(seconds=1)
DEFAULT_LEASE = timedelta(seconds=5)


def decide(
    plan: Plan, state: InstanceState, event: Event, now: datetime, *, lease: timedelta = DEFAULT_LEASE
) -> Decision:
    """What is to be done about ``event``.

    Args:
        plan: the instance's own plan, never today's code.
        state: the instance and its executions, with the evidence about their holders and messages.
        event: what happened.
        now: the database's clock.
        lease: how soon to look again at something that should be moving.

    Returns:
        The state to save, the executions to send after the commit, and entries for the history.
    """
    draft = Draft(plan, state, now, lease)
    read_inbox(draft)
    draft.accepted = True  # it speaks of the event alone
    match event:
        case Tick():
            draft.pardons_deadlines = event.after_outage
            for step in list(draft.steps.values()):
                examine(draft, draft.steps[step.address])
            settle(draft)
        case Claimed():
            claim(draft, event)
        case Completed():
            complete(draft, event)
        case Failed():
            fail(draft, event)
        case Parked():
            park(draft, event)
        case Misdelivered():
            misdelivered(draft, event)
        case StopRequested():
            request_stop(draft, event)
        case RetryRequested():
            request_retry(draft, event)
        case SkipRequested():
            request_skip(draft, event)
    if not isinstance(event, Tick) and state.inbox:
        look_at_waiting(draft)
    if draft.status.is_forward and plan.is_parallel(draft.position):
        settle(draft)  # a lane may have been handed over to whoever decides next; `pending` is counted anew here
    return draft.decision()


def first(plan: Plan, now: datetime, state: InstanceState, *, lease: timedelta = DEFAULT_LEASE) -> Decision:
    """The decision to start: gives birth to the first steps. The start statement is this compiled to SQL.

    What has to wait for something is left to the first `Tick`, as is what no worker runs.
    """
    draft = Draft(plan, state, now, lease)
    if plan.begins_at_once:
        for step in plan.heads(0):
            draft.birth(Address(step.position, step.branch))
    return draft.decision()


def read_inbox(draft: Draft) -> None:
    """What others have to say comes first. Signals stay until a step waits for them."""
    for mail in draft.before.inbox:
        if mail.kind is MailKind.SIGNAL:
            continue
        draft.consumed.add(mail.id)
        if mail.kind is MailKind.CANCEL:
            request_stop(draft, StopRequested(stop=Stop(kind=StopKind.CANCELLED, reason=mail.name), by=mail.by))
        elif mail.kind is MailKind.UNDO:
            undo_as_one(draft)


def look_at_waiting(draft: Draft) -> None:
    """Whoever reads the inbox draws all its consequences: it counts as seen."""
    waiting = [step for step in draft.steps.values() if step.is_live and draft.waits(step)]
    ended = [look(draft, step) for step in waiting]
    if any(ended):
        settle(draft)


def undo_as_one(draft: Draft) -> None:
    """A completed child saga is undone by its parent, as a unit and in reverse."""
    if draft.status is SagaStatus.COMPLETED and draft.before.parent is not None:
        draft.note("undone_by_parent")
        draft.status = SagaStatus.COMPENSATING
        settle(draft)


def examine(draft: Draft, step: StepState) -> None:
    """The sweep's look at one execution: is its holder alive, in time, is its message on the way?"""
    if step.is_live and draft.waits(step):
        look(draft, step)
    elif step.status is StepStatus.RUNNING:
        if step.holder in (Holder.DEAD, Holder.SILENT):
            draft.lost(step, proven=step.holder is Holder.DEAD)
        elif draft.now >= draft.end_of(step):
            limit = draft.plan_step(step).timeout_for(step.address.round)
            error = ErrorInfo(type="sagas.StepTimeout", message=f"still running after {limit:g} s", step=step.name)
            draft.attempt_failed(step, error, Verdict.TIMEOUT)
    elif step.status is StepStatus.PENDING and not is_queued(step):
        if step.not_before and step.not_before > draft.now:
            return
        if step.overtaken or draft.patience_over(step):
            dispatch_again(draft, step)


def dispatch_again(draft: Draft, step: StepState) -> None:
    may_have_run = step.address.is_action and step.epoch_changed
    if may_have_run and not draft.plan_step(step).idempotent:
        error = ErrorInfo(type="sagas.ClaimLost", message="a crash of the database lost the claim", step=step.name)
        draft.note("given_up_in_doubt", step, **error.to_json())
        draft.close(step, StepStatus.FAILED, doubt=True, error=error)
        return
    if step.dispatched_at is not None:
        draft.note("dispatched_again", step, dispatches=step.dispatches + 1, overtaken=step.overtaken)
    draft.dispatch(step)


def claim(draft: Draft, event: Claimed) -> None:
    step = draft.steps.get(event.address)
    if step is None or step.status is not StepStatus.PENDING or not may_be_claimed(draft, step):
        draft.accepted = step is not None and step.status is StepStatus.RUNNING and step.token == event.token
        return
    draft.put(
        step,
        status=StepStatus.RUNNING,
        token=event.token,
        attempts=step.attempts + 1,
        dispatches=0,
        not_before=None,
        claimed_at=draft.now,
        first_claimed_at=step.first_claimed_at or draft.now,
        doubt=step.doubt or (step.epoch_changed and step.address.is_action),
        holder=Holder.ALIVE,
    )


def may_be_claimed(draft: Draft, step: StepState) -> bool:
    """An old message must neither cut a retry's wait short nor start a compensation before its turn."""
    waits = step.not_before is not None and step.not_before >= draft.now + LONGEST_COUNTDOWN
    return not waits and not is_queued(step) and not draft.waits(step)


def complete(draft: Draft, event: Completed) -> None:
    # What has succeeded counts, as in the complete statement; whoever looks next turns back what is too late.
    draft.pardons_deadlines = True
    step = draft.steps.get(event.address)
    if step is None:
        draft.accepted = False
    elif step.token != event.token or step.status is not StepStatus.RUNNING:
        # "Mine and completed already" is success: a commit's answer can be lost.
        if event.rolled_back:
            draft.accepted = False
        elif not (step.token == event.token and step.status in RESOLVED):
            draft.accepted = late_success(draft, step, event)
    else:
        take_completion(draft, step, event)
        settle(draft)


def fail(draft: Draft, event: Failed) -> None:
    step = draft.steps.get(event.address)
    if step is None or step.token != event.token or step.status is not StepStatus.RUNNING:
        draft.accepted = False
        if step is not None:
            late_failure(draft, step, event)
        return
    if event.verdict is Verdict.INTERRUPTED:
        draft.lost(step, proven=True, error=event.error)
    else:
        draft.attempt_failed(step, event.error, event.verdict, event.dice, event.retry_after)
    # Forward, the error callback (or the sweep) draws the consequence. Backward, Celery ends the chain of
    # compensations at an exception, so the rest is dispatched by whoever records the failure. Beside others the saga
    # turns back at once: a completion that comes between would let the next step of its lane begin.
    if not draft.status.is_forward or draft.plan.is_parallel(step.address.position):
        settle(draft)


def park(draft: Draft, event: Parked) -> None:
    step = draft.steps.get(event.address)
    if step is None or step.token != event.token or step.status is not StepStatus.RUNNING:
        draft.accepted = False
        return
    draft.parked(step, event.error)
    if not draft.status.is_forward:
        settle(draft)


def misdelivered(draft: Draft, event: Misdelivered) -> None:
    """It waits, visibly and a little longer each time: another worker, or a deploy, has to take it."""
    step = draft.steps.get(event.address)
    if step is None or step.status is not StepStatus.PENDING or step.dispatched_at is None:
        draft.accepted = False
        return
    if event.task not in (None, draft.plan_step(step).task_for(step.address.round)):
        draft.accepted = False  # forged: nobody has sent it
        return
    if step.error != event.error:
        draft.note("parked", step, **event.error.to_json())
    wait = min(PARKED_FOR, SECOND_TRY * 2 ** min(step.dispatches, 8))
    draft.put(step, error=event.error, dispatched_at=None, not_before=draft.now + wait)


def request_stop(draft: Draft, event: StopRequested) -> None:
    if not draft.status.is_forward:
        draft.accepted = draft.status in (SagaStatus.COMPENSATING, SagaStatus.COMPENSATED)
    elif past_pivot(draft):
        draft.accepted = False
    elif draft.stop is None:
        draft.stop = event.stop
        draft.note("stop_requested", reason=event.stop.reason, kind=event.stop.kind.value, by=event.by)
        settle(draft)


def request_retry(draft: Draft, event: RetryRequested) -> None:
    """An operator's retry re-runs only what is missing: the undos that failed, or the step past which it stuck."""
    if draft.status is not SagaStatus.FAILED:
        draft.accepted = False
        return
    draft.note("retry_requested", reason=event.reason, by=event.by)
    stuck = stuck_at(draft)
    for step in stuck:
        # The attempts of a child saga tell its ids apart.
        again = draft.put_back(step, attempts=step.attempts if draft.waits(step) else 0, losses=0)
        if again.address.is_action:
            draft.begin(again)
        else:
            draft.put(again, first_claimed_at=draft.now)  # all of its time again; and it has been claimed before
    go_on(draft, stuck)


def request_skip(draft: Draft, event: SkipRequested) -> None:
    """An operator did it by hand, or has seen that it happened, or that nothing needs to be undone."""
    stuck = stuck_at(draft) if draft.status is SagaStatus.FAILED else []
    named = [step for step in stuck if event.step in (None, step.name)]
    if len(named) != 1 or not fits(event, named[0]):
        draft.accepted = False
        return
    step = named[0]
    if event.undone:
        draft.note("resolved_by_hand", step, reason=event.reason, by=event.by)
        draft.close(step, StepStatus.COMPLETED, doubt=False, error=None, result=BY_HAND, token=None)
    else:
        draft.note("skip_requested", step, reason=event.reason, by=event.by)
        draft.close(step, StepStatus.SKIPPED, doubt=False, result=event.result, token=None)
    go_on(draft, stuck)


def fits(event: SkipRequested, step: StepState) -> bool:
    """Only a step returns something, and only a compensation can have been done by hand."""
    if step.address.is_action:
        return not event.undone
    return event.result is None


def stuck_at(draft: Draft) -> list[StepState]:
    """What a failed instance waits for: the step past which it cannot go, or the undos that failed, in their order."""
    actions = [step for step in draft.actions() if is_given_up(draft, step) and not can_turn_back(draft, step)]
    if actions:
        return actions
    undos = [draft.last_round(action) for action in undo_order(draft)]
    return [undo for undo in undos if undo is not None and undo.status is StepStatus.FAILED]


def go_on(draft: Draft, stuck: list[StepState]) -> None:
    """Out of `failed`, in the direction in which it was going."""
    if any(step.address.is_action for step in stuck):
        draft.status, draft.error, draft.stop = SagaStatus.RUNNING, None, None
    else:
        draft.status = SagaStatus.COMPENSATING
    settle(draft)
