"""`self.retry` and `self.replace` in a step: the saga answers, and nothing is published before it has."""

import inspect
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Task
from celery.exceptions import Retry

from sagas.errors import NotInAStep
from sagas.model import Asked

#: Distinct from None, which in a call of ``self.retry`` asks for unlimited retries.
UNSAID: Any = object()


class RetryAsked(Retry):
    """Raised by ``self.retry`` in a step.

    ``wait`` is the seconds that it asked for; None leaves them to the step's policy. ``polls`` says that it asks to be
    tried again for as long as it takes.
    """

    def __init__(self, exc: Any, *, wait: float | None, polls: bool) -> None:
        is_error = isinstance(exc, BaseException)
        super().__init__(None if is_error else str(exc or "the step asked to be tried again"), when=wait)
        self.exc = exc if is_error else None  # as it is: nothing is pickled here
        self.wait = wait
        self.polls = polls


def asked_by(error: BaseException) -> Asked | None:
    """Return what a body asked for; None: nothing."""
    return Asked(wait=error.wait, polls=error.polls) if isinstance(error, RetryAsked) else None


def retry_asked(
    task: Task,
    request: Any,
    arguments: Mapping[str, Any],
    *,
    args: Any,
    kwargs: Any,
    exc: Any,
    throw: bool,
    eta: Any,
    countdown: Any,
    max_retries: Any,
    options: Mapping[str, Any],
) -> RetryAsked:
    """Return the answer to ``self.retry(…)``.

    Raises:
        NotInAStep: it asks for something a saga cannot do.
    """
    if not throw:
        raise NotInAStep(
            f"task {task.name}: self.retry(throw=False) would go on after asking; in a saga's step let it raise"
        )
    for name, value in changed(task, request, arguments, args, kwargs).items():
        raise NotInAStep(
            f"task {task.name}: self.retry changes {name!r} to {value!r:.80}; a saga's step is tried again with the "
            "same arguments. Keep a counter in self.request.retries, and anything else in your own database"
        )
    own_queue = (request.delivery_info or {}).get("routing_key")
    for name, value in options.items():
        if name == "queue" and value == own_queue:
            continue
        raise NotInAStep(
            f"task {task.name}: self.retry({name}={value!r:.80}) is not possible in a saga's step, which sets such "
            "things: Step(queue=…, timeout=…), Saga(priority=…)"
        )
    cause = sys.exc_info()[1] if exc is None else exc
    limit = task.max_retries if max_retries is UNSAID else max_retries
    return RetryAsked(cause, wait=seconds_until(task, eta, countdown), polls=limit is None)


def changed(task: Task, request: Any, arguments: Mapping[str, Any], args: Any, kwargs: Any) -> dict[str, Any]:
    """Return the parameters whose values would change."""
    if kwargs is not None and kwargs == request.kwargs:
        kwargs = None  # passed on unchanged
    if args is not None and list(args) == list(request.args or ()):
        args = None
    try:
        new_arguments = inspect.signature(task.run).bind_partial(*(args or ()), **(kwargs or {})).arguments
    except TypeError as error:
        raise NotInAStep(f"task {task.name}: self.retry has arguments that do not fit: {error}") from None
    return {name: value for name, value in new_arguments.items() if name not in arguments or arguments[name] != value}


def seconds_until(task: Task, eta: Any, countdown: Any) -> float | None:
    """Return how long to wait, as asked; None: the step's policy decides, since the task does not say."""
    if isinstance(eta, datetime):
        moment = eta if eta.tzinfo else eta.replace(tzinfo=UTC if task.app.conf.enable_utc else task.app.timezone)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    if countdown is None and task.default_retry_delay != Task.default_retry_delay:
        countdown = task.default_retry_delay
    if isinstance(countdown, timedelta):
        countdown = countdown.total_seconds()
    if countdown is None:
        return None
    try:
        return max(0.0, float(countdown))
    except (TypeError, ValueError):
        raise NotInAStep(f"task {task.name}: self.retry(countdown={countdown!r:.80}) is not seconds") from None


def refuse_replace(task: Task, how: str) -> None:
    """Raise before anything else happens."""
    raise NotInAStep(
        f"task {task.name}: {how} hands a saga's step over to a message that the saga does not know. Make what follows "
        "a step of its own (with when=… if it is not always wanted), start another saga by Child(…), or call the "
        "function itself"
    )
