"""Conditions of steps: functions of the data, known by name, so that a stored plan stays data."""

from collections.abc import Callable, Mapping
from typing import Any

from sagas.engine.fitness import is_async, refuse_unawaited
from sagas.errors import BindingError, DefinitionError
from sagas.model import PlanStep

Predicate = Callable[[Mapping[str, Any]], bool]

_known: dict[str, Predicate] = {}


def condition(function: Predicate) -> Predicate:
    """Register a condition for ``Step(when=…)``, under the name of its module and its own::

        @condition
        def is_abroad(data: Mapping[str, Any]) -> bool:
            return data["country"] != "NL"

        Step(clear_customs, compensation=None, when=is_abroad)

    It is called in the worker once the step's turn has come, with the data as the step would see it. Plans in flight
    know it by its name: keep the name for as long as they live.

    Raises:
        DefinitionError: another function already has this name, or it is ``async def``.
    """
    name = name_of(function)
    if is_async(function):
        raise DefinitionError(
            f"the condition {name!r} is `async def`: it would answer with a coroutine, which is always true"
        )
    before = _known.get(name)
    if before is not None and before.__code__ is not function.__code__ and before.__module__ != "__main__":
        raise DefinitionError(f"there are two conditions {name!r}: plans know them by name, so rename one of them")
    _known[name] = function
    return function


def name_of(function: Predicate) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def condition_name(function: Any) -> str | None:
    """Return the name of a function in plans; None: it is not registered."""
    name = name_of(function) if hasattr(function, "__qualname__") else ""
    return name if _known.get(name) is function else None


def condition_named(name: str) -> Predicate:
    """Return the condition with that name.

    Raises:
        BindingError: this process does not know it.
    """
    try:
        return _known[name]
    except KeyError:
        raise BindingError(
            f"the condition {name!r} is not registered in this worker: import its module, and keep its @condition for "
            "as long as plans that name it are in flight"
        ) from None


def is_wanted(step: PlanStep, data: Mapping[str, Any]) -> bool:
    """Return whether the condition of a step holds.

    Raises:
        BindingError: this worker does not know the condition; a deploy has to cure it.
    """
    if step.when is not None:
        return bool(data.get(step.when))
    if step.predicate is None:
        return True
    answer = condition_named(step.predicate)(dict(data))
    refuse_unawaited(answer, f"the answer of the condition {step.predicate!r}")
    return bool(answer)
