"""Inspect a declared task without touching an app: this must not create Celery's default app at import."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from celery import Celery, Task, _state
from celery.local import PromiseProxy, Proxy

from sagas.engine.binding import parameters, required


@dataclass(frozen=True, slots=True)
class TaskFace:
    """The properties of a declared task. Those that only its app could tell are None."""

    function: Callable[..., Any] | None
    bound: bool  # the function's first parameter is the task itself, whatever its name
    name: str | None
    app: Celery | None
    options: dict[str, Any]
    is_class: bool = False  # a task class of the application's own: its function is the method `run`

    @property
    def short_name(self) -> str | None:
        """The function's name; for a task class, or a function without a name, the last part of the task's."""
        own = None if self.is_class else getattr(self.function, "__name__", None)
        return str(own) if own is not None else self.name and self.name.rpartition(".")[2]

    @property
    def parameters(self) -> tuple[inspect.Parameter, ...]:
        """The parameters that a saga has to fill. Raises TypeError or ValueError if the function has no signature."""
        return () if self.function is None else parameters(self.function, int(self.bound))

    @property
    def required(self) -> frozenset[str]:
        """The names of the parameters that must be provided."""
        return frozenset() if self.function is None else required(self.function, int(self.bound))


#: The faces of shared tasks' proxies, by the function that finds their tasks.
_shared: WeakKeyDictionary[Callable[..., Any], TaskFace] = WeakKeyDictionary()


def face_of(task: Any) -> TaskFace:
    """Inspect a task: a real one, the promise made by ``@app.task``, or the proxy made by ``@shared_task``.

    Raises:
        TypeError: it is none of these.
    """
    kind = type(task)  # isinstance() would ask the proxy's target, and so create it
    if kind is PromiseProxy and not task.__evaluated__():
        options = object.__getattribute__(task, "_Proxy__kwargs")
        (function,) = object.__getattribute__(task, "_Proxy__args")
        local = object.__getattribute__(task, "_Proxy__local")
        return TaskFace(
            function, bool(options.get("bind")), options.get("name"), getattr(local, "__self__", None), options
        )
    if kind is Proxy:
        local = object.__getattribute__(task, "_Proxy__local")
        if local not in _shared:
            _shared[local] = _look_at_shared(local)
        return _shared[local]
    real = task._get_current_object() if kind is PromiseProxy else task
    if not isinstance(real, Task):
        raise TypeError(f"{real!r} is not a Celery task")
    options = {"autoretry_for": real.autoretry_for} if getattr(real, "autoretry_for", None) else {}
    # Celery makes a class of every function, and keeps the function there. An unregistered class may have no name.
    is_class = getattr(type(real), "__wrapped__", None) is None
    name = real.name or type(real).__name__
    # If the function takes the task, its method is bound already.
    return TaskFace(real.run, False, name, real.app, options, is_class)


def _look_at_shared(local: Any) -> TaskFace:
    """Inspect a proxy, which shows the function and its name; what Celery keeps for future apps shows the options."""
    shown = _closure(local)
    function, name = shown.get("fun"), shown.get("name")
    kept = (_closure(registered) for registered in list(_state._on_app_finalizers))
    options = next((seen["options"] for seen in kept if _is_of(seen, function, name)), None)
    if options is None:  # an unknown version of Celery: a first parameter called self is what bind=True is for
        bound = function is not None and next(iter(inspect.signature(function).parameters), "") == "self"
        return TaskFace(function, bound, name, None, {"name": name})
    return TaskFace(function, bool(options.get("bind")), name, None, options)


def _is_of(seen: dict[str, Any], function: Any, name: str | None) -> bool:
    options = seen.get("options")
    return isinstance(options, dict) and seen.get("fun") is function and options.get("name") == name


def _closure(function: Any) -> dict[str, Any]:
    return dict(_cells(function))


def _cells(function: Any) -> Iterator[tuple[str, Any]]:
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=False):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not filled yet
            continue
