"""Where everything is in the SVG."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas.graph.layout import WIDTH, Box, Layout, place
from sagas.graph.routes import routes_of
from sagas.graph.shape import shape_of
from sagas.model import Plan
from tests.unit.graph.samples import everything, named, order, plan, step, trip, wide

TOP = 100.0


def layout(drawn: Plan) -> Layout:
    shape = shape_of(drawn)
    return place(shape, routes_of(drawn, shape), TOP)


def overlap(one: Box, other: Box) -> bool:
    return one.x < other.right and other.x < one.right and one.y < other.bottom and other.y < one.bottom


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    steps = []
    for position in range(draw(st.integers(1, 4))):
        lanes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
        beside = [lane for lane, length in enumerate(lanes) for _ in range(length)]
        for branch, lane in enumerate(beside):
            undo = draw(st.sampled_from(["tasks.undo", None]))
            drawn = step(position, f"s{position}_{branch}", branch=branch, lane=lane, compensation=undo)
            steps.append(drawn)
    return plan(*steps, undo_at_once=draw(st.booleans()))


@given(plans())
def test_no_box_covers_another_and_all_are_on_the_page(drawn: Plan) -> None:
    found = layout(drawn)

    boxes = [box for id_, box in found.boxes.items() if not id_.startswith("u")]
    assert len(boxes) >= len(drawn.steps)
    assert not [pair for pair in combinations(boxes, 2) if overlap(*pair)]
    for box in (*found.boxes.values(), *found.lanes):
        assert (box.x >= 0, box.right <= WIDTH, box.y >= TOP, box.bottom <= found.height) == (True,) * 4


@given(plans())
def test_groups_surround_their_own_and_no_other_box(drawn: Plan) -> None:
    found = layout(drawn)
    shape = shape_of(drawn)
    for group in routes_of(drawn, shape).groups:
        around = found.boxes[group.id]
        inside = {id_ for id_, box in found.boxes.items() if id_ != group.id and overlap(around, box)}
        assert inside == set(group.members)


@given(plans())
def test_everything_comes_one_below_the_other(drawn: Plan) -> None:
    found = layout(drawn)

    rows = [found.boxes[node.id] for node in shape_of(drawn).nodes]
    assert all(later.y > earlier.bottom for earlier, later in pairwise(rows))
    dots = [found.start, *(y for pair in zip(found.forks.values(), found.joins.values(), strict=True) for y in pair)]
    assert [*dots, found.done] == sorted([*dots, found.done])


def test_a_compensation_is_beside_its_step() -> None:
    found = layout(everything())

    for node in shape_of(everything()).nodes:
        if node.undo:
            assert found.boxes[node.undo.id].y == found.boxes[node.id].y
            assert found.boxes[node.undo.id].x > found.boxes[node.id].right


def test_the_point_of_no_return_is_between_the_pivot_and_what_follows() -> None:
    found = layout(order())

    assert found.no_return is not None
    assert found.boxes["s2_0"].bottom < found.no_return < found.boxes["s3_0"].y
    assert layout(trip()).no_return is None


def test_fifty_lanes_are_stacked_in_the_same_width() -> None:
    found = layout(wide(50))

    assert len({found.boxes[f"s1_{lane}"].y for lane in range(50)}) == 50
    assert {found.boxes[f"s1_{lane}"].x for lane in range(50)} == {found.boxes["s0_0"].x}
    assert found.height < 50 * 80


@pytest.mark.parametrize("name", ["M" * 500, "漢字 " * 200])
def test_long_texts_make_no_tall_boxes(name: str) -> None:
    assert max(box.height for id_, box in layout(named(name)).boxes.items() if id_.startswith("s")) < 200
