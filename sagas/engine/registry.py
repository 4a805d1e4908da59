"""The sagas and choreographies that this process knows."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol
from weakref import WeakSet

from celery import Celery
from celery import _state as celery_state

from sagas.model import Inline, Plan, Secrecy
from sagas.model.choreography import ChoreographyPlan


class PlanTarget(Protocol):
    """The part of an engine for which a definition is compiled: its tasks' names are those of this app."""

    app: Celery
    secrecy: Secrecy


class Declared(Protocol):
    """The interface that the engine needs of a saga definition."""

    name: str
    version: int

    def tasks(self) -> list[Any]: ...

    def plan(self, engine: PlanTarget) -> Plan: ...

    def former_plan(self, engine: PlanTarget) -> Plan | None: ...

    @property
    def inline(self) -> Inline | None: ...

    @property
    def starts_on(self) -> Any: ...

    def clean_errors(self, step: str) -> list[str | type]: ...


#: By this attribute a class is known as a type of event. It is the class's own: its subclasses do not inherit it.
EVENT_MARK = "__sagas_event__"


class EventKind(Protocol):
    """The interface that the layers below need of a type of event."""

    type: str
    version: int


def event_kind(kind: Any) -> EventKind | None:
    """Return the type of event that a class is; None if it is not one."""
    return vars(kind).get(EVENT_MARK) if isinstance(kind, type) else None


class WrittenEvent(Protocol):
    """An event as it is stored."""

    @property
    def type(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def text(self) -> str: ...


class EventExchange(Protocol):
    """The interface through which the engine writes and reads the events of a choreography."""

    def write(self, value: Any, secrecy: Secrecy) -> WrittenEvent: ...

    def returned(self, value: Any, may: Sequence[str], who: str, secrecy: Secrecy) -> Sequence[WrittenEvent]: ...

    def edited(self, type_: str, version: int, given: Any, secrecy: Secrecy) -> str: ...

    def read(self, type_: str, version: int, fields: Any, secrecy: Secrecy) -> Any: ...


class Choreographed(Protocol):
    """The interface that the engine needs of a choreography's definition."""

    name: str
    version: int

    def tasks(self) -> list[Any]: ...

    @property
    def exchange(self) -> EventExchange: ...

    def plan(self, engine: PlanTarget) -> ChoreographyPlan: ...

    def takes(self, handler: str, type_: str) -> bool: ...

    def clean_errors(self, step: str) -> list[str | type]: ...


_lock = threading.Lock()
_declared: WeakSet[Any] = WeakSet()
_choreographies: WeakSet[Any] = WeakSet()


def declare(saga: Declared) -> None:
    with _lock:
        _declared.add(saga)


def declared() -> list[Declared]:
    """Return every saga that this process has defined and still holds."""
    with _lock:
        return sorted(_declared, key=lambda saga: saga.name)


def declare_choreography(choreography: Choreographed) -> None:
    with _lock:
        _choreographies.add(choreography)


def choreographies() -> list[Choreographed]:
    """Return every choreography that this process has defined and still holds."""
    with _lock:
        return sorted(_choreographies, key=lambda choreography: (choreography.name, choreography.version))


def choreography_of(name: str, version: int) -> Choreographed | None:
    """Return the choreography with a name that this process has declared, of this version if it has that."""
    named = [it for it in choreographies() if it.name == name]
    return max(named, key=lambda it: it.version == version, default=None)


def starts_here(saga: str) -> bool:
    """Return whether this process has declared a saga that starts on an event."""
    return any(one.name == saga and one.starts_on is not None for one in declared())


def inline_of(plan: Plan) -> Inline | None:
    """Return how far one message goes on, by the saga's definition here; a deploy may change it."""
    with _lock:
        named = [saga for saga in _declared if saga.name == plan.saga]
    return max(named, key=lambda saga: saga.version == plan.version).inline if named else None


@contextlib.contextmanager
def current_app(app: Celery) -> Iterator[None]:
    """Resolve shared tasks under ``app``, whatever the thread's current or default app is."""
    former = celery_state._tls.current_app
    celery_state._tls.current_app = app
    try:
        yield
    finally:
        celery_state._tls.current_app = former
