"""The content of a picture, before it is drawn: boxes in rows and lanes, and how each of them went."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from sagas.graph.labels import (
    clean,
    condition,
    outcome_facts,
    step_description,
    tail,
    traits,
    undo_facts,
    undo_traits,
)
from sagas.handle import CompensationView, Snapshot, StepView
from sagas.model import ErrorInfo, Plan, PlanStep, SagaStatus, StepKind, StepRole, StepStatus

_TURNED = frozenset({SagaStatus.COMPENSATING, SagaStatus.COMPENSATED})


@dataclass(frozen=True, kw_only=True, slots=True)
class Undo:
    """The box of a compensation. ``status`` is None if there is no instance, or nothing was dispatched."""

    id: str
    name: str
    traits: tuple[str, ...] = ()
    status: StepStatus | None = None
    facts: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """The box of an action. Its ids are made of numbers, whatever its name; ``row`` counts all the steps."""

    id: str
    row: int
    position: int
    lane: int
    name: str
    kind: StepKind
    role: StepRole
    does: str | None = None
    condition: str | None = None
    traits: tuple[str, ...] = ()
    status: StepStatus | None = None
    facts: tuple[str, ...] = ()
    error: str | None = None
    started: bool = False
    best_effort: bool = False
    undo: Undo | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A saga, or an instance of it, whose ``status`` is known."""

    title: str
    subtitle: str | None = None
    status: SagaStatus | None = None
    because: str | None = None
    nodes: tuple[Node, ...]

    def positions(self) -> Iterator[tuple[int, tuple[Node, ...]]]:
        """Yield each position with its boxes, lane by lane."""
        for position, beside in groupby(self.nodes, key=attrgetter("position")):
            yield position, tuple(beside)


def lanes(nodes: tuple[Node, ...]) -> list[tuple[Node, ...]]:
    return [tuple(lane) for _, lane in groupby(nodes, key=attrgetter("lane"))]


def shape_of(plan: Plan, snapshot: Snapshot | None = None) -> Shape:
    """Return the shape of a plan and, with a snapshot of an instance, how each step went."""
    title = f"{clean(plan.saga)} v{plan.version}"
    if snapshot is None:
        return Shape(title=title, nodes=tuple(_node(row, step) for row, step in enumerate(plan.steps)))
    seen = zip(plan.steps, snapshot.steps, strict=True)
    return Shape(
        title=title,
        subtitle=clean(f"{snapshot.id}, key {snapshot.key}" if snapshot.key else snapshot.id),
        status=snapshot.status,
        because=why(snapshot.error, snapshot.error.step if snapshot.error else None),
        nodes=tuple(_node(row, step, view, _turn(step, snapshot)) for row, (step, view) in enumerate(seen)),
    )


def _node(row: int, step: PlanStep, view: StepView | None = None, turn: tuple[str, ...] = ()) -> Node:
    place = f"{step.position}_{step.branch}"
    return Node(
        id=f"s{place}",
        row=row,
        position=step.position,
        lane=step.lane,
        name=clean(step.name),
        kind=step.kind,
        role=step.role,
        does=step_description(step),
        condition=condition(step),
        traits=traits(step),
        best_effort=step.best_effort,
        status=view.status if view else None,
        facts=outcome_facts(view) + turn if view else (),
        error=why(view.error) if view else None,
        started=bool(view and (view.attempts or view.started_at)),
        undo=_undo(f"c{place}", step, view.compensation if view else None),
    )


def _undo(id_: str, step: PlanStep, view: CompensationView | None) -> Undo | None:
    if not step.is_undoable:
        return None
    return Undo(
        id=id_,
        name=f"undo of {clean(step.name)}" if step.compensation is None else tail(step.compensation),
        traits=undo_traits(step),
        status=view.status if view else None,
        facts=undo_facts(view) if view else (),
        error=why(view.error) if view else None,
    )


def _turn(step: PlanStep, snapshot: Snapshot) -> tuple[str, ...]:
    """Return the fact that the step's error decided it, for that step."""
    if snapshot.error is None or snapshot.error.step != step.name:
        return ()
    turned = snapshot.status in _TURNED or any(view.compensation for view in snapshot.steps)
    return ("here it turned back",) if turned else ("here it stopped",)


def why(error: ErrorInfo | None, step: str | None = None) -> str | None:
    """Return the error without its module's name and its traceback."""
    if error is None:
        return None
    kind = error.type.rpartition(".")[2] or error.type
    place = f" in {step}" if step else ""
    return clean(f"{kind}{place}: {error.message}" if error.message else f"{kind}{place}")
