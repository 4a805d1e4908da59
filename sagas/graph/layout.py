"""The layout of the SVG: one row per step, lanes stacked; the undo of a step is on its right."""

from dataclasses import dataclass, field

from sagas.graph.routes import Group, Routes, has_pivot
from sagas.graph.shape import Node, Shape, Undo, lanes
from sagas.graph.taken_path import fork, join
from sagas.graph.text_width import fit_name, width, wrap

WIDTH, MARGIN = 784, 24
ACTION_X, ACTION_WIDTH = 64, 312
UNDO_X, UNDO_WIDTH = 464, 280
#: The paths into and out of the lanes run beside the actions.
INTO_LANES, OUT_OF_LANES = 42, 398
TITLE, SMALL = 14.0, 12.0
GAP, LANE_GAP, NO_RETURN_GAP = 28.0, 16.0, 58.0
FORK = 50.0
PADDING, TITLE_HEIGHT, LINE_HEIGHT = 9.0, 18.0, 16.0
GROUP_PADDING, GROUP_HEADING = 14.0, 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    x: float
    y: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def center(self) -> float:
        return self.x + self.width / 2

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


AXIS = ACTION_X + ACTION_WIDTH / 2


@dataclass(kw_only=True, slots=True)
class Layout:
    """Boxes by id; forks, joins, start and end are on the actions' axis."""

    boxes: dict[str, Box] = field(default_factory=dict)
    forks: dict[str, float] = field(default_factory=dict)
    joins: dict[str, float] = field(default_factory=dict)
    lanes: list[Box] = field(default_factory=list)  # the box around the lanes of each position
    start: float = 0.0
    done: float = 0.0
    no_return: float | None = None
    height: float = 0.0


def badge_width(box: Node | Undo) -> float:
    return width(box.status.value, 11.0) + 16 if box.status else 0.0


def room(box: Node | Undo) -> float:
    return (ACTION_WIDTH if isinstance(box, Node) else UNDO_WIDTH) - 28


def title(box: Node | Undo) -> str:
    return fit_name(box.name, room(box) - badge_width(box), TITLE)


def texts(box: Node | Undo) -> list[tuple[str, str]]:
    """Return the texts under the title, each with the name of its colour."""
    what = [", ".join(box.traits)]
    if isinstance(box, Node):
        what = [box.condition or "", box.does or "", *what]
    coloured = [(text, "muted") for text in what] + [(", ".join(box.facts), "strong"), (box.error or "", "alarm")]
    return [(text, colour) for text, colour in coloured if text]


def lines(box: Node | Undo) -> list[tuple[str, str]]:
    """Return the texts as they are drawn: cut to the room there is."""
    return [(line, colour) for text, colour in texts(box) for line in wrap(text, room(box), SMALL, 2)]


def place(shape: Shape, routes: Routes, top: float) -> Layout:
    """Put everything in its place, from the top down."""
    layout = Layout(start=top)
    of_position: dict[int | None, Group] = {group.position: group for group in routes.groups}
    y = top + GAP + (GROUP_HEADING if None in of_position else 0)
    for position, beside in shape.positions():
        forked = len(lanes(beside)) > 1
        if forked:
            layout.forks[fork(position)] = y
            above = y - GROUP_PADDING
            y += FORK - GAP / 2
        for lane in lanes(beside):
            for node in lane:
                y = _row(layout, node, y) + GAP
            y += LANE_GAP - GAP
        y -= LANE_GAP
        if forked:
            y += FORK - GAP / 2
            layout.joins[join(position)] = y
            left, right = INTO_LANES - GROUP_PADDING, OUT_OF_LANES + GROUP_PADDING
            layout.lanes.append(Box(x=left, y=above, width=right - left, height=y - above + GROUP_PADDING))
        if has_pivot(beside):
            layout.no_return = y + NO_RETURN_GAP / 2
            y += NO_RETURN_GAP - GAP
        y += GAP
    layout.done = y + 6
    layout.height = layout.done + MARGIN
    layout.boxes |= {group.id: _around(group, layout) for group in routes.groups}
    return layout


def _row(layout: Layout, node: Node, y: float) -> float:
    """Place an action and its compensation side by side; return where the row ends."""
    row = [Box(x=ACTION_X, y=y, width=ACTION_WIDTH, height=_height(node))]
    layout.boxes[node.id] = row[0]
    if node.undo:
        row.append(Box(x=UNDO_X, y=y, width=UNDO_WIDTH, height=_height(node.undo)))
        layout.boxes[node.undo.id] = row[1]
    return max(box.bottom for box in row)


def _height(box: Node | Undo) -> float:
    return 2 * PADDING + TITLE_HEIGHT + LINE_HEIGHT * len(lines(box))


def _around(group: Group, layout: Layout) -> Box:
    members = [layout.boxes[member] for member in group.members]
    top, bottom = min(box.y for box in members), max(box.bottom for box in members)
    return Box(
        x=UNDO_X - GROUP_PADDING,
        y=top - GROUP_PADDING - GROUP_HEADING + 6,
        width=UNDO_WIDTH + 2 * GROUP_PADDING,
        height=bottom - top + 2 * GROUP_PADDING + GROUP_HEADING - 6,
    )
