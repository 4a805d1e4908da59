"""Reports of processes about an execution, by the token of its claim: steps and deliveries share them."""

from collections.abc import Callable
from typing import Any, TypeVar

from sagas.model.attempts import attempt_failed
from sagas.model.events import Completed, Ended, Failed
from sagas.model.executions import Executions
from sagas.model.retry import Verdict
from sagas.model.state import RESOLVED, ExecutionStatus, StepState

D = TypeVar("D", bound=Executions[Any])


def take_completion(
    draft: D,
    event: Completed,
    late_success: Callable[[D, StepState, Completed], bool],
    complete: Callable[[D, StepState, Completed], None],
) -> None:
    """Take a completion.

    Args:
        late_success: judges one of an execution whose claim was taken away; returns whether it counts.
        complete: completes an execution that holds its claim.
    """
    step = draft.steps.get(event.address)
    if step is None:
        draft.accepted = False
    elif step.token != event.token or step.status is not ExecutionStatus.RUNNING:
        # "Mine and already completed" is success: the answer to a commit can be lost.
        if event.rolled_back:
            draft.accepted = False
        elif not (step.token == event.token and step.status in RESOLVED):
            draft.accepted = late_success(draft, step, event)
    else:
        complete(draft, step, event)


def take_failure(draft: D, event: Failed, late_failure: Callable[[D, StepState, Failed], None]) -> bool:
    """Take a failure; return whether its execution holds its claim.

    Args:
        late_failure: judges one of an execution whose claim was taken away.
    """
    step = draft.steps.get(event.address)
    if step is None or step.token != event.token or step.status is not ExecutionStatus.RUNNING:
        draft.accepted = False
        if step is not None:
            late_failure(draft, step, event)
        return False
    if event.verdict is Verdict.INTERRUPTED:
        draft.lost(step, proven=True, error=event.error)
    else:
        attempt_failed(draft, step, event.error, event.verdict, event.dice, event.retry_after, event.asked)
    return True


def take_end(draft: D, event: Ended) -> bool:
    """Take the end of an execution from outside; return whether it has not reported its own end before."""
    running = (step for step in draft.steps.values() if step.status is ExecutionStatus.RUNNING)
    step = next((step for step in running if step.evidence.delivery == event.delivery), None)
    if step is None:
        draft.accepted = False
        return False
    attempt_failed(draft, step, event.error, event.verdict, event.dice)
    return True
