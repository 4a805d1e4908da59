"""What is drawn, before it is drawn."""

from dataclasses import replace

import pytest

from sagas.graph.shape import lanes, shape_of
from sagas.handle import StepView
from sagas.model import SagaStatus, StepStatus
from tests.unit.graph.samples import child, error, everything, look, order, plan, step, trip, undo


def test_every_step_has_a_box_in_a_row_of_its_own() -> None:
    shape = shape_of(everything())

    assert [node.name for node in shape.nodes] == [drawn.name for drawn in everything().steps]
    assert [node.row for node in shape.nodes] == list(range(len(everything().steps)))


def test_lanes_are_told_apart() -> None:
    (_, _), (_, beside), (_, _) = shape_of(trip()).positions()

    assert [[node.name for node in lane] for lane in lanes(beside)] == [["flight", "seat"], ["hotel"], ["car"]]


def test_ids_are_made_of_numbers_whatever_a_step_is_called() -> None:
    shape = shape_of(plan(step(0, "end"), step(1, '"]', branch=0), step(1, "x", branch=1, lane=1)))

    assert [node.id for node in shape.nodes] == ["s0_0", "s1_0", "s1_1"]
    assert [node.undo.id for node in shape.nodes if node.undo] == ["c0_0", "c1_0", "c1_1"]


def test_what_can_be_undone_has_a_compensation_and_nothing_else_has() -> None:
    shape = shape_of(plan(step(0, "a"), step(1, compensation=None), child(2)))

    assert [node.undo and node.undo.name for node in shape.nodes] == ["undo_a", None, "undo of insure"]


def test_a_plan_has_no_statuses() -> None:
    shape = shape_of(order())

    assert (shape.title, shape.subtitle, shape.status, shape.because) == ("order v1", None, None, None)
    assert {node.status for node in shape.nodes} == {None}
    assert {node.undo.status for node in shape.nodes if node.undo} == {None}


def test_an_instance_says_which_it_is_and_why_it_turned_back() -> None:
    seen = look(order(), "compensating", ("compensating", undo("running")), "failed", error=error("no funds"))

    assert seen.shape.subtitle == "01890a5d-ac96-774b-bcce-b302099a8057, key order-42"
    assert seen.shape.status is SagaStatus.COMPENSATING
    assert seen.shape.because == "Declined in charge: no funds"


def test_an_instance_without_a_key_says_its_id_alone() -> None:
    assert look(order(), "running", key=None).shape.subtitle == "01890a5d-ac96-774b-bcce-b302099a8057"


def test_each_step_tells_how_it_went_and_how_it_was_undone() -> None:
    failed = StepView(
        name="charge",
        status=StepStatus.FAILED,
        attempts=2,
        in_doubt=True,
        error=error("no funds"),
        compensation=undo("failed", attempts=6, error=error("the bank is closed", type="TimeoutError")),
    )

    reserve, charge, ship, _ = look(
        order(), "failed", ("compensated", undo("completed")), failed, "skipped"
    ).shape.nodes

    assert (reserve.status, reserve.undo and reserve.undo.status) == (StepStatus.COMPENSATED, StepStatus.COMPLETED)
    assert (charge.status, charge.facts, charge.error) == (
        StepStatus.FAILED,
        ("2 attempts", "in doubt"),
        "Declined: no funds",
    )
    assert charge.undo is not None
    assert (charge.undo.facts, charge.undo.error) == (("6 attempts",), "TimeoutError: the bank is closed")
    assert (ship.status, ship.facts, ship.error) == (StepStatus.SKIPPED, (), None)


@pytest.mark.parametrize(
    ("status", "undoing", "says"),
    [
        ("compensated", None, "here it turned back"),
        ("compensating", None, "here it turned back"),
        ("failed", undo("failed"), "here it turned back"),
        ("failed", None, "here it stopped"),
    ],
)
def test_the_step_that_decided_it_says_so(status: str, undoing: object, says: str) -> None:
    reserve = ("completed", undoing) if undoing else "completed"
    seen = look(order(), status, reserve, "failed", error=error())  # type: ignore[arg-type]

    assert [node.name for node in seen.shape.nodes if says in node.facts] == ["charge"]


def test_an_error_is_told_without_its_traceback() -> None:
    seen = look(order(), "failed", error=error(""))

    assert seen.shape.because == "Declined in charge"


def test_a_look_at_another_plan_is_refused() -> None:
    seen = look(order(), "running")
    seen.plan = replace(order(), steps=order().steps[:2])

    with pytest.raises(ValueError, match="zip"):
        _ = seen.shape
