"""The layout of a choreography's SVG: events on the left, what hears each beside it, undos on the right."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sagas.graph.canvas import Point
from sagas.graph.choreography.shape import EventNode, HandlerNode, Shape, UndoNode
from sagas.graph.layout import GAP, LINE_HEIGHT, MARGIN, PADDING, SMALL, TITLE_HEIGHT, Box
from sagas.graph.text_width import wrap

EVENT_X, EVENT_WIDTH = MARGIN, 232
HANDLER_WIDTH, UNDO_WIDTH = 264, 248
BETWEEN = 44.0
#: Lines between the columns: the distance of two, and from the boxes.
TRACK, BESIDE_TRACKS = 11.0, 20.0
#: Where lines leave and reach a box, from its middle: what is heard above, what is published below.
HEARD, PUBLISHED = -6.0, 8.0

AnyNode = EventNode | HandlerNode | UndoNode


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """Lines of one box to several others, down or up one track."""

    source: str
    targets: tuple[str, ...]
    offset: float
    is_published: bool


@dataclass(kw_only=True, slots=True)
class Layout:
    boxes: dict[str, Box] = field(default_factory=dict)
    ways: list[tuple[Bundle, list[list[Point]]]] = field(default_factory=list)
    handler_x: float = 0.0
    undo_x: float = 0.0
    width: float = 0.0
    height: float = 0.0


def room(node: AnyNode) -> float:
    widths = {EventNode: EVENT_WIDTH, HandlerNode: HANDLER_WIDTH, UndoNode: UNDO_WIDTH}
    return widths[type(node)] - 28.0


def texts(node: AnyNode, shape: Shape) -> list[tuple[str, str]]:
    """Return the texts under the name of a box, each with the name of its colour."""
    what = [", ".join(node.traits)]
    if isinstance(node, HandlerNode):
        what = [node.does or "", *what]
    if isinstance(node, UndoNode):
        names = {event.id: event.name for event in shape.events}
        what = [f"when {', '.join(names[id_] for id_ in node.when)}" if node.when else "when a run turns back", *what]
        what += [f"publishes {', '.join(names[id_] for id_ in node.publishes)}"] if node.publishes else []
    coloured = [(text, "muted") for text in what]
    if not isinstance(node, EventNode):
        coloured.append((", ".join(node.facts), "strong"))
    if isinstance(node, HandlerNode):
        coloured.append((node.error or "", "alarm"))
    return [(text, colour) for text, colour in coloured if text]


def lines(node: AnyNode, shape: Shape) -> list[tuple[str, str]]:
    """Return the texts as they are drawn: cut to the room there is."""
    return [(line, colour) for text, colour in texts(node, shape) for line in wrap(text, room(node), SMALL, 2)]


def place(shape: Shape, top: float) -> Layout:
    """Put everything in its place: a row for each event, with what hears it first."""
    heights = _heights(shape)
    tops = dict(_tops(shape, heights, top))
    bundles = list(_bundles(shape))
    middles = {id_: y + heights[id_] / 2 for id_, y in tops.items()}
    tracks = _tracks(bundles, middles)
    layout = Layout()
    layout.handler_x = EVENT_X + EVENT_WIDTH + 2 * BESIDE_TRACKS + TRACK * max(tracks, default=0)
    layout.undo_x = layout.handler_x + HANDLER_WIDTH + BETWEEN
    for event in shape.events:
        layout.boxes[event.id] = Box(x=EVENT_X, y=tops[event.id], width=EVENT_WIDTH, height=heights[event.id])
    for handler in shape.handlers:
        x, y = layout.handler_x, tops[handler.id]
        layout.boxes[handler.id] = Box(x=x, y=y, width=HANDLER_WIDTH, height=heights[handler.id])
        if handler.undo:
            undo = Box(x=layout.undo_x, y=y, width=UNDO_WIDTH, height=heights[handler.undo.id])
            layout.boxes[handler.undo.id] = undo
    has_undo = any(handler.undo for handler in shape.handlers)
    layout.width = (layout.undo_x + UNDO_WIDTH if has_undo else layout.handler_x + HANDLER_WIDTH) + MARGIN
    layout.height = max(box.bottom for box in layout.boxes.values()) + MARGIN
    for bundle, track in zip(bundles, tracks, strict=True):
        x = EVENT_X + EVENT_WIDTH + BESIDE_TRACKS + TRACK * track
        layout.ways.append((bundle, [_way(bundle, target, x, layout.boxes) for target in bundle.targets]))
    return layout


def _heights(shape: Shape) -> dict[str, float]:
    nodes: list[AnyNode] = [*shape.events, *shape.handlers, *(one.undo for one in shape.handlers if one.undo)]
    return {node.id: 2 * PADDING + TITLE_HEIGHT + LINE_HEIGHT * len(lines(node, shape)) for node in nodes}


def _tops(shape: Shape, heights: dict[str, float], top: float) -> Iterator[tuple[str, float]]:
    y = top
    for event, beside in shape.rows():
        yield event.id, y
        end, below = y + heights[event.id], y
        for handler in beside:
            yield handler.id, below
            below += max(heights[handler.id], heights[handler.undo.id] if handler.undo else 0.0) + GAP / 2
        y = max(end, below - GAP / 2 if beside else end) + GAP


def _bundles(shape: Shape) -> Iterator[Bundle]:
    for event in shape.events:
        hearers = tuple(handler.id for handler in shape.handlers if event.id in handler.hears)
        if hearers:
            yield Bundle(source=event.id, targets=hearers, offset=HEARD, is_published=False)
    for handler in shape.handlers:
        if handler.publishes:
            yield Bundle(source=handler.id, targets=handler.publishes, offset=PUBLISHED, is_published=True)


def _tracks(bundles: Sequence[Bundle], middles: dict[str, float]) -> list[int]:
    """Return a track for each bundle, so that no two on one track meet; the shortest are nearest to the events."""
    spans = [
        (min(ends), max(ends)) for one in bundles for ends in [[middles[id_] for id_ in (one.source, *one.targets)]]
    ]
    taken: list[list[tuple[float, float]]] = []
    tracks = [0] * len(bundles)
    for place_ in sorted(range(len(bundles)), key=lambda one: spans[one][1] - spans[one][0]):
        low, high = spans[place_][0] - 2 * PUBLISHED, spans[place_][1] + 2 * PUBLISHED
        track = next(
            (number for number, known in enumerate(taken) if all(high < a or b < low for a, b in known)), len(taken)
        )
        if track == len(taken):
            taken.append([])
        taken[track].append((low, high))
        tracks[place_] = track
    return tracks


def _way(bundle: Bundle, target: str, x: float, boxes: dict[str, Box]) -> list[Point]:
    source, end = boxes[bundle.source], boxes[target]
    from_y, to_y = source.middle + bundle.offset, end.middle + bundle.offset
    if bundle.is_published:
        return [(source.x, from_y), (x, from_y), (x, to_y), (end.right, to_y)]
    return [(source.right, from_y), (x, from_y), (x, to_y), (end.x, to_y)]
