"""Filling a task's parameters from the saga's data, by name."""

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from sagas.errors import BindingError

#: A parameter of this name gets the whole mapping.
WHOLE = "data"


@lru_cache(maxsize=4096)
def parameters(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    """The parameters that a saga can fill. Raises TypeError or ValueError when there is no signature."""
    found = inspect.signature(function).parameters.values()
    return tuple(parameter for parameter in found if parameter.kind is not inspect.Parameter.VAR_POSITIONAL)


def required(function: Callable[..., Any]) -> frozenset[str]:
    """Names of the parameters that something must provide."""
    return frozenset(
        parameter.name
        for parameter in parameters(function)
        if parameter.default is inspect.Parameter.empty
        and parameter.kind is not inspect.Parameter.VAR_KEYWORD
        and parameter.name != WHOLE
    )


def bind(function: Callable[..., Any], data: Mapping[str, Any], own_result: Any, who: str) -> dict[str, Any]:
    """Keyword arguments for ``function``: the action's own result first (for a compensation), then the data.

    Raises:
        BindingError: a required parameter is in neither; names it, and what there is.
    """
    whole = {**data, **own_result} if isinstance(own_result, Mapping) else dict(data)
    bound: dict[str, Any] = {}
    for parameter in parameters(function):
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise BindingError(f"{who}: parameter {parameter.name!r} is positional-only; sagas fill parameters by name")
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            bound = {**whole, **bound}
        elif parameter.name == WHOLE and WHOLE not in whole:
            bound[WHOLE] = whole
        elif parameter.name in whole:
            bound[parameter.name] = whole[parameter.name]
        elif parameter.default is inspect.Parameter.empty:
            there = ", ".join(sorted(whole)) or "nothing"
            raise BindingError(
                f"{who} requires {parameter.name!r}, and the saga's data has only {there}: give it a default, "
                "or let the input or an earlier step provide it"
            )
    return bound
