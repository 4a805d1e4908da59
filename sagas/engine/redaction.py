"""Taking an instance's secret values out of whatever is stored, logged and announced about it."""

import traceback
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from celery.exceptions import Ignore, Reject, Retry

from sagas.errors import SagaError
from sagas.model import Decision, ErrorInfo, InstanceState, Secrecy
from sagas.model.secrecy import Redact


def writes_text(before: InstanceState, decision: Decision) -> bool:
    """Whether a decision stores or announces anything that somebody has worded."""
    known = {step.address: step.error for step in before.steps}
    return bool(
        decision.notes
        or decision.state.error != before.error
        or decision.state.stop != before.stop
        or any(step.error != known.get(step.address) for step in decision.state.steps)
    )


def redacted(decision: Decision, redact: Redact) -> Decision:
    """The same with the secrets taken out of its errors, its reasons and its entries for the history."""
    state = decision.state
    steps = tuple(replace(step, error=redacted_error(step.error, redact)) for step in state.steps)
    stop = replace(state.stop, reason=redact(state.stop.reason)) if state.stop else None
    return replace(
        decision,
        state=replace(state, steps=steps, stop=stop, error=redacted_error(state.error, redact)),
        notes=tuple(replace(note, detail=redacted_value(note.detail, redact)) for note in decision.notes),
    )


def redacted_error(error: ErrorInfo | None, redact: Redact) -> ErrorInfo | None:
    """An error without the secrets that its texts tell."""
    if error is None:
        return None
    return replace(error, message=redact(error.message), traceback=redact(error.traceback))


def redacted_value(value: Any, redact: Redact) -> Any:
    """Data without the secrets that any text in it tells."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {name: redacted_value(item, redact) for name, item in value.items()}
    if isinstance(value, list):
        return [redacted_value(item, redact) for item in value]
    return value


def shown_result(value: Any, secrecy: Secrecy, redact: Redact) -> Any:
    """What Celery may log of a result, and Flower show: it is kept elsewhere, and nobody gets it from here."""
    if not secrecy.is_wanted:
        return value
    hidden = secrecy.hide(value)
    try:
        text = repr(hidden)
    except Exception:  # somebody's own class; an undo may return what cannot be kept
        return None
    told = redact(text)
    return hidden if told == text else told


def shown_error(error: BaseException, redact: Redact) -> BaseException:
    """The exception itself; one without the secrets if it, its traceback or its causes tell any."""
    text = "".join(traceback.format_exception(error))
    if redact(text) == text:
        return error
    told = SagaError(redact(f"{type(error).__qualname__}: {error}")) if isinstance(error, Exception) else SystemExit(1)
    # It is raised while the other one is handled, and Python would show both.
    told.__suppress_context__ = True
    return told


def for_celery(error: BaseException) -> Exception:
    """What Celery gets to see. A MemoryError would end the whole worker, others its process."""
    if isinstance(error, MemoryError) or not isinstance(error, Exception):
        return SagaError(f"{type(error).__name__}: {error}")
    if isinstance(error, Ignore | Reject | Retry):
        return SagaError(f"{type(error).__name__} is not an answer that a saga step can give: {error}")
    return error
