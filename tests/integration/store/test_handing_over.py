"""A lane whose next step no worker runs is handed over to whoever decides; until then it counts as not done."""

from uuid import UUID, uuid4

import pytest

from sagas.model import Address, Completed, Plan, PlanStep, SagaStatus, StepRole, Tick
from tests.support.bench import Bench

A, NAP, A3, B, LAST = Address(0, 0), Address(0, 1), Address(0, 2), Address(0, 3), Address(1)

#: `a`, then a nap, then `a3`; beside `b`; then `last`.
NAPPING = Plan(
    saga="napping",
    version=1,
    steps=(
        PlanStep(position=0, branch=0, lane=0, name="a", task="do.a", compensation=None),
        PlanStep(
            position=0, branch=1, lane=0, name="nap", task=None, compensation=None, role=StepRole.SLEEP, seconds=0.001
        ),
        PlanStep(position=0, branch=2, lane=0, name="a3", task="do.a3", compensation=None),
        PlanStep(position=0, branch=3, lane=1, name="b", task="do.b", compensation=None),
        PlanStep(position=1, name="last", task="do.last", compensation=None),
    ),
)


@pytest.fixture
def instance(bench: Bench) -> UUID:
    return bench.start(NAPPING)


def hand_over(bench: Bench, instance: UUID) -> None:
    """`a` is completed, and its process dies before it has asked what follows."""
    assert bench.step(instance, NAPPING, A) is SagaStatus.RUNNING


def ran(bench: Bench, instance: UUID) -> list[str]:
    return [row["name"] for row in bench.steps(instance) if row["status"] == "completed"]


def test_c1_a_lane_that_was_handed_over_is_waited_for(bench: Bench, instance: UUID) -> None:
    hand_over(bench, instance)
    assert bench.step(instance, NAPPING, B) is SagaStatus.RUNNING

    assert [row["name"] for row in bench.steps(instance)] == ["a", "b"]
    bench.apply(instance, Tick())
    assert [row["name"] for row in bench.steps(instance)] == ["a", "nap", "b"]


def test_c1_a_lane_that_was_handed_over_is_waited_for_whatever_else_is_reported_meanwhile(
    bench: Bench, instance: UUID
) -> None:
    # Given: b runs a second time, since its first holder was taken for dead
    worker, former, current = uuid4(), uuid4(), uuid4()
    bench.beat(worker)
    assert bench.claim(instance, B, token=former, worker=worker)
    bench.beat(worker)
    bench.apply(instance, Tick())
    assert bench.claim(instance, B, token=current)

    # When: the former one reports after all, just when the other lane has been handed over
    hand_over(bench, instance)
    assert not bench.apply(instance, Completed(address=B, token=former)).accepted
    bench.complete(instance, NAPPING, B, current)

    # Then: the nap and what follows it are still to come
    for _ in range(2):
        bench.apply(instance, Tick())
        bench.age(1)
    assert bench.step(instance, NAPPING, A3)
    assert bench.step(instance, NAPPING, LAST)
    assert ran(bench, instance) == ["a", "nap", "a3", "b", "last"]
    assert bench.row("saga_instance", instance)["status"] == "completed"


def test_the_next_sweep_finds_what_was_handed_over_however_healthy_its_siblings_are(
    bench: Bench, instance: UUID
) -> None:
    # Given: b runs for long, with a worker that lives
    worker = uuid4()
    bench.beat(worker, "delivery")
    assert bench.claim(instance, B, token=uuid4(), worker=worker)
    bench.beat(worker, "delivery")

    hand_over(bench, instance)

    assert bench.store.sweeping.look_around()
    assert bench.store.sweeping.take_due(10) == [instance]
