"""Looking at a declared task without touching an app: a look must not create Celery's default app at import."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery import Celery, Task
from celery.local import PromiseProxy, Proxy


@dataclass(frozen=True, slots=True)
class TaskFace:
    """What a declared task shows. Everything is None that only its app could tell."""

    function: Callable[..., Any] | None
    bound: bool  # the function's first parameter is the task itself
    name: str | None
    app: Celery | None
    options: dict[str, Any]


def look_at(task: Any) -> TaskFace:
    """Look at a task: a real one, ``@app.task``'s promise of one, or ``@shared_task``'s proxy.

    Raises:
        TypeError: it is none of these.
    """
    kind = type(task)  # isinstance() would ask the proxy's target, and so create it
    if kind is PromiseProxy and not task.__evaluated__():
        options = object.__getattribute__(task, "_Proxy__kwargs")
        (function,) = object.__getattribute__(task, "_Proxy__args")
        local = object.__getattribute__(task, "_Proxy__local")
        return _face(function, options, getattr(local, "__self__", None))
    if kind is Proxy:
        local = object.__getattribute__(task, "_Proxy__local")
        try:
            closure = inspect.getclosurevars(local).nonlocals
        except TypeError:
            closure = {}
        options = {"name": closure.get("name")}
        return _face(closure.get("fun"), options, None)
    real = task._get_current_object() if kind is PromiseProxy else task
    if not isinstance(real, Task):
        raise TypeError(f"{real!r} is no Celery task")
    options = {"autoretry_for": real.autoretry_for} if getattr(real, "autoretry_for", None) else {}
    return TaskFace(real.run, False, real.name, real.app, options)


def _face(function: Any, options: dict[str, Any], app: Celery | None) -> TaskFace:
    # A shared task does not show its options; a first parameter called self is what bind=True is for.
    bound = options.get(
        "bind", function is not None and next(iter(inspect.signature(function).parameters), "") == "self"
    )
    return TaskFace(function, bool(bound), options.get("name"), app, options)
