"""Steps that no worker runs: they wait for time, for a signal, or for another saga."""

import json
from datetime import timedelta

from sagas.model.attempts import failure_of
from sagas.model.draft import InstanceDraft
from sagas.model.plan import OnTimeout, StepRole
from sagas.model.retry import Verdict
from sagas.model.state import RESOLVED, Address, ErrorInfo, ExecutionStatus, MailKind, SagaStatus, StepState, child_id
from sagas.model.vocabulary import HistoryEvent, Reason


def poll(draft: InstanceDraft, step: StepState) -> bool:
    """Check whether what it waits for has come. Return True if that ends the step."""
    plan_step = draft.plan_step(step)
    if plan_step.role is StepRole.CHILD:
        look_at_child(draft, step)
    elif plan_step.role is StepRole.WAIT and take_signal(draft, step):
        pass
    elif step.not_before is None or draft.now >= step.not_before:
        if plan_step.role is StepRole.WAIT:
            time_out(draft, step)
        else:
            draft.completed(step, None)
    return not draft.steps[step.address].is_live


def take_signal(draft: InstanceDraft, step: StepState) -> bool:
    """Take the oldest matching signal; one that came before the wait was kept for it."""
    name = draft.plan_step(step).signal
    for mail in draft.before.evidence.inbox:
        if mail.kind is MailKind.SIGNAL and mail.name == name and mail.id not in draft.consumed:
            draft.consumed.add(mail.id)
            draft.note(HistoryEvent.SIGNAL_RECEIVED, step, signal=mail.name, by=mail.by)
            finish_waiting(draft, step, mail.payload)
            return True
    return False


def was_awaited(draft: InstanceDraft, name: str) -> bool:
    """Return whether all steps for this signal are done with it; one that failed may be retried."""
    places = [Address(step.position, step.branch) for step in draft.plan.steps if step.signal == name]
    rows = [draft.steps.get(place) for place in places]
    return bool(rows) and all(row is not None and row.status in RESOLVED for row in rows)


def only_wanted(result: str | None, names: tuple[str, ...] | None) -> str | None:
    """Return those names of the child's result that the parent wants."""
    if result is None or names is None:
        return result
    return json.dumps({name: value for name, value in json.loads(result).items() if name in names})


def finish_waiting(draft: InstanceDraft, step: StepState, result: str | None) -> None:
    """End the step with what came as its result, unless a parallel branch has returned one of its names."""
    names = json.loads(result) if result is not None and draft.plan.is_parallel(step.address.position) else None
    keys = tuple(names) if isinstance(names, dict) else ()
    clash = draft.clash(step, keys)
    if clash is None:
        draft.completed(step, result, keys)
    else:
        draft.note(HistoryEvent.ATTEMPT_FAILED, step, **failure_of(clash, step.attempts, Verdict.UNUSABLE))
        draft.close(step, ExecutionStatus.FAILED, error=clash, doubt=draft.plan_step(step).is_undoable)


def time_out(draft: InstanceDraft, step: StepState) -> None:
    plan_step = draft.plan_step(step)
    waited = timedelta(seconds=plan_step.seconds or 0)
    draft.note(HistoryEvent.SIGNAL_TIMED_OUT, step, signal=plan_step.signal, on_timeout=plan_step.on_timeout.value)
    if plan_step.on_timeout is OnTimeout.CONTINUE:
        draft.completed(step, None)
    else:
        message = f"no signal {plan_step.signal!r} came within {waited}"
        draft.close(
            step, ExecutionStatus.FAILED, error=ErrorInfo(type=Reason.SIGNAL_TIMEOUT, message=message, step=step.name)
        )


def look_at_child(draft: InstanceDraft, step: StepState) -> None:
    """Look at the child saga. If it failed, it waits for a person, and its parent waits with it."""
    action = draft.steps[step.address.action]
    child = next((it for it in draft.before.evidence.children if it.id == child_id(draft.before.id, action)), None)
    if child is None:
        return
    if not step.address.is_action:
        if child.status is SagaStatus.COMPENSATED:
            draft.completed(step, None)
    elif child.status is SagaStatus.COMPLETED:
        finish_waiting(draft, step, only_wanted(child.result, draft.plan_step(step).child_output))
    elif child.status is SagaStatus.COMPENSATED:
        why = child.error or ErrorInfo(type=Reason.CHILD_COMPENSATED, message="it was undone", step=step.name)
        draft.note(HistoryEvent.CHILD_COMPENSATED, step, child=str(child.id), **why.to_json())
        draft.close(step, ExecutionStatus.FAILED, error=why)
