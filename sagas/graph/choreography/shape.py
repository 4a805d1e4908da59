"""The content of a choreography's picture, before it is drawn: events, handlers, undos, in the order of their ways."""

from collections.abc import Iterator
from dataclasses import dataclass

from sagas.graph.words import clean, duration, tail
from sagas.model.choreography import ChoreographyPlan, HandlerPlan, IfDead


@dataclass(frozen=True, kw_only=True, slots=True)
class EventNode:
    """The box of an event. Its id is made of a number, whatever its name; ``paint`` is a name of the palette."""

    id: str
    type: str
    name: str
    traits: tuple[str, ...] = ()
    paint: str = "event"


@dataclass(frozen=True, kw_only=True, slots=True)
class UndoNode:
    """The box of a handler's undo, with the ids of the events that trigger it and of those that it may publish."""

    id: str
    name: str
    traits: tuple[str, ...] = ()
    when: tuple[str, ...] = ()
    publishes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class HandlerNode:
    """The box of a handler, with the ids of the events that it hears and of those that it may publish."""

    id: str
    name: str
    does: str | None = None
    traits: tuple[str, ...] = ()
    hears: tuple[str, ...] = ()
    publishes: tuple[str, ...] = ()
    undo: UndoNode | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A choreography. Events stand in the order in which they can first come, handlers in that of what they hear."""

    title: str
    events: tuple[EventNode, ...]
    handlers: tuple[HandlerNode, ...]

    def rows(self) -> Iterator[tuple[EventNode, tuple[HandlerNode, ...]]]:
        """Yield each event with the handlers that hear it and none of those before it."""
        told: set[str] = set()
        for event in self.events:
            beside = tuple(one for one in self.handlers if event.id in one.hears and one.id not in told)
            told |= {one.id for one in beside}
            yield event, beside


def shape_of(plan: ChoreographyPlan) -> Shape:
    order = _in_order(plan)
    ids = {type_: f"e{number}" for number, type_ in enumerate(order)}
    first = {handler.name: min(map(order.index, handler.hears)) for handler in plan.handlers}
    handlers = sorted(plan.handlers, key=lambda handler: (first[handler.name], handler.place))
    return Shape(
        title=f"{clean(plan.name)} v{plan.version}",
        events=tuple(_event(plan, type_, ids[type_]) for type_ in order),
        handlers=tuple(_handler(handler, ids) for handler in handlers),
    )


def _in_order(plan: ChoreographyPlan) -> list[str]:
    """Return all events: the start and what follows from it, then those from outside, then all others."""
    outside = [plan.starts, *(type_ for type_, _ in plan.awaits), *([plan.on_cancel] if plan.on_cancel else [])]
    order: list[str] = []
    for begin in (*outside, *(event.type for event in plan.events)):
        waiting = [begin]
        while waiting:
            type_ = waiting.pop(0)
            if type_ in order:
                continue
            order.append(type_)
            for handler in plan.hearers(type_):
                waiting += handler.publishes
            for handler in plan.undone_by(type_):
                waiting += handler.undo_publishes
    return order


def _event(plan: ChoreographyPlan, type_: str, id_: str) -> EventNode:
    version, traits, paint = plan.by_type[type_].version, [], "event"
    if version > 1:
        traits.append(f"version {version}")
    if type_ == plan.starts:
        traits.append("starts a run")
    if (within := dict(plan.awaits).get(type_)) is not None:
        traits.append(f"from outside, may take {duration(within)}")
    if type_ == plan.on_cancel:
        traits.append("published when a run turns back")
    if type_ in plan.ends:
        traits, paint = [*traits, "ends a run"], "completed"
    if type_ in plan.refuses:
        traits, paint = [*traits, "turns the run back"], "failed"
    return EventNode(id=id_, type=type_, name=clean(type_), traits=tuple(traits), paint=paint)


def _handler(handler: HandlerPlan, ids: dict[str, str]) -> HandlerNode:
    step = handler.step
    return HandlerNode(
        id=f"h{handler.place}",
        name=clean(step.name),
        does=None if step.task is None or tail(step.task) == clean(step.name) else clean(step.task),
        traits=tuple(_traits(handler)),
        hears=tuple(ids[type_] for type_ in handler.hears),
        publishes=tuple(ids[type_] for type_ in handler.publishes),
        undo=_undo(handler, ids),
    )


def _traits(handler: HandlerPlan) -> Iterator[str]:
    if not handler.is_ordered:
        yield "in any order"
    if handler.if_dead is IfDead.SKIP:
        yield "later events pass a dead one"
    if handler.if_dead is IfDead.COMPENSATE:
        yield "turns the run back if dead"
    if not handler.step.idempotent:
        yield "runs once"
    if handler.step.queue is not None:
        yield f"queue {clean(handler.step.queue)}"


def _undo(handler: HandlerPlan, ids: dict[str, str]) -> UndoNode | None:
    step = handler.step
    if step.compensation is None:
        return None
    given_up = step.compensation_deadline
    return UndoNode(
        id=f"u{handler.place}",
        name=tail(step.compensation),
        traits=() if given_up is None else (f"given up after {duration(given_up)}",),
        when=tuple(ids[type_] for type_ in handler.undo_when),
        publishes=tuple(ids[type_] for type_ in handler.undo_publishes),
    )
