"""Side by side, skipped, asleep: the statements and `decide` leave the same rows, whatever the shape of the plan."""

import random
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from sagas.model import (
    Address,
    Completed,
    ErrorInfo,
    ExecutionStatus,
    Failed,
    InstanceState,
    Plan,
    PlanStep,
    RetryPolicy,
    SagaStatus,
    StepKind,
    Stop,
    StopKind,
    StopRequested,
    Tick,
    Verdict,
)
from tests.integration.store.test_agreement import SHAPES, Twins, with_sleep
from tests.support.bench import THREE, Bench, plan_beside, plan_of

A, B, C = Address(0, 0), Address(0, 1), Address(0, 2)
NO = ErrorInfo(type="shop.Refused", message="no")
TRIED_ONCE = RetryPolicy(max_attempts=1, jitter=0.0)


def forward_plan() -> Plan:
    """A pivot, two lanes behind it of which one has a best effort, and a last step."""
    given: dict[str, Any] = {"compensation": None, "retry": TRIED_ONCE, "kind": StepKind.RETRIABLE}
    return Plan(
        saga="forward",
        version=1,
        steps=(
            PlanStep(position=0, name="p", task="do.p", compensation=None, kind=StepKind.PIVOT, retry=TRIED_ONCE),
            PlanStep(position=1, branch=0, lane=0, name="r", task="do.r", **given),
            PlanStep(position=1, branch=1, lane=0, name="n", task="do.n", best_effort=True, **given),
            PlanStep(position=1, branch=2, lane=1, name="s", task="do.s", **given),
            PlanStep(position=2, name="last", task="do.last", **given),
        ),
    )


def done(twins: Twins, *addresses: Address, keys: tuple[str, ...] = ()) -> None:
    """Claim and complete on both."""
    for address in addresses:
        token = uuid4()
        assert twins.claim(address, token)
        twins.complete(address, token, "{}", keys)


def fails(twins: Twins, address: Address, verdict: Verdict = Verdict.CLEAN_NO) -> None:
    token = uuid4()
    assert twins.claim(address, token)
    twins.both(Failed(address=address, token=token, error=NO, verdict=verdict))
    twins.agree()


def live(bench: Bench, run: UUID) -> set[str]:
    return {str(row.address) for row in bench.state(run).steps if row.is_live}


# -- births


@pytest.mark.parametrize("plan", [*SHAPES.values(), forward_plan()], ids=[*SHAPES, "forward"])
def test_a_start_leaves_the_same_rows_and_counter_as_decide_would(bench: Bench, plan: Plan) -> None:
    twins = Twins(bench, plan)

    twins.both(Tick())

    twins.agree()
    state = bench.state(twins.compiled)
    assert {it.address for it in state.steps} == {Address(it.position, it.branch) for it in plan.heads(0)}
    assert state.pending == len(plan.heads(0))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_last_branch_gives_birth_to_the_next_position(bench: Bench, order: tuple[int, ...]) -> None:
    twins = Twins(bench, plan_beside(3))

    for number, branch in enumerate(order):
        assert not twins.claim(Address(1), uuid4())
        done(twins, Address(0, branch))
        assert bench.state(twins.compiled).pending == (2, 1, 1)[number]

    assert live(bench, twins.compiled) == {"1.0.0"}
    done(twins, Address(1))
    assert bench.state(twins.compiled).status is SagaStatus.COMPLETED


def test_all_branches_may_be_claimed_before_the_first_of_them_ends(bench: Bench) -> None:
    twins, tokens = Twins(bench, plan_beside(3)), {address: uuid4() for address in (A, B, C)}
    for address, token in tokens.items():
        assert twins.claim(address, token)

    for address in (B, A, C):
        twins.complete(address, tokens[address], "{}")

    assert live(bench, twins.compiled) == {"1.0.0"}


def test_in_a_lane_one_step_gives_birth_to_the_next(bench: Bench) -> None:
    twins = Twins(bench, plan_beside(2, 1, 3))
    assert live(bench, twins.compiled) == {"0.0.0", "0.2.0", "0.3.0"}

    done(twins, Address(0, 3))
    assert live(bench, twins.compiled) == {"0.0.0", "0.2.0", "0.4.0"}
    done(twins, Address(0, 2), Address(0, 0), Address(0, 4), Address(0, 1))
    assert live(bench, twins.compiled) == {"0.5.0"}
    done(twins, Address(0, 5))

    assert live(bench, twins.compiled) == {"1.0.0"}


def test_every_row_knows_its_lane_task_and_timeout_by_either_way(bench: Bench) -> None:
    twins = Twins(bench, plan_beside(2, 1, timeout=12.0))

    done(twins, Address(0, 0))

    born = bench.steps(twins.compiled)[1]
    assert (born["branch"], born["lane"], born["task"], born["timeout"]) == (1, 0, "do.0.1", 12)


# -- keys


def test_what_a_branch_returned_is_written_down_until_the_position_is_done(bench: Bench) -> None:
    twins = Twins(bench, plan_beside(2))

    done(twins, A, keys=("price", "seat"))
    assert bench.state(twins.compiled).written == {"price": 0, "seat": 0}
    done(twins, B, keys=("room",))

    assert bench.state(twins.compiled).written is None


