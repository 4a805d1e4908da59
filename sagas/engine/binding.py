"""Fill a task's parameters from the saga's data, by name."""

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sagas.errors import BindingError
from sagas.model import Inputs

#: A parameter of this name may get the whole mapping; see `takes_whole`.
WHOLE = "data"


@lru_cache(maxsize=4096)
def parameters(function: Callable[..., Any], skipped: int = 0) -> tuple[inspect.Parameter, ...]:
    """Return the parameters that a saga can fill. Raises TypeError or ValueError if there is no signature.

    Args:
        skipped: how many leading parameters Celery fills: 1 if the function takes the task itself.
    """
    found = list(inspect.signature(function).parameters.values())
    if found and found[0].kind is not inspect.Parameter.VAR_POSITIONAL:
        found = found[skipped:]
    return tuple(parameter for parameter in found if parameter.kind is not inspect.Parameter.VAR_POSITIONAL)


@lru_cache(maxsize=4096)
def takes_whole(function: Callable[..., Any], fillable: tuple[inspect.Parameter, ...]) -> bool:
    """Return whether a parameter named ``data`` gets the whole mapping if the data has no such name.

    It does if it is the only one without a default, or is annotated as a mapping. Beside other required parameters it
    is a name like theirs: a value that was forgotten must not be replaced by another.
    """
    others = [parameter for parameter in fillable if parameter.name != WHOLE and _must_be_filled(parameter)]
    return not others or _is_mapping(_annotations(function).get(WHOLE))


def required(function: Callable[..., Any], skipped: int = 0) -> frozenset[str]:
    """Return the names of the parameters that must be provided."""
    fillable = parameters(function, skipped)
    names = frozenset(parameter.name for parameter in fillable if _must_be_filled(parameter))
    return names - {WHOLE} if WHOLE in names and takes_whole(function, fillable) else names


def bind(
    function: Callable[..., Any],
    data: Mapping[str, Any],
    own_result: Any,
    who: str,
    inputs: Inputs = (),
    inherited: bool = False,
) -> dict[str, Any]:
    """Return keyword arguments for ``function`` from ``inputs``, the action's result (for a compensation), the data.

    Args:
        inputs: sources of parameters that are not filled by their own names.
        inherited: whether they are the action's: a compensation inherits them, but need not have all its parameters.

    Raises:
        BindingError: a required parameter is missing; the message names it, and what there is.
    """
    whole = {**data, **own_result} if isinstance(own_result, Mapping) else dict(data)
    sources = dict(inputs)
    given = dict(_filled(inputs, {**whole, **data} if inherited else whole))
    bound: dict[str, Any] = {}
    fillable = parameters(function)
    for parameter in fillable:
        name = parameter.name
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise BindingError(f"{who}: parameter {name!r} is positional-only; sagas fill parameters by name")
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            rest = {other: value for other, value in whole.items() if other not in sources}
            bound = {**rest, **given, **bound}
        elif name in given:
            bound[name] = given[name]
        elif name in whole and name not in sources:
            bound[name] = whole[name]
        elif name == WHOLE and name not in sources and takes_whole(function, fillable):
            bound[WHOLE] = whole
        elif parameter.default is inspect.Parameter.empty:
            available = ", ".join(sorted(whole)) or "nothing"
            missing = f"{sources[name].name!r} for its parameter {name!r}" if name in sources else repr(name)
            lacking = BindingError(
                f"{who} requires {missing}, and the saga's data has only {available}: give it a default, "
                "or let the input or an earlier step provide it"
            )
            lacking.lacks_value = True
            raise lacking
    unknown = given.keys() - {parameter.name for parameter in fillable} - bound.keys()
    if unknown and not inherited:
        raise BindingError(
            f"{who} has no parameter {min(unknown)!r}, which inputs= fills: keep the name for as long as plans with it "
            "are in flight"
        )
    return bound


def _filled(inputs: Inputs, data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the parameters whose sources exist, with their values."""
    for parameter, source in inputs:
        if source.const is not None:
            yield parameter, source.value
        elif source.name is not None and source.name in data:
            yield parameter, data[source.name]


def _must_be_filled(parameter: inspect.Parameter) -> bool:
    return parameter.default is inspect.Parameter.empty and parameter.kind is not inspect.Parameter.VAR_KEYWORD


def _annotations(function: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # annotations that cannot be resolved say nothing
        return {}


def _is_mapping(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        members: Sequence[Any] = typing.get_args(annotation)
        return any(_is_mapping(member) for member in members)
    kind = origin or annotation
    return typing.is_typeddict(kind) or (isinstance(kind, type) and issubclass(kind, Mapping))
