"""The types of an event's fields, and their text in the catalogue."""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any
from uuid import UUID

#: Types whose values come back as they were.
PLAIN: tuple[type, ...] = (str, bool, int, float, Decimal, UUID, datetime, date, time, timedelta)
LISTS: tuple[Any, ...] = (list, Sequence, MutableSequence)
DICTS: tuple[Any, ...] = (dict, Mapping, MutableMapping)
UNIONS: tuple[Any, ...] = (typing.Union, types.UnionType)
#: Types that say nothing about their values.
ANYTHING: tuple[Any, ...] = (Any, object)


class Unsupported(Exception):
    """A field's type has values that cannot be stored and come back."""


# -- describing


def described(annotation: Any, within: tuple[type, ...] = ()) -> str:
    """Return a type as text: equal for equal types, and different if the types inside them differ.

    Raises:
        Unsupported: its values cannot be stored and come back.
    """
    annotation = bare(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in ANYTHING:
        return "Any"
    if annotation in (None, type(None)):
        return "None"
    if origin in UNIONS:
        return " | ".join(described(one, within) for one in arguments)
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    kind = origin or annotation
    if kind in LISTS:
        return f"list[{', '.join(described(one, within) for one in arguments)}]" if arguments else "list"
    if kind is tuple:
        inner = ", ".join("..." if one is ... else described(one, within) for one in arguments)
        return f"tuple[{inner}]" if arguments else "tuple"
    if kind in DICTS:
        if arguments and not _is_text(arguments[0]):
            raise Unsupported(f"{named(annotation)} has keys that are not text")
        return f"dict[{', '.join(described(one, within) for one in arguments)}]" if arguments else "dict"
    if kind in PLAIN:
        return str(kind.__name__)
    if origin is not None and not (isinstance(origin, type) and is_record(origin)):
        raise Unsupported(f"{named(annotation)} cannot be stored and come back")
    return _described_class(kind, within)


def _described_class(kind: Any, within: tuple[type, ...]) -> str:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"{kind.__name__}({', '.join(repr(member.value) for member in kind)})"
    if not isinstance(kind, type) or not is_record(kind):
        raise Unsupported(f"{named(kind)} cannot be stored and come back")
    if kind in within:
        return kind.__name__
    inside = (*within, kind)
    listed = (
        f"{field.name}{'' if field.required else '?'}: {described(field.annotation, inside)}"
        for field in fields_of(kind)
    )
    return f"{kind.__name__}{{{', '.join(listed)}}}"


def _is_text(annotation: Any) -> bool:
    kind = bare(annotation)
    if typing.get_origin(kind) is typing.Literal:
        return all(isinstance(one, str) for one in typing.get_args(kind))
    return kind in ANYTHING or (isinstance(kind, type) and issubclass(kind, str))


def bare(annotation: Any) -> Any:
    """Return a type without its annotations; for a NewType, the type that it is made of."""
    while True:
        if typing.get_origin(annotation) in (typing.Annotated, typing.Required, typing.NotRequired):
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        else:
            return annotation


def named(annotation: Any) -> str:
    plain = isinstance(annotation, type) and typing.get_origin(annotation) is None
    return annotation.__qualname__ if plain else str(annotation).replace("typing.", "")


# -- records


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One field of a record: its name, its type, and whether a value must be given."""

    name: str
    annotation: Any
    required: bool = True


def is_pydantic(kind: type) -> bool:
    return hasattr(kind, "__pydantic_core_schema__") and callable(getattr(kind, "model_validate", None))


def is_msgspec(kind: type) -> bool:
    return isinstance(getattr(kind, "__struct_fields__", None), tuple)


def is_record(kind: type) -> bool:
    """Return whether a class has named fields and can be made from them."""
    is_named = issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple)
    return bool(
        dataclasses.is_dataclass(kind) or is_named or typing.is_typeddict(kind) or is_pydantic(kind) or is_msgspec(kind)
    )


@lru_cache(maxsize=1024)
def fields_of(kind: Any) -> tuple[Field, ...]:
    """Return the fields of a record's class, in their order. Raises NameError for a type that is not defined."""
    return tuple(_fields(kind))


def _fields(kind: Any) -> Iterator[Field]:
    if is_pydantic(kind):
        for name, described_ in kind.model_fields.items():
            if not described_.exclude:
                yield Field(name=name, annotation=described_.annotation, required=described_.is_required())
        return
    hints = typing.get_type_hints(kind, include_extras=True)
    if dataclasses.is_dataclass(kind):
        for field in dataclasses.fields(kind):
            if field.init:
                needs = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
                yield Field(name=field.name, annotation=hints[field.name], required=needs)
    elif is_msgspec(kind):
        names, optional = kind.__struct_fields__, len(kind.__struct_defaults__)
        # A keyword-only field without a default has NODEFAULT in its place.
        defaults = dict(zip(names[len(names) - optional :], kind.__struct_defaults__, strict=True))
        for name in names:
            given = defaults.get(name)
            needs = name not in defaults or type(given).__name__ == "NoDefault" or repr(given) == "NODEFAULT"
            yield Field(name=name, annotation=hints[name], required=needs)
    elif typing.is_typeddict(kind):
        for name, hint in hints.items():
            yield Field(name=name, annotation=hint, required=name in kind.__required_keys__)
    else:
        for name in kind._fields:
            yield Field(name=name, annotation=hints.get(name, Any), required=name not in kind._field_defaults)