def test_the_statement_stores_nothing_of_a_branch_whose_key_is_taken(bench: Bench) -> None:
    twins, token = Twins(bench, plan_beside(2)), uuid4()
    done(twins, A, keys=("price",))
    bench.claim(twins.compiled, B, token=token)
    before = (bench.row("saga_instance", twins.compiled), bench.steps(twins.compiled))

    assert bench.complete(twins.compiled, twins.plan, B, token, '{"price": 2}', ("price",)) is None

    assert (bench.row("saga_instance", twins.compiled), bench.steps(twins.compiled)) == before


def test_a_branch_whose_key_is_taken_fails_in_doubt_and_is_undone_first(bench: Bench) -> None:
    twins, token = Twins(bench, plan_beside(2)), uuid4()
    done(twins, A, keys=("price",))
    assert twins.claim(B, token)

    assert twins.complete(B, token, '{"price": 2}', ("price", "seat")) is None

    state = bench.state(twins.compiled)
    failed = state.at(B)
    assert failed is not None
    assert (failed.status, failed.doubt) == (ExecutionStatus.FAILED, True)
    assert state.error is not None
    assert state.error.type == "sagas.KeyClash"
    assert live(bench, twins.compiled) == {"0.1.1"}


def test_the_steps_of_a_lane_may_return_the_same_key_by_either_way(bench: Bench) -> None:
    twins = Twins(bench, plan_beside(2, 1))

    done(twins, Address(0, 0), Address(0, 1), keys=("price",))

    assert bench.state(twins.compiled).written == {"price": 1}
    token = uuid4()
    twins.claim(Address(0, 2), token)
    assert twins.complete(Address(0, 2), token, "{}", ("price",)) is None


def test_a_clash_while_the_saga_drains_is_one_too(bench: Bench) -> None:
    twins, token = Twins(bench, plan_beside(3)), uuid4()
    done(twins, A, keys=("price",))
    assert twins.claim(B, token)
    fails(twins, C)
    assert bench.state(twins.compiled).status is SagaStatus.COMPENSATING

    assert twins.complete(B, token, "{}", ("price",)) is None

    assert live(bench, twins.compiled) == {"0.1.1"}


# -- skipped


@pytest.mark.parametrize("plan", [THREE, plan_beside(2), plan_beside(2, 1), forward_plan()])
def test_a_skipped_step_leaves_the_same_rows_by_either_way(bench: Bench, plan: Plan) -> None:
    twins = Twins(bench, plan)

    for step in plan.steps:
        address, token = Address(step.position, step.branch), uuid4()
        assert twins.claim(address, token)
        twins.complete(address, token, skipped=True)
        row = bench.state(twins.compiled).at(address)
        assert row is not None
        assert (row.status, row.attempts, row.error) == (ExecutionStatus.SKIPPED, 0, None)

    assert bench.state(twins.compiled).status is SagaStatus.COMPLETED


def test_a_skip_is_told_by_its_own_token(bench: Bench) -> None:
    twins, token = Twins(bench, THREE), uuid4()
    twins.claim(Address(0), token)
    twins.complete(Address(0), token, skipped=True)

    assert bench.complete(twins.compiled, THREE, Address(0), token, skipped=True) is None
    assert bench.store.hot.completed_by(twins.compiled, THREE, Address(0), token) is not None


def test_c5_doubt_outlives_a_skip_by_either_way(bench: Bench) -> None:
    """One attempt may have acted; the next found the condition false."""
    twins, first, second = Twins(bench, THREE), uuid4(), uuid4()
    twins.claim(Address(0), first)
    twins.both(Failed(address=Address(0), token=first, error=NO, verdict=Verdict.RETRYABLE))
    assert twins.claim(Address(0), second)

    twins.complete(Address(0), second, skipped=True)

    assert bench.state(twins.compiled).steps[0].doubt


# -- what no statement can decide alone


def test_a_next_position_that_waits_is_handed_over_at_once_and_still_pending(bench: Bench) -> None:
    plan, token = with_sleep(THREE, 1), uuid4()
    run = bench.start(plan)
    bench.claim(run, token=token)

    status = bench.complete(run, plan, Address(0), token, "{}")

    assert status is SagaStatus.RUNNING
    stored = bench.row("saga_instance", run)
    assert stored["pending"] == 1
    assert bench.sql("SELECT due_at <= clock_timestamp() FROM {s}.saga_instance WHERE id = %s", run) == [(True,)]
    assert [row["position"] for row in bench.steps(run)] == [0]


def test_it_is_born_by_whoever_looks_next_as_decide_would(bench: Bench) -> None:
    twins = Twins(bench, with_sleep(THREE, 1))

    done(twins, Address(0))

    assert live(bench, twins.compiled) == {"1.0.0"}
    assert bench.state(twins.compiled).pending == 1


