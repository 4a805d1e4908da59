"""Recognise values with named fields, which are stored as mappings; nothing is imported for that.

These are dataclasses, NamedTuples, attrs classes, pydantic models (version 2, which dump themselves) and msgspec
Structs. They come back as dicts.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol


class Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


class NamedFields(Protocol):
    def _asdict(self) -> dict[str, Any]: ...


class Attrs(Protocol):
    __attrs_attrs__: ClassVar[Any]


class PydanticModel(Protocol):
    def model_dump(self) -> Any: ...


class MsgspecStruct(Protocol):
    __struct_fields__: ClassVar[tuple[str, ...]]


#: The types that a saga may be started with.
Data = Mapping[str, Any] | Dataclass | NamedFields | Attrs | PydanticModel | MsgspecStruct


def unfolded(value: Any) -> Any:
    """Return a record as a mapping of its fields, with their values unchanged; return any other value as it is.

    A pydantic model may raise anything, and may dump itself as something other than a mapping.
    """
    kind = type(value)
    if _is_pydantic(kind):
        return value.model_dump()
    names = _attributes(kind)
    if names is None:
        return value
    return {name: getattr(value, name) for name in names if _is_set(value, name)}


def names_of(kind: type) -> frozenset[str] | None:
    """Return the field names of a class of records; None if the class has none or does not say."""
    if _is_pydantic(kind):
        if getattr(kind, "__pydantic_root_model__", False):
            return None
        fields: Mapping[str, Any] = kind.model_fields  # type: ignore[attr-defined]
        computed: Mapping[str, Any] = getattr(kind, "model_computed_fields", {})
        return frozenset(name for name, field in fields.items() if not field.exclude) | frozenset(computed)
    names = _attributes(kind)
    return None if names is None else frozenset(names)


def _is_pydantic(kind: type) -> bool:
    return hasattr(kind, "__pydantic_core_schema__") and callable(getattr(kind, "model_dump", None))


def _attributes(kind: type) -> tuple[str, ...] | None:
    if issubclass(kind, tuple):
        names = getattr(kind, "_fields", None)
        return names if isinstance(names, tuple) else None
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    structured = getattr(kind, "__struct_fields__", None)
    if isinstance(structured, tuple):
        return structured
    described = getattr(kind, "__attrs_attrs__", None)
    return tuple(attribute.name for attribute in described) if isinstance(described, tuple) else None


def _is_set(value: Any, name: str) -> bool:
    """Return whether a field has a value: one left out of ``__init__`` may have none; msgspec's UNSET is not one."""
    if not hasattr(value, name):
        return False
    kind = type(getattr(value, name))
    return (kind.__module__, kind.__qualname__) != ("msgspec", "UnsetType")
