"""Make records from stored data: every field of the type that its class asks for.

Stored data has what `payload` gives back: Decimal, UUID and times as they were; enums as their values, tuples as lists
and records as dicts. A value is never made to fit: text that looks like a number stays text, and is refused. Models of
pydantic and msgspec judge their fields by their own rules.
"""

import re
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from inspect import signature
from typing import Any

from sagas.choreography.annotations import (
    ANYTHING,
    DICTS,
    LISTS,
    PLAIN,
    UNIONS,
    Unsupported,
    bare,
    described,
    fields_of,
    is_msgspec,
    is_pydantic,
    named,
)
from sagas.model.payload import excerpt


class Misfit(Exception):
    """Stored data does not have the type that a field asks for; the texts name the places, never the values."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def fitted(value: Any, annotation: Any, path: str) -> Any:
    """Return stored data as a value of a type. Raises Misfit."""
    annotation = bare(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in ANYTHING:
        return value
    if origin in UNIONS:
        return _fitted_one(value, arguments, path, annotation)
    if origin is typing.Literal:
        if any(type(one) is type(value) and one == value for one in arguments):
            return value
        raise _misfit(path, annotation, value)
    kind: Any = type(None) if annotation is None else origin or annotation
    if kind in LISTS or kind is tuple:
        return _fitted_list(value, kind, arguments, path)
    if kind in DICTS:
        return _fitted_dict(value, arguments, path, annotation)
    if kind is float and type(value) is int:
        return float(value)
    if kind in PLAIN or kind is type(None):
        # A bool is an int to Python, and a datetime a date.
        if type(value) is kind:
            return value
        raise _misfit(path, annotation, value)
    if issubclass(kind, Enum):
        for member in kind:
            if type(member.value) is type(value) and member.value == value:
                return member
        raise _misfit(path, annotation, value)
    if not isinstance(value, Mapping):
        raise _misfit(path, annotation, value)
    return built(kind, value, path)


def _fitted_one(value: Any, members: Sequence[Any], path: str, annotation: Any) -> Any:
    inside = None
    for member in members:
        try:
            return fitted(value, member, path)
        except Misfit as misfit:
            # For a record or a list the problem inside says more than the name of the union.
            inside = misfit if any(not problem.startswith(f"{path} is ") for problem in misfit.problems) else inside
    raise inside or _misfit(path, annotation, value)


def _fitted_list(value: Any, kind: Any, arguments: Sequence[Any], path: str) -> Any:
    if not isinstance(value, list | tuple):
        raise Misfit(f"{path} is {_type_of(value)}, not a list")
    if kind is tuple and arguments and arguments[-1] is not ...:
        if len(arguments) != len(value):
            raise Misfit(f"{path} has {len(value)} items, not {len(arguments)}")
        inner: Sequence[Any] = arguments
    else:
        inner = [arguments[0] if arguments else Any] * len(value)
    items = [fitted(item, one, f"{path}[{place}]") for place, (item, one) in enumerate(zip(value, inner, strict=True))]
    return tuple(items) if kind is tuple else items


def _fitted_dict(value: Any, arguments: Sequence[Any], path: str, annotation: Any) -> Any:
    if not isinstance(value, Mapping):
        raise _misfit(path, annotation, value)
    keys, values = arguments or (Any, Any)
    return {
        fitted(key, keys, f"a key of {path}"): fitted(item, values, f"{path}[{excerpt(key)}]")
        for key, item in value.items()
    }


def built(kind: Any, given: Mapping[str, Any], path: str = "") -> Any:
    """Return a record made of stored fields. Raises Misfit with everything that is wrong, each by its field."""
    fields = fields_of(kind)
    names = {field.name for field in fields}
    prefix = f"{path}." if path else ""
    problems = [
        f"the field {prefix + field.name!r} is missing"
        for field in fields
        if field.required and field.name not in given
    ]
    unknown = sorted(given.keys() - names - _computed(kind)) if not _takes_any(kind) else []
    problems += [f"the field {(prefix + str(name))[:80]!r} is unknown" for name in unknown]
    if problems:
        raise Misfit(*problems)
    own = {name: given[name] for name in given if name in names or _takes_any(kind)}
    if is_pydantic(kind):
        return _validated(kind, own, prefix)
    if is_msgspec(kind):
        return _converted(kind, own, prefix)
    made = {}
    for field in fields:
        if field.name in own:
            try:
                made[field.name] = fitted(own[field.name], field.annotation, f"{prefix}{field.name}")
            except Misfit as misfit:
                problems += misfit.problems
    if problems:
        raise Misfit(*problems)
    return _made(kind, made, path)


def _made(kind: Any, fields: Mapping[str, Any], path: str) -> Any:
    try:
        return kind(**fields)
    except Exception as error:  # its own check, in __post_init__
        raise Misfit(f"{path or kind.__name__} refuses its fields: {type(error).__qualname__}: {error}") from error


def _computed(kind: Any) -> set[str]:
    """Return the fields that a record computes from the others: they are stored, and computed again."""
    if is_pydantic(kind):
        return set(getattr(kind, "model_computed_fields", ()))
    return {name for name, field in getattr(kind, "__dataclass_fields__", {}).items() if not field.init}


def _takes_any(kind: Any) -> bool:
    return is_pydantic(kind) and kind.model_config.get("extra") == "allow"


def _validated(kind: Any, fields: Mapping[str, Any], prefix: str) -> Any:
    # Aliases are for others: stored fields have their own names. Older releases of pydantic lack these arguments.
    by_name = {"by_alias": False, "by_name": True} if "by_name" in signature(kind.model_validate).parameters else {}
    try:
        return kind.model_validate(fields, **by_name)
    except Exception as error:
        listed = getattr(error, "errors", None)
        if not callable(listed):
            raise Misfit(f"{kind.__name__} refuses its fields: {type(error).__qualname__}: {error}") from error
        raise Misfit(
            *(f"{prefix}{'.'.join(map(str, one['loc'])) or kind.__name__}: {one['msg']}" for one in listed())
        ) from None


def _converted(kind: Any, fields: Mapping[str, Any], prefix: str) -> Any:
    import msgspec  # one of its classes is here, so it is installed

    encoded = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    try:
        return msgspec.convert({encoded[name]: value for name, value in fields.items()}, type=kind)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$.")
        own = {encoded_name: name for name, encoded_name in encoded.items()}
        first, *rest = re.split(r"(?=[.\[])", place.rstrip("`"), maxsplit=1)
        raise Misfit(f"{prefix}{own.get(first, first) or kind.__name__}{''.join(rest)}: {what}") from None
    except Exception as error:  # a type that msgspec does not know, or a check of the class itself
        raise Misfit(f"{kind.__name__} refuses its fields: {type(error).__qualname__}: {error}") from error


def _misfit(path: str, annotation: Any, value: Any) -> Misfit:
    try:
        expected = described(annotation)
    except Unsupported:
        expected = named(annotation)
    return Misfit(f"{path} is {_type_of(value)}, not {expected}")


def _type_of(value: Any) -> str:
    """Return the type of a value, as it is called in an annotation; the value may be a secret."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
