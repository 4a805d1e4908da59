"""The paths between the boxes: forward through the lanes, from an action to its undo, and back."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from sagas.graph.shape import Node, Shape, lanes
from sagas.graph.taken_path import DONE, START, fork, join, taken_path, undone
from sagas.model import Plan, StepKind

NO_RETURN = "point of no return"


class EdgeKind(StrEnum):
    FORWARD = "forward"
    UNDOES = "undoes"  # from an action to its compensation
    BACKWARD = "backward"  # from a compensation, or a group of them, to the one undone next


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """A path from one id to another. ``taken`` is None if there is no instance."""

    kind: EdgeKind
    source: str
    target: str
    labels: tuple[str, ...] = ()
    taken: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Compensations of several lanes, without a fixed order. ``position`` None: of the whole saga."""

    id: str
    position: int | None
    members: tuple[str, ...]
    at_once: bool

    @property
    def label(self) -> str:
        return "undone at once" if self.at_once else "undone one by one, last begun first"


@dataclass(frozen=True, kw_only=True, slots=True)
class Routes:
    edges: tuple[Edge, ...]
    groups: tuple[Group, ...]


def routes_of(plan: Plan, shape: Shape) -> Routes:
    """Return all paths through a saga and, for an instance, which of them it took."""
    groups = tuple(_groups(plan, shape))
    ways = [
        *((EdgeKind.FORWARD, *way) for way in _forward(shape)),
        *((EdgeKind.UNDOES, node.id, node.undo.id, ()) for node in shape.nodes if node.undo),
        *((EdgeKind.BACKWARD, *way, ()) for way in _backward(shape, groups)),
    ]
    been, back = taken_path(shape), undone(shape)
    back |= {group.id for group in groups if back & set(group.members)}
    edges = []
    for kind, source, target, labels in ways:
        taken = {source, target} <= (back if kind is EdgeKind.BACKWARD else been)
        looked = shape.status is not None
        edges.append(Edge(kind=kind, source=source, target=target, labels=labels, taken=taken if looked else None))
    return Routes(edges=tuple(edges), groups=groups)


def _forward(shape: Shape) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    before = START
    labels: tuple[str, ...] = ()
    for position, beside in shape.positions():
        forked = len(lanes(beside)) > 1
        if forked:
            yield before, fork(position), labels
            before, labels = fork(position), ()
        for lane in lanes(beside):
            yield before, lane[0].id, labels + _condition(lane[0])
            for earlier, later in pairwise(lane):
                yield earlier.id, later.id, _condition(later)
            if forked:
                yield lane[-1].id, join(position), ()
        before = join(position) if forked else beside[-1].id
        labels = (NO_RETURN,) if has_pivot(beside) else ()
    yield before, DONE, labels


def has_pivot(nodes: tuple[Node, ...]) -> bool:
    return any(node.kind is StepKind.PIVOT for node in nodes)


def _condition(node: Node) -> tuple[str, ...]:
    return (node.condition,) if node.condition else ()


def _groups(plan: Plan, shape: Shape) -> Iterator[Group]:
    if plan.undo_at_once:
        members = tuple(node.undo.id for node in shape.nodes if node.undo)
        if len(members) > 1:
            yield Group(id="u", position=None, members=members, at_once=True)
        return
    for position, beside in shape.positions():
        undoable = tuple(node for node in beside if node.undo)
        if len(lanes(undoable)) > 1:
            at_once = any(step.undo_at_once for step in plan.beside(position))
            members = tuple(node.undo.id for node in undoable if node.undo)
            yield Group(id=f"u{position}", position=position, members=members, at_once=at_once)


def _backward(shape: Shape, groups: tuple[Group, ...]) -> Iterator[tuple[str, str]]:
    """Yield the reverse order. Among the lanes of a group none is drawn; within a lane it is."""
    of_position = {group.position: group.id for group in groups}
    before: str | None = None
    for position, beside in reversed(list(shape.positions())):
        for lane in lanes(beside):
            undos = [node.undo.id for node in lane if node.undo]
            yield from ((later, earlier) for earlier, later in pairwise(undos))
        undos = [node.undo.id for node in beside if node.undo]
        if not undos or None in of_position:
            continue
        first, last = (of_position[position],) * 2 if position in of_position else (undos[-1], undos[0])
        if before is not None:
            yield before, first
        before = last
