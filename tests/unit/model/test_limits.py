"""A step that does not say how long it may take is limited as its task is outside of sagas."""

from dataclasses import replace

import pytest

from sagas.model import Plan, PlanStep
from sagas.model.limits import Limits, own_limits
from tests.unit.model.story import plan_of, step


@pytest.mark.parametrize(
    ("soft", "hard", "for_body", "for_process"),
    [
        (1, 2, 1, 2),
        (60, 600, 60, 600),
        (None, None, 3600, 3605),
        (0, 0, 3600, 3605),
        (20, None, 20, 3600),
        (7200, None, 7200, 7205),
        (None, 7200, 7195, 7200),
        (None, 30, 27, 30),
        (None, 4, 3, 4),
        (None, 1, 0.5, 1),
        (90, 30, 27, 30),
        ("20", True, 3600, 3605),
    ],
)
def test_d36_a_tasks_own_limits_hold_and_a_hard_one_alone_is_announced_to_the_body(
    soft: object, hard: object, for_body: float, for_process: float
) -> None:
    limits = own_limits(soft, hard)

    assert (limits.for_body, limits.for_process) == (for_body, for_process)


def test_what_a_step_says_is_when_the_body_is_told_and_its_process_ends_a_moment_later() -> None:
    said = PlanStep(position=0, name="a", task="do", compensation="undo", timeout=30.0, compensation_timeout=60.0)

    limits = [said.declared_limits(round_) for round_ in (0, 1, 2)]

    assert limits == [Limits(30.0), Limits(60.0), Limits(60.0)]
    assert Limits(30.0).for_body == 30.0
    assert Limits(30.0).for_process == 35.0


def test_an_hour_that_was_said_is_told_from_one_that_was_not() -> None:
    unsaid = PlanStep(position=0, name="a", task="do", compensation="undo")

    assert [unsaid.declared_limits(round_) for round_ in (0, 1)] == [None, None]
    assert replace(unsaid, says_hour=True).declared_limits(0) == Limits(3600.0)
    assert replace(unsaid, says_undo_hour=True).declared_limits(1) == Limits(3600.0)


def test_d11_an_hour_that_was_said_has_the_fingerprint_that_it_always_had() -> None:
    said = {"says_hour": True, "says_undo_hour": True}
    plan = plan_of(
        step(), {"role": "child", "task": None, "compensation": None, "child": plan_of(step(), saga="child")}
    )
    marked = replace(
        plan,
        steps=(
            replace(plan.steps[0], **said),
            replace(plan.steps[1], child=plan_of(step(**said), saga="child")),
        ),
    )

    assert marked.text != plan.text
    assert marked.fingerprint == plan.fingerprint
    assert Plan.from_json(marked.to_json()) == marked
