"""A plan is frozen as JSON when an instance starts, and everything later reads that."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from sagas.model import Plan, RetryPolicy, StepKind
from tests.unit.model.generated import plans
from tests.unit.model.story import pivot, plan_of, retriable, step


@given(plans())
def test_a_plan_survives_its_json(plan: Plan) -> None:
    back = Plan.from_json(json.loads(plan.text))

    assert back == plan
    assert back.fingerprint == plan.fingerprint


def test_a_plan_survives_a_store_that_does_not_keep_the_order_of_keys() -> None:
    plan = plan_of(step(), pivot())
    stored = json.loads(plan.text, object_pairs_hook=lambda pairs: dict(reversed(pairs)))

    assert Plan.from_json(stored).fingerprint == plan.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"task": "other"},
        {"compensation": None},
        {"kind": StepKind.PIVOT},
        {"retry": RetryPolicy(max_attempts=9)},
        {"compensation_retry": RetryPolicy(jitter=0.1)},
        {"timeout": 1.0},
        {"compensation_timeout": 1.0},
        {"idempotent": False},
        {"max_losses": 0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_a_step_changes_the_fingerprint(change: dict[str, Any]) -> None:
    plan = plan_of(step(), step())

    changed = replace(plan, steps=(replace(plan.steps[0], **change), plan.steps[1]))

    assert changed.fingerprint != plan.fingerprint


def test_so_do_another_order_another_version_and_another_name() -> None:
    plan = plan_of(step(name="a"), step(name="b"))
    others = [plan_of(step(name="b"), step(name="a")), replace(plan, version=2), replace(plan, saga="refund")]

    assert len({it.fingerprint for it in [plan, *others]}) == 4


def test_positions_count_up_from_0() -> None:
    plan = plan_of(step(), step())

    with pytest.raises(ValueError, match="must count up from 0"):
        replace(plan, steps=plan.steps[1:])


def test_the_pivot_is_found() -> None:
    assert plan_of(step(), step()).pivot is None

    found = plan_of(step(), pivot(), retriable()).pivot

    assert found is not None
    assert found.position == 1


def test_after_the_last_step_comes_nothing() -> None:
    plan = plan_of(step(), step())

    assert plan.heads(1) == plan.steps[1:]
    assert plan.heads(2) == ()
    assert plan.next_in_lane(plan.steps[1]) is None


def test_round_0_is_the_action_and_every_later_one_its_compensation() -> None:
    own = plan_of(step(timeout=1.0, compensation_timeout=2.0)).steps[0]

    assert [own.task_for(round_) for round_ in (0, 1, 2)] == ["do0", "undo0", "undo0"]
    assert [own.timeout_for(round_) for round_ in (0, 1, 2)] == [1.0, 2.0, 2.0]
    assert [own.retry_for(round_) for round_ in (0, 1)] == [own.retry, own.compensation_retry]


def test_a_step_with_nothing_to_undo_has_no_compensating_task() -> None:
    own = plan_of(step(compensation=None)).steps[0]

    assert own.task_for(1) is None
    assert not own.is_undoable
