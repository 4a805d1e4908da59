"""The lines of the SVG: down the axis, round the lanes, across to the undo of a step, and up again."""

from sagas.graph.canvas import Canvas, Point
from sagas.graph.layout import AXIS, INTO_LANES, OUT_OF_LANES, Layout
from sagas.graph.routes import Edge, EdgeKind, Routes
from sagas.graph.taken_path import DONE, START

DOT = 5.0
ACROSS = 11.0  # above the middle, where the path out of a lane begins
THIN, THICK = 1.5, 2.5


def draw_lines(canvas: Canvas, routes: Routes, layout: Layout) -> None:
    for edge in sorted(routes.edges, key=lambda edge: bool(edge.taken)):  # paths that were taken are drawn on top
        stroke = THICK if edge.taken else THIN
        colour = "forward" if edge.kind is EdgeKind.FORWARD else "backward"
        if edge.taken is False:
            colour = "untaken"
        match edge.kind:
            case EdgeKind.FORWARD:
                canvas.way(colour, _forward(edge, layout), width=stroke)
            case EdgeKind.BACKWARD:
                canvas.way(colour, _backward(edge, layout), width=stroke, dash=None if edge.taken else "6 4")
            case EdgeKind.UNDOES:
                canvas.way(colour, _across(edge, layout), width=stroke, dash="2 4", head=False)
    for y in (*layout.forks.values(), *layout.joins.values()):
        canvas.dot("forward", AXIS, y, DOT)


def _forward(edge: Edge, layout: Layout) -> list[Point]:
    if edge.source in layout.forks and edge.target in layout.boxes:
        y, lane = layout.forks[edge.source], layout.boxes[edge.target]
        return [(AXIS, y), (INTO_LANES, y), (INTO_LANES, lane.middle), (lane.x, lane.middle)]
    if edge.target in layout.joins and edge.source in layout.boxes:
        y, lane = layout.joins[edge.target], layout.boxes[edge.source]
        return [(lane.right, lane.middle), (OUT_OF_LANES, lane.middle), (OUT_OF_LANES, y), (AXIS + DOT, y)]
    return [(AXIS, _bottom(edge.source, layout)), (AXIS, _top(edge.target, layout))]


def _bottom(id_: str, layout: Layout) -> float:
    if id_ in layout.boxes:
        return layout.boxes[id_].bottom
    return DOT + (layout.forks | layout.joins | {START: layout.start})[id_]


def _top(id_: str, layout: Layout) -> float:
    if id_ in layout.boxes:
        return layout.boxes[id_].y
    return (layout.forks | {DONE: layout.done - 2})[id_] - DOT


def _backward(edge: Edge, layout: Layout) -> list[Point]:
    later, earlier = layout.boxes[edge.source], layout.boxes[edge.target]
    return [(later.center, later.y), (earlier.center, earlier.bottom)]


def _across(edge: Edge, layout: Layout) -> list[Point]:
    action, undo = layout.boxes[edge.source], layout.boxes[edge.target]
    return [(action.right, action.y + ACROSS), (undo.x, undo.y + ACROSS)]
