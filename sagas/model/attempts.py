"""The consequence of one execution that ended in an error: whether it is tried again, and when."""

from datetime import timedelta
from typing import Any

from sagas.model.events import Asked
from sagas.model.executions import LONGEST_COUNTDOWN, LONGEST_DELAY, Executions
from sagas.model.retry import Verdict
from sagas.model.state import ErrorInfo, ExecutionStatus, StepState
from sagas.model.vocabulary import HistoryEvent


def attempt_failed(
    draft: Executions[Any],
    step: StepState,
    error: ErrorInfo,
    verdict: Verdict,
    dice: float = 0.0,
    retry_after: float = 0.0,
    asked: Asked | None = None,
) -> None:
    """Retry by the policy, or give up. Every failure is noted with its traceback; a poll is only counted."""
    asked = asked or Asked()
    policy = draft.plan_step(step).retry_for(step.address.round)
    failure = failure_of(error, step.attempts, verdict)
    step = draft.put(step, error=error, doubt=draft.in_doubt(step, verdict))
    if asked.polls:
        step = draft.put(step, polls=step.polls + 1, polled_since=step.polled_since or step.claimed_at)
    else:
        draft.note(HistoryEvent.ATTEMPT_FAILED, step, **failure)
    wait = max(policy.delay(step.failures, dice), retry_after) if asked.wait is None else asked.wait
    delay = timedelta(seconds=min(wait, LONGEST_DELAY.total_seconds()))
    has_tries = not poll_is_late(draft, step, delay) if asked.polls else step.failures < policy.max_attempts
    may_retry = verdict.is_again and has_tries and draft.may_run_again(step, clean=verdict.is_clean)
    if may_retry and not draft.undo_is_late(step, delay):
        waiting = draft.put_back(step, not_before=draft.now + delay)
        if delay <= LONGEST_COUNTDOWN:
            draft.dispatch(waiting, countdown=delay)
        return
    if asked.polls:
        draft.note(HistoryEvent.ATTEMPT_FAILED, step, **failure)
    draft.close(step, ExecutionStatus.FAILED)


def failure_of(error: ErrorInfo, attempt: int, verdict: Verdict) -> dict[str, Any]:
    """Return what the history keeps of a failed attempt; ``clean`` also shows by which rule it was judged."""
    return {**error.to_json(), "attempt": attempt, "verdict": verdict.value, "clean": verdict.is_clean}


def poll_is_late(draft: Executions[Any], step: StepState, delay: timedelta) -> bool:
    """Return whether a poll would come after the step's limit, which counts from its first poll."""
    within = draft.plan_step(step).poll_for
    is_late = draft.now + delay >= (step.polled_since or draft.now) + timedelta(seconds=within)
    if is_late:
        draft.note(HistoryEvent.POLL_LIMIT_PASSED, step, seconds=within, polls=step.polls)
    return is_late
