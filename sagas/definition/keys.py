"""Which names a declared input or a task's return annotation promises."""

import dataclasses
import typing
from typing import Any

from sagas.errors import DefinitionError


def declared_return(function: Any) -> frozenset[str] | None:
    """The keys that a task says it returns; None when it does not say."""
    if function is None:
        return None
    try:
        returned = typing.get_type_hints(function).get("return", None)
    except Exception:  # annotations that cannot be resolved declare nothing
        return None
    if returned is type(None):
        return frozenset()
    return declared_keys(returned)


def declared_keys(declared: Any) -> frozenset[str] | None:
    """Names from a TypedDict, a dataclass or an iterable of names; None when nothing is declared."""
    if typing.is_typeddict(declared):
        return frozenset(declared.__annotations__)
    if isinstance(declared, type) and dataclasses.is_dataclass(declared):
        return frozenset(field.name for field in dataclasses.fields(declared))
    if isinstance(declared, list | tuple | set | frozenset):
        names = frozenset(declared)
        if all(isinstance(name, str) for name in names):
            return names
        raise DefinitionError(f"input={declared!r}: pass names, a TypedDict or a dataclass")
    return None
