"""A saga as a self-contained SVG file: forward on the left, undone on the right, one row per step."""

from sagas.graph.canvas import Canvas
from sagas.graph.layout import (
    AXIS,
    LINE_HEIGHT,
    MARGIN,
    PADDING,
    SMALL,
    TITLE,
    UNDO_WIDTH,
    UNDO_X,
    WIDTH,
    Box,
    Layout,
    badge_width,
    lines,
    place,
    texts,
    title,
)
from sagas.graph.lines import draw_lines
from sagas.graph.routes import NO_RETURN, Routes, routes_of
from sagas.graph.shape import Node, Shape, Undo, shape_of
from sagas.graph.text_width import fit, fit_name, width, wrap
from sagas.handle import Snapshot
from sagas.model import Plan, SagaStatus, StepKind, StepRole, StepStatus

HEADING = 18.0
BADGE = 11.0


def svg(plan: Plan, snapshot: Snapshot | None = None) -> str:
    """Draw a plan as an SVG document; with a snapshot of an instance, the path it took.

    It has no scripts, no links and no external fonts, and follows the reader's light or dark theme.
    """
    shape = shape_of(plan, snapshot)
    routes = routes_of(plan, shape)
    because = wrap(f"because of {shape.because}", WIDTH - 2 * MARGIN, SMALL, 3) if shape.because else []
    heading = 44 + (20 if shape.subtitle else 0) + 17 * len(because)
    layout = place(shape, routes, heading + 40)
    canvas = Canvas(WIDTH, layout.height, shape.title, description(shape))
    _draw_heading(canvas, shape, because)
    _draw_columns(canvas, shape, heading + 16)
    _draw_grounds(canvas, routes, layout)
    draw_lines(canvas, routes, layout)
    _draw_ends(canvas, shape, layout)
    _draw_no_return(canvas, layout)
    for node in shape.nodes:
        _draw_action(canvas, node, layout.boxes[node.id])
        if node.undo:
            _draw_undo(canvas, node.undo, layout.boxes[node.undo.id], looked=shape.status is not None)
    return canvas.document()


def description(shape: Shape) -> str:
    """Describe the picture for those who cannot see it."""
    sentences = [f"Saga {shape.title}{f' is {shape.status.value}' if shape.status else ''}."]
    if shape.because:
        sentences.append(f"Because of {shape.because}.")
    for node in shape.nodes:
        undone = f", undone by {_described(node.undo)}" if node.undo else ""
        sentences.append(f"{node.row + 1}. {_described(node)}{undone}.")
    return "\n".join(sentences)


def _described(box: Node | Undo) -> str:
    facts = [box.status.value] if box.status else []
    facts += [text for text, _ in texts(box)]
    return box.name + (f" ({', '.join(facts)})" if facts else "")


def _draw_heading(canvas: Canvas, shape: Shape, because: list[str]) -> None:
    title = fit_name(shape.title, WIDTH - 2 * MARGIN - 120, HEADING)
    canvas.text("strong", MARGIN, 36, title, size=HEADING, bold=True)
    if shape.status:
        _draw_badge(canvas, shape.status, MARGIN + width(title, HEADING, bold=True) + 14, 22)
    y = 36.0
    if shape.subtitle:
        y += 20
        canvas.text("muted", MARGIN, y, fit(shape.subtitle, WIDTH - 2 * MARGIN, SMALL), size=SMALL)
    for line in because:
        y += 17
        canvas.text("alarm", MARGIN, y, line, size=SMALL)


def _draw_columns(canvas: Canvas, shape: Shape, y: float) -> None:
    canvas.text("muted", AXIS, y, "forward ↓", size=SMALL, anchor="middle")
    if any(node.undo for node in shape.nodes):
        canvas.text("muted", UNDO_X + UNDO_WIDTH / 2, y, "undone ↑", size=SMALL, anchor="middle")


def _draw_grounds(canvas: Canvas, routes: Routes, layout: Layout) -> None:
    for box in layout.lanes:
        canvas.ground(box)
    for group in routes.groups:
        box = layout.boxes[group.id]
        canvas.ground(box)
        canvas.text("muted", box.center, box.y + 17, group.label, size=SMALL, anchor="middle")


def _draw_no_return(canvas: Canvas, layout: Layout) -> None:
    if layout.no_return is not None:
        ends = [(MARGIN, layout.no_return), (WIDTH - MARGIN, layout.no_return)]
        canvas.way("no-return", ends, width=2, dash="10 5", head=False)
        canvas.text("no-return", WIDTH - MARGIN, layout.no_return - 7, NO_RETURN, size=SMALL, bold=True, anchor="end")


def _draw_ends(canvas: Canvas, shape: Shape, layout: Layout) -> None:
    canvas.dot("forward", AXIS, layout.start, 6)
    canvas.ring("forward", AXIS, layout.done, 7)
    if shape.status is SagaStatus.COMPLETED:
        canvas.dot("forward", AXIS, layout.done, 4)


def _draw_action(canvas: Canvas, node: Node, box: Box) -> None:
    pivot = node.kind is StepKind.PIVOT
    waits = node.role in (StepRole.SLEEP, StepRole.WAIT)
    paint = node.status or ("pivot" if pivot else "plain")
    canvas.group(_described(node))
    canvas.box(
        paint,
        box,
        round=24 if waits else 6,
        stroke=3 if pivot else 1.5,
        dashed=node.status is StepStatus.SKIPPED,
    )
    if node.role is StepRole.CHILD:
        inner = Box(x=box.x + 4, y=box.y + 4, width=box.width - 8, height=box.height - 8)
        canvas.box(paint, inner, round=3, stroke=1)
    _write(canvas, node, box, node.status or "strong")


def _draw_undo(canvas: Canvas, undo: Undo, box: Box, *, looked: bool) -> None:
    unused = looked and undo.status is None
    canvas.group(_described(undo))
    canvas.box(undo.status or ("skipped" if unused else "undo"), box, round=14, dashed=unused)
    _write(canvas, undo, box, "skipped" if unused else undo.status or "strong")


def _write(canvas: Canvas, what: Node | Undo, box: Box, ink: str) -> None:
    left = box.x + 14
    y = box.y + PADDING + 13
    canvas.text(ink, left, y, title(what), size=TITLE, bold=True)
    if what.status:
        _draw_badge(canvas, what.status, box.right - 8 - badge_width(what), box.y + PADDING - 1)
    for line, colour in lines(what):
        y += LINE_HEIGHT
        canvas.text(colour, left, y, line, size=SMALL)


def _draw_badge(canvas: Canvas, status: SagaStatus | StepStatus, x: float, y: float) -> None:
    box = Box(x=x, y=y, width=width(status.value, BADGE) + 16, height=18)
    canvas.box(status.value, box, round=9, stroke=1)
    canvas.text(status.value, box.center, y + 13, status.value, size=BADGE, anchor="middle")
