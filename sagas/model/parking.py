"""Steps whose tasks cannot be called: neither an attempt nor an answer. A deploy may cure it; else a person decides."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from sagas.model.events import Misdelivered, Parked
from sagas.model.executions import Executions
from sagas.model.state import ErrorInfo, ExecutionStatus, StepState
from sagas.model.vocabulary import HistoryEvent, Reason

#: A working copy, and what draws the consequences of a change to it.
D = TypeVar("D", bound=Executions[Any])

NO_RESULT = "its action is in doubt, and no result"
#: How long a step waits before it is tried again.
PARKED_FOR = timedelta(seconds=60)
#: How soon a message that reached a worker without its task is sent again; the wait doubles after each try.
SECOND_TRY = timedelta(seconds=1)


def park(draft: D, event: Parked, settle: Callable[[D], None]) -> None:
    step = draft.steps.get(event.address)
    if step is None or step.token != event.token or step.status is not ExecutionStatus.RUNNING:
        draft.accepted = False
        return
    action = draft.steps[step.address.action]
    if event.lacks_result and action is not step and action.doubt:
        # No deploy gives a result to an action that has none; the other steps are undone meanwhile.
        error = replace(event.error, type=Reason.IN_DOUBT, message=f"{NO_RESULT}: {event.error.message}")
        draft.note(HistoryEvent.NEEDS_AN_ANSWER, step, **error.to_json())
        draft.close(step, ExecutionStatus.FAILED, error=error, attempts=step.attempts - 1, token=None)
        settle(draft)
        return
    step = draft.put_back(step, attempts=step.attempts - 1, parked_since=step.parked_since)
    wait_or_give_up(draft, step, event.error, PARKED_FOR, settle, for_good=event.for_good)


def misdelivered(draft: D, event: Misdelivered, settle: Callable[[D], None]) -> None:
    """Let the step wait, visibly and a little longer each time: another worker, or a deploy, has to take it."""
    step = draft.steps.get(event.address)
    if step is None or step.status is not ExecutionStatus.PENDING or step.dispatched_at is None:
        draft.accepted = False
        return
    if event.task not in (None, draft.plan_step(step).task_for(step.address.round)):
        draft.accepted = False  # forged: the library never sent it
        return
    wait_or_give_up(draft, step, event.error, min(PARKED_FOR, SECOND_TRY * 2 ** min(step.dispatches, 8)), settle)


def wait_or_give_up(
    draft: D,
    step: StepState,
    error: ErrorInfo,
    wait: timedelta,
    settle: Callable[[D], None],
    *,
    for_good: bool = False,
) -> None:
    """Let the step wait, with a last try when its time is over; after that it waits for a person."""
    if step.error != error:
        draft.note(HistoryEvent.PARKED, step, **error.to_json())
    since = step.parked_since or draft.now
    until = since + draft.parked_after
    if step.address.is_action and not draft.is_wanted(step):
        draft.void(draft.put(step, error=error))
    elif for_good or draft.now >= until:
        draft.close(step, ExecutionStatus.FAILED, token=None, error=error, parked_since=since)
    else:
        again_at = min(draft.now + wait, until)
        draft.put(step, error=error, parked_since=since, dispatched_at=None, not_before=again_at)
        if draft.status.is_forward:
            return
    settle(draft)
