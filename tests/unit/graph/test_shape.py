"""What is drawn, before it is drawn. How it looks is in the golden files."""

from dataclasses import replace

import pytest

from sagas.graph.shape import shape_of
from tests.unit.graph.samples import look, order, plan, step


def test_ids_are_made_of_numbers_whatever_a_step_is_called() -> None:
    shape = shape_of(plan(step(0, "end"), step(1, '"]', branch=0), step(1, "x", branch=1, lane=1)))

    assert [node.id for node in shape.nodes] == ["s0_0", "s1_0", "s1_1"]
    assert [node.undo.id for node in shape.nodes if node.undo] == ["c0_0", "c1_0", "c1_1"]


def test_a_look_at_another_plan_is_refused() -> None:
    seen = look(order(), "running")
    seen.plan = replace(order(), steps=order().steps[:2])

    with pytest.raises(ValueError, match="zip"):
        _ = seen.shape
