"""A choreography as a Mermaid flowchart: events as stadiums, handlers as boxes, undos beside them."""

from collections.abc import Iterator

from sagas.graph.choreography.shape import HandlerNode, Shape, shape_of
from sagas.graph.mermaid import classes, label
from sagas.graph.palette import SURFACES
from sagas.handle import Snapshot
from sagas.model.choreography import ChoreographyPlan

HEARS, PUBLISHES, UNDOES, UNDONE_BY = "-->", "==>", "-.-", "-.->"


def mermaid(plan: ChoreographyPlan, snapshot: Snapshot | None = None) -> str:
    """Draw a choreography as a Mermaid flowchart; with a snapshot of a run, how its deliveries went.

    Whatever the names of events and tasks are, none of it is read as Mermaid, Markdown or HTML.
    """
    return "\n".join(_chart(shape_of(plan, snapshot))) + "\n"


def _chart(shape: Shape) -> Iterator[str]:
    boxes, edges = list(_boxes(shape)), list(_edges(shape))
    yield "flowchart TD"
    yield from (f"  {line}" for line in boxes)
    yield from (f"  {source} {arrow} {target}" for source, arrow, target in edges)
    backward = [str(place) for place, (_, arrow, _) in enumerate(edges) if arrow in (UNDOES, UNDONE_BY)]
    if backward:
        yield f"  linkStyle {','.join(backward)} stroke:{SURFACES['backward'][0]}"
    yield from (f"  {line}" for line in classes(boxes))


def _boxes(shape: Shape) -> Iterator[str]:
    because = shape.because and f"because of {shape.because}"
    yield f"title({label(shape.title, shape.subtitle, shape.status, because)}):::{shape.status or 'plain'}"
    for event in shape.events:
        yield f"{event.id}([{label(event.name, ', '.join(event.traits))}]):::{event.paint}"
    for handler in shape.handlers:
        text = label(handler.name, handler.does, ", ".join(handler.traits), ", ".join(handler.facts), handler.error)
        yield f"{handler.id}[{text}]:::{handler.status or 'plain'}"
        if undo := handler.undo:
            text = label(undo.name, ", ".join(undo.traits), ", ".join(undo.facts))
            yield f"{undo.id}({text}):::{undo.status or 'undo'}"


def _edges(shape: Shape) -> Iterator[tuple[str, str, str]]:
    yield "title", HEARS, shape.events[0].id
    for event in shape.events:
        for handler in shape.handlers:
            if event.id in handler.hears:
                yield event.id, HEARS, handler.id
    for handler in shape.handlers:
        yield from ((handler.id, PUBLISHES, type_) for type_ in handler.publishes)
        yield from _undo(handler)


def _undo(handler: HandlerNode) -> Iterator[tuple[str, str, str]]:
    if handler.undo is None:
        return
    yield handler.id, UNDOES, handler.undo.id
    yield from ((type_, UNDONE_BY, handler.undo.id) for type_ in handler.undo.when)
    yield from ((handler.undo.id, PUBLISHES, type_) for type_ in handler.undo.publishes)
