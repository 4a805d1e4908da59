"""`@event`: a type of event, its version and its fields; and how a value becomes a row and comes back."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar, dataclass_transform, overload

from sagas.choreography.annotations import Unsupported, described, fields_of, is_msgspec, is_pydantic
from sagas.choreography.fitting import Misfit, built
from sagas.choreography.upcasting import AnUpcaster, Upcasters, broken, qualified_name
from sagas.definition.part import NAME
from sagas.engine import EVENT_MARK
from sagas.errors import DefinitionError, PayloadError
from sagas.model import Secrecy, payload
from sagas.model.choreography import EventPlan, FieldPlan

AnEvent = TypeVar("AnEvent")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """An event as it is stored: its type, its version, and its fields as JSON."""

    type: str
    version: int
    text: str


class EventType:
    """A class as a type of event."""

    def __init__(self, kind: type, type_: str, version: int) -> None:
        self.kind = kind
        self.type = type_
        self.version = version
        self.upcasters = Upcasters(type_, version)

    def __repr__(self) -> str:
        return f"<event {self.type} v{self.version}>"

    @cached_property
    def plan(self) -> EventPlan:
        """The type as a plan stores it.

        Raises:
            DefinitionError: a field's type is not defined, or its values cannot be stored and come back.
        """
        try:
            fields = fields_of(self.kind)
        except (NameError, AttributeError, TypeError) as error:
            raise DefinitionError(
                f"event {self.type!r}: the types of its fields cannot be found: {error}. Import them where the "
                "class is defined, and not under TYPE_CHECKING"
            ) from error
        listed = []
        for field in fields:
            try:
                listed.append(FieldPlan(name=field.name, type=described(field.annotation), required=field.required))
            except Unsupported as error:
                raise DefinitionError(
                    f"event {self.type!r}: the field {field.name!r}: {error}. Use text, numbers, lists, dicts, "
                    "Decimal, UUID, dates and times, enums, or records of these"
                ) from error
        return EventPlan(type=self.type, version=self.version, fields=tuple(listed))

    def write(self, value: Any, secrecy: Secrecy) -> Written:
        """Return an event as it is stored.

        Raises:
            PayloadError: it is too large, cannot be stored, or a field is of another type than its class says.
        """
        what = f"event {self.type!r}"
        fields = payload.fields_of(value, what)
        text = secrecy.dumps(fields, what)
        clear = payload.dumps(fields, what) if secrecy.encrypts else text
        try:
            # Read it as its handlers will: so the publisher learns of a wrong field, and not each of them.
            built(self.kind, payload.loads(clear))
        except Misfit as misfit:
            raise PayloadError(f"{what} cannot be published: {misfit}") from misfit
        return Written(type=self.type, version=self.version, text=text)

    def read(self, version: int, fields: Any) -> Any:
        """Return an event made of stored fields, whose secrets are open, raised to this version if they are older.

        Raises:
            EventUnreadable: the version is newer than this, an upcaster is missing or fails, or a field does not fit.
        """
        if not isinstance(fields, Mapping):
            raise broken(
                f"event {self.type!r} of version {version} is {payload.excerpt(fields)}, not an object with fields"
            )
        raised = self.upcasters.raised(version, fields)
        try:
            return built(self.kind, raised)
        except Misfit as misfit:
            by = f" (raised from version {version})" if version < self.version else ""
            raise broken(
                f"event {self.type!r} of version {self.version}{by} does not fit its class: {misfit}"
            ) from misfit


# -- declaring


@overload
def event(kind: type[AnEvent], /) -> type[AnEvent]: ...


@overload
def event(*, version: int = 1, name: str | None = None) -> Callable[[type[AnEvent]], type[AnEvent]]: ...


@dataclass_transform(kw_only_default=True, frozen_default=True)
def event(
    kind: type[AnEvent] | None = None, /, *, version: int = 1, name: str | None = None
) -> type[AnEvent] | Callable[[type[AnEvent]], type[AnEvent]]:
    """Make a class a type of event: ``@event`` or ``@event(version=2)``.

    A plain class becomes a dataclass, frozen and with keyword-only fields. A dataclass, a pydantic model and a msgspec
    Struct stay as they are.

    Args:
        version: raise it whenever a field is added without a default, removed, renamed or of another type, and add an
            `upcast` from the former version, which stored events have.
        name: the name of the type, in the database and for other services; by default that of the class. It stays when
            the class is renamed.

    Raises:
        DefinitionError: the class cannot be an event; the message says why.

    Example:
        ``@event(version=2)`` over ``class OrderCreated:`` with ``order_id: str`` and ``total: Decimal``
    """
    if kind is not None and not isinstance(kind, type):
        raise DefinitionError(f"@event is for classes, not {payload.excerpt(kind)}: write @event or @event(version=2)")

    def declared(decorated: type[AnEvent]) -> type[AnEvent]:
        if not isinstance(decorated, type):
            raise DefinitionError(f"@event is for classes, not {payload.excerpt(decorated)}")
        type_ = decorated.__name__ if name is None else name
        what = f"event {type_!r}"
        if not isinstance(type_, str) or not NAME.fullmatch(type_):
            raise DefinitionError(f"{what}: its name must be letters, digits, '_', '.' or '-'; pass name=…")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise DefinitionError(f"{what}: version={version!r} must be a whole number from 1 on")
        made = _as_record(decorated, what)
        setattr(made, EVENT_MARK, EventType(made, type_, version))
        return made

    return declared if kind is None else declared(kind)


def _as_record(kind: type[AnEvent], what: str) -> type[AnEvent]:
    if is_pydantic(kind) or is_msgspec(kind) or "__dataclass_fields__" in vars(kind):
        return kind
    if hasattr(kind, "__attrs_attrs__") or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        raise DefinitionError(
            f"{what}: {kind.__qualname__} cannot be an event: use a plain class, a dataclass, a pydantic model or a "
            "msgspec Struct"
        )
    try:
        return dataclasses.dataclass(frozen=True, kw_only=True)(kind)
    except (TypeError, ValueError) as error:
        raise DefinitionError(
            f"{what}: {kind.__qualname__} does not become a frozen dataclass: {error}. Make it one yourself, with "
            "@dataclass(…) under @event"
        ) from error


def upcast(kind: type[Any], *, from_version: int) -> Callable[[AnUpcaster], AnUpcaster]:
    """Declare how the fields of an older version of an event become those of the next version.

    The function gets the fields as a dict, and returns those of version ``from_version + 1``. It runs whenever an event
    of that version is read; the stored event stays as it is. It should do nothing else.

    Args:
        kind: the event's class, which is of the newest version.
        from_version: the version of the fields that it gets.

    Raises:
        DefinitionError: the class is not an event, or ``from_version`` is not a version.

    Example:
        ``@upcast(OrderCreated, from_version=1)`` over ``def add_currency(old): return old | {"currency": "EUR"}``
    """
    type_ = event_type(kind, "@upcast(…)")
    if not isinstance(from_version, int) or isinstance(from_version, bool) or from_version < 1:
        raise DefinitionError(
            f"@upcast of event {type_.type!r}: from_version={from_version!r} must be a whole number from 1 on"
        )

    def declared(function: AnUpcaster) -> AnUpcaster:
        if not callable(function):
            raise DefinitionError(f"@upcast of event {type_.type!r} is for a function, not {payload.excerpt(function)}")
        type_.upcasters.add(from_version, function)
        return function

    return declared


# -- looking


def event_type(kind: Any, who: str) -> EventType:
    """Return the type of event that a class is. Raises DefinitionError."""
    found = vars(kind).get(EVENT_MARK) if isinstance(kind, type) else None
    if isinstance(found, EventType):
        return found
    if isinstance(kind, type):
        raise DefinitionError(f"{who}: the class {qualified_name(kind)} is not an event: put @event over it")
    if isinstance(vars(type(kind)).get(EVENT_MARK), EventType):
        raise DefinitionError(f"{who}: pass the class {type(kind).__qualname__}, not an event of it")
    raise DefinitionError(f"{who}: {payload.excerpt(kind)} is not an event: pass a class with @event")


def type_of(value: Any, who: str) -> EventType:
    """Return the type of an event. Raises PayloadError if it is not one."""
    found = vars(type(value)).get(EVENT_MARK)
    if isinstance(found, EventType):
        return found
    if isinstance(value, type) and isinstance(vars(value).get(EVENT_MARK), EventType):
        raise PayloadError(
            f"{who}: the class {value.__qualname__} is not an event itself: make one, {value.__qualname__}(…)"
        )
    raise PayloadError(
        f"{who}: {payload.excerpt(value)} is not an event: put @event over its class, and pass an instance of that"
    )
