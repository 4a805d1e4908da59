"""Remove an instance's secret values from everything that is stored, logged and announced about it."""

import traceback
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from celery.exceptions import Ignore, Reject, Retry

from sagas.errors import SagaError
from sagas.model import Decision, ErrorInfo, InstanceState, Secrecy
from sagas.model.secrecy import Redact


def writes_text(before: InstanceState, decision: Decision) -> bool:
    """Return whether a decision stores or announces free text."""
    known = {step.address: step.error for step in before.steps}
    return bool(
        decision.notes
        or decision.state.error != before.error
        or decision.state.stop != before.stop
        or any(step.error != known.get(step.address) for step in decision.state.steps)
    )


def redacted(decision: Decision, redact: Redact) -> Decision:
    """Return the decision with the secrets removed from its errors, its reasons and its entries for the history."""
    state = decision.state
    steps = tuple(replace(step, error=redacted_error(step.error, redact)) for step in state.steps)
    stop = replace(state.stop, reason=redact(state.stop.reason)) if state.stop else None
    return replace(
        decision,
        state=replace(state, steps=steps, stop=stop, error=redacted_error(state.error, redact)),
        notes=tuple(replace(note, detail=redacted_value(note.detail, redact)) for note in decision.notes),
    )


def redacted_error(error: ErrorInfo | None, redact: Redact) -> ErrorInfo | None:
    """Return an error without the secrets in its texts."""
    if error is None:
        return None
    return replace(error, message=redact(error.message), traceback=redact(error.traceback))


def redacted_value(value: Any, redact: Redact) -> Any:
    """Return data without the secrets in its texts."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {name: redacted_value(item, redact) for name, item in value.items()}
    if isinstance(value, list):
        return [redacted_value(item, redact) for item in value]
    return value


def shown_result(value: Any, secrecy: Secrecy, redact: Redact) -> Any:
    """Return what Celery may log of a result, and Flower show: the result itself is kept elsewhere."""
    if not secrecy.is_wanted:
        return value
    hidden = secrecy.hide(value)
    try:
        text = repr(hidden)
    except Exception:  # a user's own class; an undo may return a value that cannot be stored
        return None
    shown = redact(text)
    return hidden if shown == text else shown


def shown_error(error: BaseException, redact: Redact) -> BaseException:
    """Return the exception itself, or one without the secrets if it, its traceback or its causes contain any."""
    if redact is str:  # nothing is secret
        return error
    text = "".join(traceback.format_exception(error))
    if redact(text) == text:
        return error
    shown = SagaError(redact(f"{type(error).__qualname__}: {error}")) if isinstance(error, Exception) else SystemExit(1)
    # It is raised while the original is handled, and Python would show both.
    shown.__suppress_context__ = True
    return shown


def for_celery(error: BaseException) -> Exception:
    """Return what Celery gets to see. A MemoryError would end the whole worker, others its process."""
    if isinstance(error, MemoryError) or not isinstance(error, Exception):
        return SagaError(f"{type(error).__name__}: {error}")
    if isinstance(error, Ignore | Reject | Retry):
        return SagaError(f"{type(error).__name__} is not an answer that a saga step can give: {error}")
    return error
