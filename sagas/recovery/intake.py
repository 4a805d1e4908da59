"""The intake of a worker: a message whose shape would end the whole worker is refused, as Celery refuses others.

Celery trusts the messages in its queues: valid JSON of another shape (``[1]``, ``{}``, ``null``), a task name that is a
list, or a missing id raise in the consumer, the worker exits, the message goes back to the broker and meets the next
worker (celery#7975).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from celery.bootsteps import StartStopStep
from celery.exceptions import InvalidTaskError
from kombu.exceptions import ContentDisallowed, DecodeError


class Intake(StartStopStep):
    """A step that checks messages before Celery's own handler, also after a reconnect."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    #: A function that handles another application's message; it returns False for any other message.
    turn_away: ClassVar[Any]

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        make_handler = consumer.create_task_handler

        def create_task_handler(*args: Any, **more: Any) -> Any:
            handle = make_handler(*args, **more)

            def on_task_received(message: Any) -> Any:
                problem = problem_of(message)
                if problem is None:
                    return None if self.turn_away(message) else handle(message)
                return consumer.on_invalid_task(None, message, InvalidTaskError(problem))

            return on_task_received

        consumer.create_task_handler = create_task_handler


def problem_of(message: Any) -> str | None:
    """Return what is wrong with the shape of a message; None if Celery can handle it, if only to refuse it."""
    headers = message.headers
    is_of_protocol_2 = isinstance(headers, Mapping) and "task" in headers
    problem = problem_of_headers(headers) if is_of_protocol_2 else None
    if problem is not None:
        return problem
    try:
        payload = message.payload
    except (DecodeError, ContentDisallowed):
        return None
    except Exception as error:  # a content type or encoding that is not text
        return f"its body cannot be decoded: {type(error).__qualname__}"
    # Celery speaks two protocols, and a mixture of both.
    if isinstance(payload, Mapping) and (is_of_protocol_2 or "task" in payload):
        defaults: dict[str, Any] = {} if is_of_protocol_2 else {"args": (), "kwargs": {}}
        return problem_of_headers({**payload, **(headers or {})}) or problem_of_body({**defaults, **payload})
    return problem_of_body(payload) if is_of_protocol_2 else None


def problem_of_headers(headers: Mapping[str, Any]) -> str | None:
    for name in ("task", "id"):
        if not isinstance(headers.get(name), str):
            return f"its {name} is not text"
    for name in ("shadow", "root_id", "parent_id", "eta", "expires"):
        if not isinstance(headers.get(name), str | None):
            return f"its {name} is not text"
    for name in ("eta", "expires"):
        if headers.get(name) == "":
            return f"its {name} is empty"
    limits = headers.get("timelimit") or (None, None)
    if not isinstance(limits, list | tuple) or len(limits) != 2 or not all(map(is_limit, limits)):
        return "its timelimit is not two numbers of seconds"
    if not isinstance(headers.get("retries"), int | None):
        return "its retries is not a number"
    stamped = headers.get("stamped_headers") or []
    if not isinstance(stamped, list | tuple) or not all(isinstance(name, str) for name in stamped):
        return "its stamped_headers is not a list of names"
    if not isinstance(headers.get("stamps"), Mapping | None):
        return "its stamps is not a mapping"
    return None


def is_limit(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9)


def problem_of_body(payload: Any) -> str | None:
    args: Any
    kwargs: Any
    options: Any
    if isinstance(payload, Mapping) and "args" in payload:
        args, kwargs, options = payload["args"], payload.get("kwargs"), payload
    elif isinstance(payload, list | tuple) and len(payload) == 3:
        args, kwargs, options = payload
    else:
        return "its body is not [args, kwargs, options]"
    if not isinstance(args, list | tuple):
        return "its args is not a list"
    if not isinstance(kwargs, Mapping):
        return "its kwargs is not a mapping"
    if not isinstance(options, Mapping | None):
        return "its options is not a mapping"
    for name in ("callbacks", "errbacks", "chain"):
        linked = (options or {}).get(name)
        if linked is not None and not (isinstance(linked, list) and all(isinstance(each, Mapping) for each in linked)):
            return f"its {name} is not a list of tasks"
    if not isinstance((options or {}).get("chord"), Mapping | None):
        return "its chord is not a task"
    return None
