"""How far an instance came."""

import pytest

from sagas.graph.reached import reached, undone
from sagas.graph.shape import shape_of
from sagas.model import Plan
from tests.unit.graph.samples import Look, look, order, plan, sleep, step, trip, undo


def been(seen: Look) -> set[str]:
    return reached(seen.shape)


def test_before_anything_began_the_first_step_is_dispatched() -> None:
    assert been(look(order(), "pending")) == {"start", "s0_0"}


def test_what_follows_a_completed_step_is_dispatched() -> None:
    assert been(look(order(), "running", "completed")) == {"start", "s0_0", "s1_0"}


def test_it_may_wait_for_time_without_any_attempt() -> None:
    seen = look(plan(step(0), sleep(1), step(2)), "running", "completed", "pending")

    assert been(seen) == {"start", "s0_0", "s1_0"}


def test_the_end_is_reached_by_a_completed_saga_alone() -> None:
    assert "done" in been(look(order(), "completed", *["completed"] * 4))
    assert "done" not in been(look(order(), "failed", *["completed"] * 3, "failed"))


def test_a_step_whose_condition_was_false_was_passed_by() -> None:
    drawn = plan(step(0), step(1, when="gift"), step(2))

    assert "s1_0" in been(look(drawn, "running", "completed", "skipped", "running"))
    assert "s1_0" in been(look(drawn, "completed", "completed", "skipped", "completed"))
    turned = ("compensated", undo("completed"))
    assert "s1_0" in been(look(drawn, "compensated", turned, "skipped", "failed"))


def test_a_step_that_it_turned_back_before_was_not() -> None:
    seen = look(order(), "compensated", ("compensated", undo("completed")), "failed", "skipped", "skipped")

    assert been(seen) == {"start", "s0_0", "c0_0", "s1_0"}


def test_lanes_are_reached_each_by_itself() -> None:
    seen = look(trip(), "running", "completed", "completed", "pending", "running", "pending")

    assert been(seen) == {"start", "s0_0", "fork1", "s1_0", "s1_1", "s1_2", "s1_3"}


def test_the_join_is_reached_when_all_lanes_are_done() -> None:
    all_but_one = look(trip(), "running", *["completed"] * 3, "running", "completed")
    best_effort = look(trip(), "running", *["completed"] * 4, "failed")

    assert not been(all_but_one) & {"join1", "s2_0"}
    assert {"join1", "s2_0"} <= been(best_effort)


def test_after_a_turn_nothing_new_is_dispatched() -> None:
    seen = look(trip(), "compensating", "completed", "failed", "skipped", "completed", "completed", "skipped")

    assert not been(seen) & {"s1_1", "join1", "s2_0"}


@pytest.mark.parametrize("drawn", [order(), trip(), plan(step(0))], ids=["straight", "lanes", "one step"])
def test_a_completed_saga_reached_everything_forward(drawn: Plan) -> None:
    seen = look(drawn, "completed", *["completed"] * len(drawn.steps))

    assert {node.id for node in seen.shape.nodes} | {"start", "done"} <= been(seen)


def test_the_way_back_leads_past_what_needed_no_undoing() -> None:
    drawn = plan(step(0), step(1, when="gift"), step(2), step(3))
    back = ("compensated", undo("completed"))

    seen = look(drawn, "compensated", back, "skipped", back, "failed")

    assert undone(seen.shape) == {"c0_0", "c1_0", "c2_0"}
    assert "c1_0" not in been(seen)


def test_of_a_saga_that_nobody_started_nothing_is_reached() -> None:
    assert reached(shape_of(order())) == set()
    assert undone(shape_of(order())) == set()
