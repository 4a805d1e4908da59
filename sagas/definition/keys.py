"""The names that a declared input or a task's return annotation promises."""

import types
import typing
from dataclasses import dataclass
from typing import Any

from sagas.errors import DefinitionError
from sagas.model.records import names_of


@dataclass(frozen=True, slots=True)
class Promise:
    """The names that an annotation promises, and those of them that may be missing."""

    names: frozenset[str] = frozenset()
    perhaps: frozenset[str] = frozenset()


def declared_return(function: Any) -> Promise | None:
    """Return what a task declares that it returns; None if it does not say."""
    if function is None:
        return None
    try:
        returned = typing.get_type_hints(function).get("return", Any)
    except Exception:  # annotations that cannot be resolved declare nothing
        return None
    return promised(returned)


def promised(annotation: Any) -> Promise | None:
    """Return the names that a value of this type has; None if the type does not say."""
    if annotation in (None, type(None)):
        return Promise()
    kind = typing.get_origin(annotation) or annotation
    if kind in (typing.Union, types.UnionType):
        return _either([promised(member) for member in typing.get_args(annotation)])
    if typing.is_typeddict(kind):
        return Promise(frozenset(kind.__annotations__), _optional(kind))
    names = names_of(kind) if isinstance(kind, type) else None
    return None if names is None else Promise(names)


def declared_keys(declared: Any) -> frozenset[str] | None:
    """Return the names of a type with named fields (a TypedDict, a dataclass, a pydantic model, …) or of an iterable.

    Returns:
        None if nothing is declared.
    """
    if isinstance(declared, list | tuple | set | frozenset):
        names = frozenset(declared)
        if all(isinstance(name, str) for name in names):
            return names
        raise DefinitionError(
            f"input={declared!r}: pass names, a TypedDict or a dataclass, or another type with named fields"
        )
    promise = None if declared is None else promised(declared)
    return None if promise is None else promise.names


def _either(promises: list[Promise | None]) -> Promise | None:
    """Combine the members of a union: certain names are those of every member."""
    known = [promise for promise in promises if promise is not None]
    if len(known) < len(promises):
        return None
    names = frozenset().union(*(promise.names for promise in known))
    certain = names.intersection(*(promise.names - promise.perhaps for promise in known))
    return Promise(names, names - certain)


def _optional(kind: Any) -> frozenset[str]:
    """Return the keys of a TypedDict that may be left out, even if annotations are evaluated late."""
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    except Exception:
        hints = {}
    forms = {name: typing.get_origin(hint) for name, hint in hints.items()}
    left_out = {name for name, form in forms.items() if form is typing.NotRequired}
    required = {name for name, form in forms.items() if form is typing.Required}
    optional: frozenset[str] = kind.__optional_keys__
    return frozenset((optional | left_out) - required)
