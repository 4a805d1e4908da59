"""A choreography as a self-contained SVG file: events, the handlers that hear them, and their undos, side by side."""

from sagas.graph.canvas import Canvas
from sagas.graph.choreography.layout import AnyNode, Layout, lines, place, room, texts
from sagas.graph.choreography.shape import EventNode, HandlerNode, Shape, UndoNode, shape_of
from sagas.graph.layout import LINE_HEIGHT, MARGIN, PADDING, SMALL, TITLE, Box
from sagas.graph.lines import ACROSS, THIN
from sagas.graph.svg import HEADING
from sagas.graph.text_width import fit, fit_name
from sagas.handle import Snapshot
from sagas.model.choreography import ChoreographyPlan

TOP = 88.0


def svg(plan: ChoreographyPlan, snapshot: Snapshot | None = None) -> str:
    """Draw a choreography as an SVG document; with a snapshot of a run, how its deliveries went.

    It has no scripts, no links and no external fonts, and follows the reader's light or dark theme.
    """
    shape = shape_of(plan, snapshot)
    heading = [f"{shape.status.value}, {shape.subtitle}"] if shape.status else []
    heading += [f"because of {shape.because}"] if shape.because else []
    top = TOP + LINE_HEIGHT * len(heading)
    layout = place(shape, top)
    canvas = Canvas(layout.width, layout.height, shape.title, description(shape))
    room_ = layout.width - 2 * MARGIN
    canvas.text("strong", MARGIN, 36, fit_name(shape.title, room_, HEADING), size=HEADING, bold=True)
    for number, line in enumerate(heading):
        canvas.text(
            "alarm" if number else "muted", MARGIN, 56 + LINE_HEIGHT * number, fit(line, room_, SMALL), size=SMALL
        )
    _draw_columns(canvas, shape, layout, top - 20)
    _draw_lines(canvas, shape, layout)
    for event in shape.events:
        _draw(canvas, event, event.paint, layout.boxes[event.id], shape, round=24)
    for handler in shape.handlers:
        _draw(canvas, handler, handler.status or "plain", layout.boxes[handler.id], shape, round=6)
        if handler.undo:
            paint = handler.undo.status or "undo"
            _draw(canvas, handler.undo, paint, layout.boxes[handler.undo.id], shape, round=14)
    return canvas.document()


def description(shape: Shape) -> str:
    """Describe the picture for those who cannot see it."""
    names = {event.id: event.name for event in shape.events}
    sentences = [f"Choreography {shape.title}{f' is {shape.status.value}' if shape.status else ''}."]
    sentences += [f"Because of {shape.because}."] if shape.because else []
    sentences += [f"Event {_described(event, shape)}." for event in shape.events]
    for handler in shape.handlers:
        parts = [f"{_described(handler, shape)} hears {', '.join(names[id_] for id_ in handler.hears)}"]
        if handler.publishes:
            parts.append(f"may publish {', '.join(names[id_] for id_ in handler.publishes)}")
        if handler.undo:
            parts.append(f"is undone by {_described(handler.undo, shape)}")
        sentences.append(f"Handler {', '.join(parts)}.")
    return "\n".join(sentences)


def _described(node: EventNode | HandlerNode | UndoNode, shape: Shape) -> str:
    facts = [text for text, _ in texts(node, shape)]
    return node.name + (f" ({', '.join(facts)})" if facts else "")


def _draw_columns(canvas: Canvas, shape: Shape, layout: Layout, y: float) -> None:
    canvas.text("muted", MARGIN, y, "events", size=SMALL)
    if shape.handlers:
        canvas.text("muted", layout.handler_x, y, "handlers: hear →, publish ←", size=SMALL)
    if any(handler.undo for handler in shape.handlers):
        canvas.text("muted", layout.undo_x, y, "undos", size=SMALL)


def _draw_lines(canvas: Canvas, shape: Shape, layout: Layout) -> None:
    for bundle, ways in layout.ways:
        for way in ways:
            canvas.way("published" if bundle.is_published else "forward", way, width=THIN)
    for handler in shape.handlers:
        if handler.undo:
            action, undo = layout.boxes[handler.id], layout.boxes[handler.undo.id]
            across = [(action.right, action.y + ACROSS), (undo.x, undo.y + ACROSS)]
            canvas.way("backward", across, width=THIN, dash="2 4", head=False)


def _draw(canvas: Canvas, node: AnyNode, paint: str, box: Box, shape: Shape, *, round: float) -> None:
    canvas.group(_described(node, shape))
    canvas.box(paint, box, round=round)
    y = box.y + PADDING + 13
    canvas.text(paint, box.x + 14, y, fit_name(node.name, room(node), TITLE), size=TITLE, bold=True)
    for line, colour in lines(node, shape):
        y += LINE_HEIGHT
        canvas.text(colour, box.x + 14, y, line, size=SMALL)
