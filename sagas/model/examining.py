"""One look at one execution, and its claim: what steps and deliveries share."""

from dataclasses import replace
from typing import Any

from sagas.model.attempts import attempt_failed
from sagas.model.events import Claimed
from sagas.model.executions import LONGEST_COUNTDOWN, LONGEST_SILENCE, Executions, is_queued
from sagas.model.retry import Verdict
from sagas.model.state import ErrorInfo, ExecutionStatus, Holder, StepState
from sagas.model.vocabulary import HistoryEvent, Reason


def examine(draft: Executions[Any], step: StepState) -> None:
    """Look at one execution for the sweep: is its holder alive and in time, and has the time come to send it?"""
    if step.status is ExecutionStatus.RUNNING:
        if step.evidence.holder in (Holder.DEAD, Holder.SILENT):
            draft.lost(step, proven=step.evidence.holder is Holder.DEAD)
        elif draft.now >= draft.end_of(step):
            message = f"still running after {draft.timeout_of(step):g} s"
            error = ErrorInfo(type=Reason.STEP_TIMEOUT, message=message, step=step.name)
            attempt_failed(draft, step, error, Verdict.TIMEOUT)
    elif step.status is ExecutionStatus.PENDING and not is_queued(step) and is_to_be_sent(draft, step):
        dispatch_unsent(draft, step)


def is_to_be_sent(draft: Executions[Any], step: StepState) -> bool:
    """Return whether its time has come, or it has been silent for so long that another message does no harm."""
    if step.dispatched_at is None:
        return step.not_before is None or step.not_before <= draft.now
    return abs(draft.now - step.dispatched_at) >= LONGEST_SILENCE


def dispatch_unsent(draft: Executions[Any], step: StepState) -> None:
    """Send an execution that has no message: a retry, or a try after a deploy. A crash may have lost a claim."""
    may_have_run = step.address.is_action and step.evidence.epoch_changed
    if may_have_run and not draft.plan_step(step).idempotent:
        error = ErrorInfo(type=Reason.CLAIM_LOST, message="a crash of the database lost the claim", step=step.name)
        draft.note(HistoryEvent.GIVEN_UP_IN_DOUBT, step, **error.to_json())
        draft.close(step, ExecutionStatus.FAILED, doubt=True, error=error)
        return
    draft.dispatch(step)


def claim(draft: Executions[Any], event: Claimed, *, may_begin: bool = True) -> None:
    """Take the claim of a worker. No action begins unless it ``may_begin``."""
    step = draft.steps.get(event.address)
    if step is None or step.status is not ExecutionStatus.PENDING or not may_be_claimed(draft, step, may_begin):
        draft.accepted = step is not None and step.status is ExecutionStatus.RUNNING and step.token == event.token
        return
    draft.put(
        step,
        status=ExecutionStatus.RUNNING,
        token=event.token,
        attempts=step.attempts + 1,
        dispatches=0,
        not_before=None,
        claimed_at=draft.now,
        first_claimed_at=step.first_claimed_at or draft.now,
        doubt=step.doubt or (step.evidence.epoch_changed and step.address.is_action),
        evidence=replace(step.evidence, holder=Holder.ALIVE),
    )


def may_be_claimed(draft: Executions[Any], step: StepState, may_begin: bool) -> bool:
    """Return whether an execution may be claimed.

    An old message must neither cut a retry's wait short nor start a compensation before its turn, and no action begins
    once the deadline has passed.
    """
    if step.address.is_action and not may_begin:
        return False
    waits = step.not_before is not None and step.not_before >= draft.now + LONGEST_COUNTDOWN
    return not waits and not is_queued(step) and not draft.waits(step)
