"""A choreography is drawn whole, in an order that can be read, whatever its events and handlers are called."""

import re
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from hypothesis import given

from sagas import ConfigurationError, InstanceNotFound
from sagas.cli import sagas as group
from sagas.cli.commands import saga_or_handle
from sagas.graph.choreography import mermaid, svg
from sagas.graph.choreography.layout import TRACK, place
from sagas.graph.choreography.shape import shape_of
from sagas.model.choreography import ChoreographyPlan, EventPlan
from tests.unit.choreography.fulfilment import bound, fulfilment
from tests.unit.graph.samples import HOSTILE
from tests.unit.graph.test_mermaid import TEXT
from tests.unit.model.choreography.graphs import graph, graphs, handler

PLAN = fulfilment.plan(bound("drawn").engine)
SVG = "{http://www.w3.org/2000/svg}"
ID = r"(?:title|[ehu]\d+)"
LINES = [
    r"flowchart TD",
    rf"{ID}(?:\[{TEXT}\]|\(\[{TEXT}\]\)|\({TEXT}\)):::[a-z]+",
    rf"{ID} (?:-->|==>|-\.-|-\.->) {ID}",
    r"linkStyle \d+(?:,\d+)* stroke:#[0-9a-f]{6}",
    r"classDef [a-z]+ [a-z:#0-9,-]+",
]
GRAMMAR = re.compile("|".join(f"(?:{line})" for line in LINES))


def chart(of: ChoreographyPlan) -> list[str]:
    """The lines of a chart, each of which fits the grammar."""
    lines = [line.strip() for line in mermaid(of).splitlines()]
    assert [line for line in lines if not GRAMMAR.fullmatch(line)] == []
    return lines


def edges(of: ChoreographyPlan) -> set[str]:
    return {line for line in chart(of) if re.fullmatch(rf"{ID} \S+ {ID}", line)}


def test_events_stand_in_the_order_in_which_they_can_come_and_handlers_beside_what_they_hear() -> None:
    shape = shape_of(PLAN)

    assert [event.name for event in shape.events] == [
        "OrderCreated", "StockReserved", "StockRefused", "PaymentCharged", "PaymentDeclined", "PaymentConfirmed",
        "ShipmentCreated", "OrderCancelled",
    ]  # fmt: skip
    assert [handler.name for handler in shape.handlers] == [
        "reserve_stock",
        "charge_payment",
        "tell",
        "create_shipment",
    ]
    assert [(event.name, [one.name for one in beside]) for event, beside in shape.rows() if beside] == [
        ("OrderCreated", ["reserve_stock"]),
        ("StockReserved", ["charge_payment"]),
        ("PaymentCharged", ["tell"]),
        ("PaymentConfirmed", ["create_shipment"]),
    ]


def test_the_chart_has_every_way_of_an_event() -> None:
    drawn_ = edges(
        graph(
            handler("act", "A", publishes=("B", "C"), undo="tasks.undo", undo_when=("C",), undo_publishes=("D",)),
            handler("look", ("B", "D")),
            ends=("B",),
        )
    )

    assert drawn_ == {
        "title --> e0",
        "e0 --> h0",  # A is heard by act
        "h0 ==> e1",  # which publishes B
        "h0 ==> e2",  # or C
        "h0 -.- u0",
        "e2 -.-> u0",  # C undoes it
        "u0 ==> e3",  # which publishes D
        "e1 --> h1",
        "e3 --> h1",
    }


@given(graphs())
def test_every_graph_is_drawn_with_a_box_for_each_event_handler_and_undo(of: ChoreographyPlan) -> None:
    undos = sum(handler.is_undoable for handler in of.handlers)
    lines = chart(of)
    root = ElementTree.fromstring(svg(of))

    assert sum(":::" in line for line in lines) == 1 + len(of.events) + len(of.handlers) + undos
    assert len(root.findall(f"{SVG}g")) == len(of.events) + len(of.handlers) + undos
    for described in of.handlers:
        drawn_ = edges(of)
        assert sum(line.endswith(f" --> h{described.place}") for line in drawn_) == len(described.hears)


@given(graphs())
def test_no_two_boxes_overlap_and_no_two_lines_run_on_one_track(of: ChoreographyPlan) -> None:
    layout = place(shape_of(of), 88.0)
    boxes = list(layout.boxes.values())

    for number, one in enumerate(boxes):
        assert one.x >= 0
        assert one.right <= layout.width
        assert one.bottom <= layout.height
        for other in boxes[:number]:
            assert one.right <= other.x or other.right <= one.x or one.bottom <= other.y or other.bottom <= one.y
    upright = []
    for bundle, ways in layout.ways:
        heights = [y for way in ways for _, y in way[1:3]]
        upright.append((ways[0][1][0], min(heights), max(heights), bundle.source))
    for number, (x, low, high, source) in enumerate(upright):
        for other_x, other_low, other_high, other_source in upright[:number]:
            meet = abs(x - other_x) < TRACK and low < other_high and other_low < high
            assert not meet or source == other_source


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_breaks_out_of_the_picture(name: str) -> None:
    named = name or " "
    of = graph(
        handler(named, named, publishes=(f"{named}!",), undo=named, undo_when=(f"{named}?",), queue=named),
        starts=named,
        ends=(f"{named}!",),
        events=tuple(EventPlan(type=type_, version=2) for type_ in sorted([named, f"{named}!", f"{named}?"])),
    )

    chart(of)
    root = ElementTree.fromstring(svg(of))
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        "svg", "title", "desc", "style", "rect", "g", "text", "path", "circle",
    }  # fmt: skip


def test_the_description_says_what_the_picture_shows() -> None:
    described = ElementTree.fromstring(svg(PLAN)).findtext(f"{SVG}desc")

    assert described is not None
    assert described.startswith("Choreography fulfilling v3.\nEvent OrderCreated (version 2, starts a run).")
    assert (
        "Handler reserve_stock (queue stock) hears OrderCreated, may publish StockReserved, StockRefused, is undone by "
        "release_stock (when PaymentDeclined, OrderCancelled, given up after 10 min)."
    ) in described


def test_a_choreography_is_drawn_by_sagas_and_by_its_name() -> None:
    sagas = bound("drawing")
    assert sagas.graph(fulfilment) == mermaid(fulfilment.plan(sagas.engine))
    assert sagas.graph(fulfilment, format="svg") == svg(fulfilment.plan(sagas.engine))

    for options, draw in (((), mermaid), (("--svg",), svg)):
        done = CliRunner().invoke(group, ["graph", "fulfilling", *options], obj=SimpleNamespace(app=sagas.app))
        assert done.output == draw(fulfilment.plan(sagas.engine))


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    found = bound("asking")
    with pytest.raises(InstanceNotFound, match=r"its sagas: .*; its choreographies: .*fulfilling"):
        saga_or_handle(found, found.engine.store.instances, "fulfillment")
    with pytest.raises(ConfigurationError, match="pass a Saga, a Choreography, or the handle of an instance"):
        found.graph("fulfilling")  # type: ignore[arg-type]
