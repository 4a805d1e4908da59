"""A saga as a Mermaid flowchart: text that GitHub, GitLab and many editors draw."""

import re
from collections.abc import Iterator, Sequence

from sagas.graph.labels import clean
from sagas.graph.palette import LIGHT, SURFACES, Paint
from sagas.graph.routes import Edge, EdgeKind, Routes, routes_of
from sagas.graph.shape import Node, Shape, Undo, lanes, shape_of
from sagas.graph.taken_path import DONE, START, fork, join
from sagas.handle import Snapshot
from sagas.model import Plan, SagaStatus, StepKind, StepRole

#: More lanes than these are stacked, which takes a chart that runs from left to right.
BESIDE = 4
LONGEST_LINE = 120
#: Mermaid's shapes: hexagon, double border, stadium.
PIVOT = ("{{", "}}")
SHAPES = {StepRole.CHILD: ("[[", "]]"), StepRole.SLEEP: ("([", "])"), StepRole.WAIT: ("([", "])")}
ARROWS = {
    EdgeKind.FORWARD: {True: "==>", False: "-->"},
    EdgeKind.UNDOES: {True: "-.-", False: "-.-"},
    EdgeKind.BACKWARD: {True: "==>", False: "-.->"},
}
# Letters and digits, and signs between two of them that mean nothing to Mermaid, to its Markdown or to HTML.
_HARMLESS = re.compile(r"[^\W_]|[ ,()/]|(?<=[^\W_])[._-](?=[^\W_])")
# Signs that Mermaid reads after it has replaced their entities: a formula, an icon, the end of a line.
_READ_LATE = re.compile(r"(?<=\$)(?=\$)|(?<=:)(?=fa-)|(?<=\\)(?=n)")


def mermaid(plan: Plan, snapshot: Snapshot | None = None) -> str:
    """Draw a plan as a Mermaid flowchart; with a snapshot of an instance, the path it took.

    Whatever the names of steps and the texts of errors are, none of it is read as Mermaid, Markdown or HTML.
    """
    shape = shape_of(plan, snapshot)
    return "\n".join(_chart(shape, routes_of(plan, shape))) + "\n"


def escaped(text: str) -> str:
    """Return text in which every sign that could mean something is one of Mermaid's entities."""
    text = _READ_LATE.sub("\N{ZERO WIDTH SPACE}", text)
    return "".join(sign if _HARMLESS.match(text, place) else f"#{ord(sign)};" for place, sign in enumerate(text))


def label(*lines: str | None) -> str:
    # An empty label would be an error.
    return '"' + ("<br/>".join(escaped(clean(line, LONGEST_LINE)) for line in lines if line) or " ") + '"'


def _chart(shape: Shape, routes: Routes) -> Iterator[str]:
    stacked = max((len(lanes(beside)) for _, beside in shape.positions()), default=1) > BESIDE
    boxes = list(_boxes(shape, routes, stacked))
    # Lines from stacked actions to their undos would cross everything else: there the boxes say it.
    edges = [edge for edge in routes.edges if not (stacked and edge.kind is EdgeKind.UNDOES)]
    yield f"flowchart {'LR' if stacked else 'TD'}"
    yield from (f"  {line}" for line in boxes)
    yield from (f"  {_way(edge)}" for edge in edges)
    backward = [str(place) for place, edge in enumerate(edges) if edge.kind is not EdgeKind.FORWARD]
    if backward:
        yield f"  linkStyle {','.join(backward)} stroke:{SURFACES['backward'][0]}"
    yield from (f"  {line}" for line in classes(boxes))


def classes(boxes: Sequence[str]) -> Iterator[str]:
    """Yield the definitions of the colours that boxes have."""
    for name, paint in LIGHT.items():
        if any(line.endswith(f":::{name}") for line in boxes):
            dashed = ",stroke-dasharray:4" if name == "skipped" else ""
            yield f"classDef {name} {_style(paint)}{dashed}"


def _boxes(shape: Shape, routes: Routes, stacked: bool) -> Iterator[str]:
    because = shape.because and f"because of {shape.because}"
    yield f"{START}({label(shape.title, shape.subtitle, shape.status, because)}):::{shape.status or 'plain'}"
    for position, beside in shape.positions():
        if len(lanes(beside)) > 1:
            yield f"{fork(position)}(({label('+')})):::plain"
            yield f"{join(position)}(({label('+')})):::plain"
        yield from map(_action, beside)
    undos = {node.undo.id: _undo(node.undo, node.name if stacked else None) for node in shape.nodes if node.undo}
    for group in routes.groups:
        yield f"subgraph {group.id} [{label(group.label)}]"
        yield f"  direction {'LR' if stacked else 'TB'}"
        yield from (f"  {undos.pop(member)}" for member in group.members)
        yield "end"
        yield f"style {group.id} {_style(LIGHT['undo'])}"
    yield from undos.values()
    yield f"{DONE}(({label('done')})):::{'completed' if shape.status is SagaStatus.COMPLETED else 'plain'}"


def _style(paint: Paint) -> str:
    return f"fill:{paint.fill},stroke:{paint.line},color:{paint.ink}"


def _action(node: Node) -> str:
    pivot = node.kind is StepKind.PIVOT
    left, right = PIVOT if pivot else SHAPES.get(node.role, ("[", "]"))
    text = label(node.name, node.does, ", ".join(node.traits), _how(node), node.error)
    return f"{node.id}{left}{text}{right}:::{node.status or ('pivot' if pivot else 'plain')}"


def _undo(undo: Undo, of: str | None) -> str:
    text = label(undo.name, of and f"undoes {of}", ", ".join(undo.traits), _how(undo), undo.error)
    return f"{undo.id}({text}):::{undo.status or 'undo'}"


def _how(box: Node | Undo) -> str:
    return ", ".join((*((box.status.value,) if box.status else ()), *box.facts))


def _way(edge: Edge) -> str:
    text = f"|{label(', '.join(edge.labels))}|" if edge.labels else ""
    return f"{edge.source} {ARROWS[edge.kind][bool(edge.taken)]}{text} {edge.target}"
