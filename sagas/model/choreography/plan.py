"""The plan of a choreography: the whole graph of events and handlers, frozen for a run when it starts."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

from sagas.model.plan import PlanStep
from sagas.model.releases import known_fields

#: How long a run with nothing open and without an end is left alone, unless its choreography says; in seconds.
QUIET_AFTER = 3600.0
#: How long what comes by a bridge may take, unless the choreography says in ``awaits``; in seconds.
BY_BRIDGE = 86_400.0
#: How long an event waits for a run that does not exist yet, in seconds.
EARLY_FOR = 7 * 86_400.0
#: How many events a run may have: it is a business transaction, not a log.
MAX_EVENTS = 10_000
#: How many handlers may hear one event.
MOST_HEARERS = 100
#: The name that marks a stored plan as that of a choreography. Releases without choreographies refuse it.
_NAME = "choreography"


#: The names of the handlers that start sagas begin with it.
_STARTER = "start."


def starter_name(saga: str) -> str:
    """Return the name of the handler that starts a saga."""
    return _STARTER + saga


def saga_started_by(handler: str) -> str:
    """Return the saga that a handler starts, by its name."""
    return handler.removeprefix(_STARTER)


class Order(StrEnum):
    """The order in which a handler gets the events of one run."""

    RUN = "run"  # as they are numbered, one after the other
    NONE = "none"  # in any order, side by side


class IfDead(StrEnum):
    """The consequence of a delivery that is given up."""

    HOLD = "hold"  # later events of the run wait for a person to answer, as far as this handler hears them
    SKIP = "skip"  # later events pass
    COMPENSATE = "compensate"  # the run turns back


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldPlan:
    """One field of an event, as the catalogue shows it. ``type`` is text and is only compared."""

    name: str
    type: str
    required: bool = True

    def to_json(self) -> dict[str, Any]:
        return _without_defaults(self, {"name", "type"})

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**known_fields(stored, cls.__dataclass_fields__, f"the field {stored.get('name')!r:.80}"))


@dataclass(frozen=True, kw_only=True, slots=True)
class EventPlan:
    """A type of event in the version that this graph publishes."""

    type: str
    version: int = 1
    fields: tuple[FieldPlan, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return _without_defaults(self, {"type", "version"}) | {"fields": [field.to_json() for field in self.fields]}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        known = known_fields(stored, cls.__dataclass_fields__, f"the event {stored.get('type')!r:.80}")
        return cls(**{**known, "fields": tuple(FieldPlan.from_json(field) for field in known.get("fields", ()))})


@dataclass(frozen=True, kw_only=True, slots=True)
class HandlerPlan:
    """One handler: which events it hears, and how a worker runs it and undoes it.

    ``step`` is what it shares with a step: tasks, policies, limits. Its branch is the handler's place in the plan, its
    compensation is the handler's undo, and `ChoreographyPlan.step` gives it the position of a delivery.
    """

    step: PlanStep
    hears: tuple[str, ...]
    publishes: tuple[str, ...] = ()
    order: Order = Order.RUN
    if_dead: IfDead = IfDead.HOLD
    undo_when: tuple[str, ...] = ()  # the events that close it and undo what it did; turning back always does
    undo_publishes: tuple[str, ...] = ()

    @property
    def place(self) -> int:
        return self.step.branch

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def is_ordered(self) -> bool:
        return self.order is Order.RUN

    @property
    def is_undoable(self) -> bool:
        return self.step.compensation is not None

    def may_publish(self, round_: int) -> tuple[str, ...]:
        """Return the types that its action (round 0) or its undo may return."""
        return self.publishes if round_ == 0 else self.undo_publishes

    def types(self) -> Iterator[str]:
        """Yield every type of event that it names."""
        for names in (self.hears, self.publishes, self.undo_when, self.undo_publishes):
            yield from names

    def to_json(self) -> dict[str, Any]:
        return _without_defaults(self, {"hears"}) | {"step": self.step.to_json()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        step = PlanStep.from_json(stored["step"])
        known = known_fields(stored, cls.__dataclass_fields__, f"the handler {step.name!r:.80} of the plan")
        read: dict[str, Any] = {"order": Order, "if_dead": IfDead, "step": lambda _: step}
        return cls(**{name: read.get(name, tuple)(value) for name, value in known.items()})


@dataclass(frozen=True, kw_only=True, slots=True)
class BridgePlan:
    """A bridge to another service: the events that leave by it, and those that come."""

    name: str
    sends: tuple[str, ...] = ()
    accepts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return _without_defaults(self, {"name"})

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        known = known_fields(stored, cls.__dataclass_fields__, f"the bridge {stored.get('name')!r:.80}")
        return cls(name=known["name"], sends=tuple(known.get("sends", ())), accepts=tuple(known.get("accepts", ())))


@dataclass(frozen=True, kw_only=True)
class ChoreographyPlan:
    """The graph of a choreography: its events and its handlers, by place.

    Handlers stand in the order of their names and events in that of their types, so that the order in which modules are
    imported changes nothing.
    """

    name: str
    version: int
    starts: str
    ends: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ()  # ends that turn the run back
    on_cancel: str | None = None  # is published in the commit in which the run turns back
    handlers: tuple[HandlerPlan, ...] = ()
    events: tuple[EventPlan, ...] = ()
    deadline: float | None = None  # seconds from the start after which the run turns back
    quiet_after: float | None = QUIET_AFTER  # None: never; then it has a deadline
    awaits: tuple[tuple[str, float], ...] = ()  # types that may take longer than that, with their seconds
    early_for: float = EARLY_FOR
    max_events: int = MAX_EVENTS
    priority: int | None = None  # the priority of its messages, on the broker's own scale
    bridges: tuple[BridgePlan, ...] = ()

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise ValueError(f"plan of {self.name!r}: {problem}")

    def _problems(self) -> Iterator[str]:
        names = [handler.name for handler in self.handlers]
        types = [event.type for event in self.events]
        if names != sorted(set(names)) or [handler.place for handler in self.handlers] != list(range(len(names))):
            yield "handlers must be sorted by their names, which are unique, and their places count up from 0"
        if types != sorted(set(types)) or list(self.awaits) != sorted(dict(self.awaits).items()):
            yield "events and awaits must be sorted by type, each once"
        if unknown := sorted(self._named() - set(types)):
            yield f"the events {unknown} have no entry"
        if both := sorted(set(self.ends) & set(self.refuses)):
            yield f"{both} cannot both end and refuse"
        if self.quiet_after is None and self.deadline is None:
            yield "without a deadline it must say when a run is quiet"
        for handler in self.handlers:
            if both := sorted(set(handler.hears) & set(handler.undo_when)):
                yield f"the handler {handler.name!r} is run and undone by the same events: {both}"
            if handler.undo_when and not handler.is_undoable:
                yield f"the handler {handler.name!r} has events that undo it, and no undo"
        for type_ in types:
            if len(self.hearers(type_)) > MOST_HEARERS:
                yield f"more than {MOST_HEARERS} handlers hear {type_!r}"

    def _named(self) -> set[str]:
        """Return every type of event that the graph mentions."""
        own = {self.starts, *self.ends, *self.refuses, *(type_ for type_, _ in self.awaits)}
        own |= {self.on_cancel} if self.on_cancel else set()
        own = own.union(*((*bridge.sends, *bridge.accepts) for bridge in self.bridges))
        return own.union(*(handler.types() for handler in self.handlers))

    # -- JSON

    def to_json(self) -> dict[str, Any]:
        stored = _without_defaults(self, {"version", "starts"})
        del stored["name"]
        lists = {"handlers": [it.to_json() for it in self.handlers], "events": [it.to_json() for it in self.events]}
        lists |= {"bridges": [it.to_json() for it in self.bridges]} if self.bridges else {}
        return stored | lists | {_NAME: self.name}

    @cached_property
    def text(self) -> str:
        """The plan as canonical JSON."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))

    @cached_property
    def fingerprint(self) -> str:
        """A hash that is equal for equal plans, on every machine: 32 hexadecimal digits."""
        return hashlib.sha256(self.unmarked().text.encode()).hexdigest()[:32]

    def unmarked(self) -> Self:
        """Return the plan without the marks that are not part of its fingerprint."""
        handlers = (replace(handler, step=handler.step.unmarked()) for handler in self.handlers)
        return replace(self, handlers=tuple(handlers))

    @cached_property
    def needs(self) -> frozenset[str]:
        """The names that a release must know in order to run any of its handlers."""
        return frozenset[str]().union(*(handler.step.needs for handler in self.handlers))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        fields = {"name" if name == _NAME else name: value for name, value in stored.items()}
        known = known_fields(fields, cls.__dataclass_fields__, "the plan of the choreography")
        read: dict[str, Any] = {
            "ends": tuple,
            "refuses": tuple,
            "handlers": lambda handlers: tuple(HandlerPlan.from_json(handler) for handler in handlers),
            "events": lambda events: tuple(EventPlan.from_json(event) for event in events),
            "bridges": lambda bridges: tuple(BridgePlan.from_json(bridge) for bridge in bridges),
            "awaits": lambda awaits: tuple((type_, float(seconds)) for type_, seconds in awaits),
        }
        return cls(**{name: read[name](value) if name in read else value for name, value in known.items()})

    # -- navigating

    @property
    def saga(self) -> str:
        """Its name, as the rows and the handle of a run have it."""
        return self.name

    def step(self, position: int, branch: int = 0) -> PlanStep:
        """Return the plan of one delivery: the handler's, at the position of an event's number."""
        return replace(self.handlers[branch].step, position=position)

    def hearers(self, type_: str) -> tuple[HandlerPlan, ...]:
        """Return the handlers that get a delivery of an event, by place."""
        return tuple(handler for handler in self.handlers if type_ in handler.hears)

    def undone_by(self, type_: str) -> tuple[HandlerPlan, ...]:
        """Return the handlers that an event closes, by place."""
        return tuple(handler for handler in self.handlers if type_ in handler.undo_when)

    @cached_property
    def awaited(self) -> Mapping[str, float]:
        """The types that may take longer than `quiet_after`, with their seconds: also those that come by a bridge."""
        come = {type_ for bridge in self.bridges for type_ in bridge.accepts} - {self.starts}
        return dict.fromkeys(sorted(come), BY_BRIDGE) | dict(self.awaits)

    @cached_property
    def leaving(self) -> frozenset[str]:
        """The types of the events that leave by a bridge."""
        return frozenset[str]().union(*(bridge.sends for bridge in self.bridges))

    @cached_property
    def by_type(self) -> Mapping[str, EventPlan]:
        return {event.type: event for event in self.events}

    def contradictions(self, whole: "ChoreographyPlan") -> tuple[str, ...]:
        """Return where this graph differs from the registered one; empty if it is a part of it.

        A process that has imported some of the modules knows some of the handlers and events. What it knows must agree.
        """
        return tuple(self._contradictions(whole))

    def _contradictions(self, whole: "ChoreographyPlan") -> Iterable[str]:
        for name in sorted(self.__dataclass_fields__.keys() - {"awaits", "bridges", "handlers", "events"}):
            if getattr(self, name) != getattr(whole, name):
                yield f"its option {name}"
        for type_, seconds in self.awaits:
            if dict(whole.awaits).get(type_) != seconds:
                yield f"how long {type_!r} is awaited"
        yield from (f"the bridge {own.name!r}" for own in self.bridges if own not in whole.bridges)
        handlers = {handler.name: handler for handler in whole.unmarked().handlers}
        for own in self.unmarked().handlers:
            registered = handlers.get(own.name)
            if registered is None or replace(own, step=replace(own.step, branch=registered.place)) != registered:
                yield f"the handler {own.name!r}"
        for event in self.events:
            if whole.by_type.get(event.type) != event:
                yield f"the event {event.type!r}"


def is_choreography(stored: Mapping[str, Any]) -> bool:
    """Return whether a stored plan is that of a choreography, and not that of a saga."""
    return _NAME in stored


def _without_defaults(value: Any, always: set[str]) -> dict[str, Any]:
    """Return the fields that differ from their defaults: a plan keeps its fingerprint when the library gains one."""
    return {
        name: getattr(value, name)
        for name, described in value.__dataclass_fields__.items()
        if name in always or getattr(value, name) != described.default
    }