def test_a_lane_that_is_handed_over_keeps_its_sibling_from_being_the_last(bench: Bench) -> None:
    """Between the hand-over and the look that follows it, there is no row of it."""
    plan = with_sleep(plan_beside(2, 1), 0, branch=1)
    run, one, other = bench.start(plan), uuid4(), uuid4()
    bench.claim(run, Address(0, 0), token=one)
    bench.claim(run, Address(0, 2), token=other)
    bench.complete(run, plan, Address(0, 0), one, "{}")

    bench.complete(run, plan, Address(0, 2), other, "{}")

    assert live(bench, run) == set()
    assert bench.row("saga_instance", run)["pending"] == 1
    bench.apply(run, Tick())
    assert live(bench, run) == {"0.1.0"}


def test_a_sleep_at_the_end_is_handed_over_too(bench: Bench) -> None:
    twins = Twins(bench, with_sleep(plan_beside(2), 1))

    done(twins, A, B)

    state = bench.state(twins.compiled)
    assert state.status is SagaStatus.RUNNING
    assert [row.address for row in state.steps if row.is_live] == [Address(1)]


def test_no_message_claims_what_waits(bench: Bench) -> None:
    twins = Twins(bench, with_sleep(THREE, 0))
    twins.both(Tick())

    assert not twins.claim(Address(0), uuid4())


# -- failures beside others


def test_a_completion_beside_a_failed_branch_is_recorded_and_nothing_is_born(bench: Bench) -> None:
    twins, token = Twins(bench, plan_beside(1, 2)), uuid4()
    assert twins.claim(B, token)
    fails(twins, A)

    assert twins.complete(B, token, "{}") is SagaStatus.COMPENSATING

    assert live(bench, twins.compiled) == {"0.1.1"}


def test_a_best_effort_that_failed_holds_nobody_up(bench: Bench) -> None:
    twins = Twins(bench, plan_beside(2, best_effort=True, retry=TRIED_ONCE))
    fails(twins, A)

    done(twins, B)

    assert live(bench, twins.compiled) == {"1.0.0"}


def test_past_the_pivot_the_last_sibling_of_a_failed_branch_does_not_go_on(bench: Bench) -> None:
    plan, token = forward_plan(), uuid4()
    twins = Twins(bench, plan)
    done(twins, Address(0))
    fails(twins, Address(1, 0))
    assert bench.state(twins.compiled).pending == 2
    bench.claim(twins.compiled, Address(1, 2), token=token)

    assert bench.complete(twins.compiled, plan, Address(1, 2), token, "{}") is SagaStatus.RUNNING

    assert live(bench, twins.compiled) == set()
    bench.apply(twins.compiled, Tick())
    assert bench.state(twins.compiled).status is SagaStatus.FAILED


# -- random lives


def next_move(dice: random.Random, twins: Twins, state: InstanceState) -> None:
    """A claim, an end, a tick or a cancel, on both."""
    running = [row for row in state.steps if row.status is ExecutionStatus.RUNNING]
    tasks = [row for row in state.steps if twins.plan.step(row.address.position, row.address.branch).is_task]
    what = dice.choices(["claim", "complete", "fail", "tick", "cancel"], [8, 8, 2, 1, 0.3])[0]
    if what == "claim" and tasks:
        twins.claim(dice.choice(tasks).address, uuid4())
    elif what == "complete" and running:
        row = dice.choice(running)
        assert row.token is not None
        if row.address.is_action:
            if dice.random() < 0.2:
                twins.complete(row.address, row.token, skipped=True)
            else:
                keys = dice.choice([(), (), (f"key{row.address.branch}",), ("price",)])
                twins.complete(row.address, row.token, "{}", keys)
        else:
            twins.both(Completed(address=row.address, token=row.token, result="{}"))
    elif what == "fail" and running:
        row = dice.choice(running)
        assert row.token is not None
        verdict = dice.choice([Verdict.CLEAN_NO, Verdict.RETRYABLE, Verdict.UNKNOWN])
        twins.both(Failed(address=row.address, token=row.token, error=NO, verdict=verdict, dice=0.0))
    elif what == "cancel":
        twins.both(StopRequested(stop=Stop(kind=StopKind.CANCELLED, reason="changed mind")))
    if not any(row.is_live for row in twins.bench.state(twins.compiled).actions()) or what == "tick":
        # What the error callback asks, or the sweep, where nothing moves any more.
        twins.both(Tick())
    twins.agree()


LIVES = SHAPES | {
    "forward": forward_plan(),
    "three": THREE,
    "pivoted": plan_of("a", "p", "r", pivot="p"),
    "two parallel positions": replace(
        plan_beside(2, 1),
        steps=(
            *plan_beside(2, 1).steps[:-1],
            *(replace(step, position=1, name=f"{step.name}.again") for step in plan_beside(1, 2).steps[:-1]),
        ),
    ),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("plan", LIVES.values(), ids=LIVES)
def test_twins_lead_the_same_life(bench: Bench, plan: Plan, seed: int) -> None:
    dice, twins = random.Random(seed), Twins(bench, plan)
    twins.both(Tick())

    for _ in range(30):
        state = bench.state(twins.compiled)
        if state.status.is_final:
            break
        next_move(dice, twins, state)

    twins.agree()
