"""The content of a choreography's picture, before it is drawn: events, handlers, undos, in the order of their ways."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sagas.graph.labels import clean, duration, tail
from sagas.graph.shape import why
from sagas.handle import Snapshot, StepView
from sagas.model import SagaStatus, StepStatus
from sagas.model.choreography import ChoreographyPlan, HandlerPlan, IfDead

#: The status of a handler is the one of its deliveries that needs the most attention.
_GRAVEST = (
    StepStatus.FAILED,
    StepStatus.COMPENSATING,
    StepStatus.RUNNING,
    StepStatus.PENDING,
    StepStatus.HELD,
    StepStatus.COMPENSATED,
    StepStatus.COMPLETED,
    StepStatus.SKIPPED,
)


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
    status: StepStatus | None = None
    facts: tuple[str, ...] = ()


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
    status: StepStatus | None = None
    facts: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A choreography, or a run of it, whose ``status`` is known.

    Events stand in the order in which they can first come, handlers in that of what they hear.
    """

    title: str
    subtitle: str | None = None
    status: SagaStatus | None = None
    because: str | None = None
    events: tuple[EventNode, ...]
    handlers: tuple[HandlerNode, ...]

    def rows(self) -> Iterator[tuple[EventNode, tuple[HandlerNode, ...]]]:
        """Yield each event with the handlers that hear it and none of those before it."""
        placed: set[str] = set()
        for event in self.events:
            beside = tuple(one for one in self.handlers if event.id in one.hears and one.id not in placed)
            placed |= {one.id for one in beside}
            yield event, beside


def shape_of(plan: ChoreographyPlan, snapshot: Snapshot | None = None) -> Shape:
    """Return the shape of a graph and, with a snapshot of a run, how its deliveries went."""
    order = _in_order(plan)
    ids = {type_: f"e{number}" for number, type_ in enumerate(order)}
    first = {handler.name: min(map(order.index, handler.hears)) for handler in plan.handlers}
    handlers = sorted(plan.handlers, key=lambda handler: (first[handler.name], handler.place))
    seen = snapshot.steps if snapshot else []
    title = f"{clean(plan.name)} v{plan.version}"
    events = tuple(_event(plan, type_, ids[type_]) for type_ in order)
    nodes = tuple(_handler(one, ids, [view for view in seen if view.name == one.name]) for one in handlers)
    if snapshot is None:
        return Shape(title=title, events=events, handlers=nodes)
    return Shape(
        title=title,
        subtitle=clean(f"{snapshot.id}, key {snapshot.key}" if snapshot.key else snapshot.id),
        status=snapshot.status,
        because=why(snapshot.error),
        events=events,
        handlers=nodes,
    )


def _in_order(plan: ChoreographyPlan) -> list[str]:
    """Return all events: the start and what follows from it, then those from outside, then all others."""
    outside = [plan.starts, *plan.awaited, *([plan.on_cancel] if plan.on_cancel else [])]
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
    comes = [f"comes from {clean(bridge.name)}" for bridge in plan.bridges if type_ in bridge.accepts]
    if (within := plan.awaited.get(type_)) is not None:
        comes = [*(comes or ["from outside"]), f"may take {duration(within)}"]
    traits += comes
    traits += [f"leaves for {clean(bridge.name)}" for bridge in plan.bridges if type_ in bridge.sends]
    if type_ == plan.on_cancel:
        traits.append("published when a run turns back")
    if type_ in plan.ends:
        traits, paint = [*traits, "ends a run"], "completed"
    if type_ in plan.refuses:
        traits, paint = [*traits, "turns the run back"], "failed"
    return EventNode(id=id_, type=type_, name=clean(type_), traits=tuple(traits), paint=paint)


def _handler(handler: HandlerPlan, ids: dict[str, str], seen: Sequence[StepView]) -> HandlerNode:
    step = handler.step
    errors = [view.error for view in seen if view.error]
    return HandlerNode(
        id=f"h{handler.place}",
        name=clean(step.name),
        does=None if step.task is None or tail(step.task) == clean(step.name) else clean(step.task),
        traits=tuple(_traits(handler)),
        hears=tuple(ids[type_] for type_ in handler.hears),
        publishes=tuple(ids[type_] for type_ in handler.publishes),
        undo=_undo(handler, ids, seen),
        status=_gravest(view.status for view in seen),
        facts=_counted(view.status for view in seen),
        error=why(errors[-1]) if errors else None,
    )


def _gravest(statuses: Iterable[StepStatus]) -> StepStatus | None:
    return min(statuses, key=_GRAVEST.index, default=None)


def _counted(statuses: Iterable[StepStatus]) -> tuple[str, ...]:
    counted = Counter(statuses)
    if counted.total() == 1:
        return tuple(status.value for status in counted)
    return tuple(f"{counted[status]} {status.value}" for status in _GRAVEST if counted[status])


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


def _undo(handler: HandlerPlan, ids: dict[str, str], seen: Sequence[StepView]) -> UndoNode | None:
    step = handler.step
    statuses = [view.compensation.status for view in seen if view.compensation]
    if step.compensation is None:
        return None
    given_up = step.compensation_deadline
    return UndoNode(
        id=f"u{handler.place}",
        name=tail(step.compensation),
        traits=() if given_up is None else (f"given up after {duration(given_up)}",),
        when=tuple(ids[type_] for type_ in handler.undo_when),
        publishes=tuple(ids[type_] for type_ in handler.undo_publishes),
        status=_gravest(statuses),
        facts=_counted(statuses),
    )
