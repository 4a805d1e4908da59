"""Which functions a saga can call: checked when it is defined, or on the app's own task at start."""

import inspect
from collections.abc import Callable
from typing import Any

from sagas.engine.task_face import TaskFace
from sagas.errors import DefinitionError, PayloadError


def refuse_unfit(face: TaskFace, who: str) -> None:
    """Refuse a task whose body would never run, or whose parameters cannot be filled by name.

    Raises:
        DefinitionError: the message names the task and the cure.
    """
    function = face.function
    if function is None:
        return
    name = getattr(function, "__qualname__", repr(function))
    if is_async(function):
        raise DefinitionError(
            f"{who}: {name} is `async def`, and Celery would only make a coroutine of it that never runs: make the "
            "task an ordinary `def`, and run the coroutine inside it, with asyncio.run(…)"
        )
    if inspect.isgeneratorfunction(function):
        raise DefinitionError(
            f"{who}: {name} is a generator, and calling it runs none of its body: take the `yield` out, and return "
            "what it yields"
        )
    try:
        fillable = face.parameters
    except (TypeError, ValueError):
        raise DefinitionError(
            f"{who}: {name} does not show its parameters, which sagas fill by name: wrap it in a function"
        ) from None
    for parameter in fillable:
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise DefinitionError(
                f"{who}: the parameter {parameter.name!r} of {name} is positional-only, and sagas fill parameters by "
                "name: take the `/` out of its signature"
            )


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether calling it makes a coroutine or an asynchronous generator, and runs nothing."""
    called = type(function).__call__  # for an object that is called like a function
    return any(inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in (function, called))


def refuse_unawaited(value: Any, what: str) -> None:
    """Refuse a coroutine or generator that a function returned; it is closed, since nothing will run it.

    Raises:
        PayloadError: it is a coroutine, another awaitable, or a generator.
    """
    if not (inspect.isawaitable(value) or inspect.isasyncgen(value) or inspect.isgenerator(value)):
        return
    for verb in ("close", "cancel"):
        end = getattr(value, verb, None)
        if callable(end):
            end()
            break
    raise PayloadError(
        f"{what} is a {type(value).__qualname__}, which nothing runs: `await` it or run it inside the function, with "
        "asyncio.run(…), and return its result"
    )
