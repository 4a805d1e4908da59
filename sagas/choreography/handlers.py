"""Handlers: tasks that react to events, and the undos of what they did."""

import inspect
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from sagas.choreography.events import EventType, event_type
from sagas.choreography.known import names
from sagas.choreography.signatures import HandlerOptions, Seconds
from sagas.definition import Retry, Step
from sagas.definition.part import Compiler, Slot
from sagas.definition.retry import COMPENSATION_RETRY, LONGEST_TIMEOUT, number
from sagas.definition.signatures import CeleryTask
from sagas.definition.step import checked_task, retries
from sagas.engine import TaskFace
from sagas.errors import DefinitionError
from sagas.model import StepKind
from sagas.model.choreography import HandlerPlan, IfDead, Order


class HandlerStep(Step):
    """The part of a handler that is a step: its task and its undo, their policies and limits."""

    noun = "handler"


class Handler:
    """One handler of a choreography."""

    def __init__(
        self,
        task: CeleryTask,
        hears: Sequence[EventType],
        publishes: Sequence[EventType],
        order: Order,
        if_dead: IfDead,
        options: HandlerOptions,
        *,
        says_nothing_to_undo: bool,
    ) -> None:
        for option in sorted(options.keys() - HandlerOptions.__annotations__.keys()):
            allowed = ", ".join(sorted(HandlerOptions.__annotations__))
            raise DefinitionError(f"on(…, {option}=…) is not an option of a handler: it takes {allowed}")
        checked_task(task, "on(…)")
        self._options = options
        self.step = HandlerStep(task, compensation=None, **options)  # type: ignore[arg-type]
        self.hears = tuple(hears)
        self.publishes = tuple(publishes)
        self.order = order
        self.if_dead = if_dead
        self.says_nothing_to_undo = says_nothing_to_undo
        self.undo_when: tuple[EventType, ...] = ()
        self.undo_publishes: tuple[EventType, ...] = ()
        check_task(self.step.face, self.who, self.hears, self.publishes)

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def who(self) -> str:
        """The beginning of an error about it."""
        return self.step.who

    @property
    def has_undo(self) -> bool:
        return self.step.compensation is not None

    def tasks(self) -> list[CeleryTask]:
        return self.step.tasks()

    def undone_by(
        self,
        undo: CeleryTask,
        when: Sequence[EventType],
        publishes: Sequence[EventType],
        retry: Retry | None,
        timeout: Seconds | None,
        deadline: Seconds | None,
    ) -> None:
        """Give it its undo. Raises DefinitionError."""
        who = f"undo of {self.who}"
        face = checked_task(undo, who)
        if self.has_undo:
            raise DefinitionError(f"{self.who} has an undo already: name all events in its when=(…)")
        if self.says_nothing_to_undo:
            raise DefinitionError(f"{self.who} says undo=None, that it has nothing to undo: leave that out")
        for type_ in when:
            if type_ in self.hears:
                raise DefinitionError(
                    f"{who}: {type_.type} runs the handler, and cannot undo it too: leave it out of when=, or out of "
                    "on(…)"
                )
        check_task(face, who, self.hears, publishes)
        retries(retry, COMPENSATION_RETRY, f"{who}: retry")
        self.step = HandlerStep(
            self.step.task,
            compensation=undo,
            compensation_retry=retry,
            compensation_timeout=_limit(timeout, f"{who}: timeout"),
            compensation_deadline=_limit(deadline, f"{who}: deadline"),
            **self._options,  # type: ignore[arg-type]
        )
        self.undo_when = tuple(when)
        self.undo_publishes = tuple(publishes)

    def takes(self, type_: str) -> bool:
        """Return whether its task is written for a type of event: it hears it, or its annotation names it."""
        return type_ in names(self.hears) or type_ in annotated(self.step.face)

    def types(self) -> Iterator[EventType]:
        """Yield every type of event that it names."""
        for several in (self.hears, self.publishes, self.undo_when, self.undo_publishes):
            yield from several

    def compile(self, place: int, compiler: Compiler) -> HandlerPlan:
        """Return the handler as the plan stores it."""
        where = Slot(position=0, branch=place, lane=0, kind=StepKind.COMPENSATABLE)
        return HandlerPlan(
            step=self.step.compile(where, compiler),
            hears=names(self.hears),
            publishes=names(self.publishes),
            order=self.order,
            if_dead=self.if_dead,
            undo_when=names(self.undo_when),
            undo_publishes=names(self.undo_publishes),
        )


def _limit(given: Any, what: str) -> float | None:
    return None if given is None else number(given, what, 0.001, LONGEST_TIMEOUT)


# -- the task


def check_task(face: TaskFace, who: str, hears: Sequence[EventType], publishes: Sequence[EventType]) -> None:
    """Check that a task takes one event, and that its annotations agree with what is declared."""
    if face.function is None:
        return
    called = getattr(face.function, "__qualname__", repr(face.function))
    fillable = face.parameters
    takes = positional(face)
    if not takes:
        raise DefinitionError(f"{who}: {called} takes no event: give it a parameter, as in def {called}(event)")
    required = [one for one in fillable if one.name in face.required and one is not takes[0]]
    if required:
        raise DefinitionError(
            f"{who}: {called} requires {required[0].name!r} beside the event, and nothing fills it: give it a default, "
            "or take it from the event"
        )
    hints = _hints(face)
    _check_parameter(who, takes[0].name, hints.get(takes[0].name), hears)
    _check_return(who, hints.get("return"), publishes)


def positional(face: TaskFace) -> list[inspect.Parameter]:
    """Return the parameters of a task that the event may fill: the first one gets it."""
    other = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [one for one in face.parameters if one.kind not in other]


def annotated(face: TaskFace) -> tuple[str, ...]:
    """Return the types of event that the annotation of a task's parameter names."""
    hints = _hints(face)
    takes = (hints.get(one.name) for one in positional(face)[:1])
    return tuple(event_type(kind, "").type for annotation in takes for kind in _events_in(annotation))


def _hints(face: TaskFace) -> dict[str, Any]:
    try:
        return typing.get_type_hints(face.function)
    except Exception:  # annotations that cannot be resolved say nothing
        return {}


def _check_parameter(who: str, name: str, annotation: Any, hears: Sequence[EventType]) -> None:
    kinds = [*_events_in(annotation)]
    for type_ in hears if kinds else ():
        if not any(issubclass(type_.kind, one) for one in kinds):
            as_written = " | ".join(one.__qualname__ for one in kinds)
            raise DefinitionError(
                f"{who} gets {type_.type}, and its parameter {name!r} is annotated as {as_written}: mend one of them"
            )


def _check_return(who: str, annotation: Any, publishes: Sequence[EventType]) -> None:
    for kind in _events_in(annotation):
        if event_type(kind, who) not in publishes:
            raise DefinitionError(
                f"{who} returns {kind.__qualname__} by its annotation, and publishes= does not name it: add it there"
            )


def _events_in(annotation: Any) -> Iterator[type]:
    """Yield the event classes of an annotation: a class, a union, or a list of them."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType) or (isinstance(origin, type) and issubclass(origin, Sequence)):
        for inner in typing.get_args(annotation):
            yield from _events_in(inner)
    elif isinstance(annotation, type):
        try:
            event_type(annotation, "")
        except DefinitionError:
            return
        yield annotation
