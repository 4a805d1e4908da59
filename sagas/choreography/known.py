"""The types of events that a choreography names, each under one name, and the options that say how long they take."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sagas.choreography.events import EventType, event_type
from sagas.definition.retry import number
from sagas.definition.waiting import LONGEST_WAIT
from sagas.engine import face_of
from sagas.errors import DefinitionError
from sagas.model import payload


class KnownEvents:
    """Collects the types that a choreography names; two classes cannot have one name."""

    def __init__(self, who: str) -> None:
        self._who = who
        self.types: dict[str, EventType] = {}

    def one(self, given: Any, option: str) -> EventType:
        """Return the type of the one class that an option takes. Raises DefinitionError."""
        if isinstance(given, list | tuple):
            raise DefinitionError(f"{self._who}: {option}= takes one event, not several")
        (found,) = self.several(given, option)
        return found

    def several(self, given: Any, option: str) -> tuple[EventType, ...]:
        """Return the types of one class or of several, each once. Raises DefinitionError."""
        who = f"{self._who}: {option}"
        several = [*given] if isinstance(given, Iterable) and not isinstance(given, type | str) else [given]
        found = [event_type(kind, who) for kind in several]
        for place, one in enumerate(found):
            if one in found[:place]:
                raise DefinitionError(f"{who} names the event {one.type} twice: leave one out")
            self._learn(one)
        return tuple(found)

    def _learn(self, type_: EventType) -> None:
        former = self.types.get(type_.type, type_)
        if not is_same_kind(former.kind, type_.kind):
            raise DefinitionError(
                f"{self._who}: two classes are the event {type_.type!r}: {place_of(former.kind)} and "
                f"{place_of(type_.kind)}. Pass @event(name=…) to one of them"
            )
        self.types[type_.type] = type_  # a module that is imported again has a new class

    def with_seconds(self, given: Any, option: str) -> dict[EventType, float]:
        """Return how long each of some events may take. Raises DefinitionError."""
        if not isinstance(given, Mapping):
            raise DefinitionError(
                f"{self._who}: {option}={payload.excerpt(given)} must map events to how long they may take, as in "
                f"{option}={{PaymentReceived: timedelta(hours=2)}}"
            )
        types = self.several(tuple(given), option)
        within = [
            seconds(one, f"{self._who}: {option}[{type_.type}]")
            for type_, one in zip(types, given.values(), strict=True)
        ]
        return dict(zip(types, within, strict=True))


def seconds(given: Any, what: str) -> float:
    """Return a duration in seconds. Raises DefinitionError."""
    return number(given, what, 0.001, LONGEST_WAIT)


def names(several: Sequence[EventType]) -> tuple[str, ...]:
    return tuple(one.type for one in several)


def is_same(one: Any, other: Any) -> bool:
    """Return whether two tasks are one: the same, or of a module that was imported again."""
    return one is other or name_of(one) == name_of(other)


def name_of(task: Any) -> str:
    """Return the name of a task's function, with its module; for anything else, its representation."""
    try:
        face = face_of(task)
    except TypeError:
        return repr(task)
    return str(face.name) if face.function is None else place_of(face.function)


def is_same_kind(one: type, other: type) -> bool:
    """Return whether two classes are one: the same, or of a module that was imported again."""
    return one is other or place_of(one) == place_of(other)


def place_of(one: Any) -> str:
    return f"{one.__module__}.{getattr(one, '__qualname__', '')}"
