"""The lines of the SVG: down the axis, round the lanes, across to the undo of a step, and up again."""

from sagas.graph.canvas import Canvas, Point
from sagas.graph.places import AXIS, INTO_LANES, OUT_OF_LANES, Places
from sagas.graph.reached import DONE, START
from sagas.graph.routes import Edge, EdgeKind, Routes

DOT = 5.0
ACROSS = 11.0  # above the middle, where the path out of a lane begins
THIN, THICK = 1.5, 2.5


def draw_ways(canvas: Canvas, routes: Routes, places: Places) -> None:
    for edge in sorted(routes.edges, key=lambda edge: bool(edge.taken)):  # paths that were taken are drawn on top
        stroke = THICK if edge.taken else THIN
        colour = "forward" if edge.kind is EdgeKind.FORWARD else "backward"
        if edge.taken is False:
            colour = "untaken"
        match edge.kind:
            case EdgeKind.FORWARD:
                canvas.way(colour, _forward(edge, places), width=stroke)
            case EdgeKind.BACKWARD:
                canvas.way(colour, _backward(edge, places), width=stroke, dash=None if edge.taken else "6 4")
            case EdgeKind.UNDOES:
                canvas.way(colour, _across(edge, places), width=stroke, dash="2 4", head=False)
    for y in (*places.forks.values(), *places.joins.values()):
        canvas.dot("forward", AXIS, y, DOT)


def _forward(edge: Edge, places: Places) -> list[Point]:
    if edge.source in places.forks and edge.target in places.boxes:
        y, lane = places.forks[edge.source], places.boxes[edge.target]
        return [(AXIS, y), (INTO_LANES, y), (INTO_LANES, lane.middle), (lane.x, lane.middle)]
    if edge.target in places.joins and edge.source in places.boxes:
        y, lane = places.joins[edge.target], places.boxes[edge.source]
        return [(lane.right, lane.middle), (OUT_OF_LANES, lane.middle), (OUT_OF_LANES, y), (AXIS + DOT, y)]
    return [(AXIS, _bottom(edge.source, places)), (AXIS, _top(edge.target, places))]


def _bottom(id_: str, places: Places) -> float:
    if id_ in places.boxes:
        return places.boxes[id_].bottom
    return DOT + (places.forks | places.joins | {START: places.start})[id_]


def _top(id_: str, places: Places) -> float:
    if id_ in places.boxes:
        return places.boxes[id_].y
    return (places.forks | {DONE: places.done - 2})[id_] - DOT


def _backward(edge: Edge, places: Places) -> list[Point]:
    later, earlier = places.boxes[edge.source], places.boxes[edge.target]
    return [(later.center, later.y), (earlier.center, earlier.bottom)]


def _across(edge: Edge, places: Places) -> list[Point]:
    action, undo = places.boxes[edge.source], places.boxes[edge.target]
    return [(action.right, action.y + ACROSS), (undo.x, undo.y + ACROSS)]
