"""Claim and complete are `decide` compiled to SQL: the same events, on twins, leave the same rows."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from sagas.model import (
    Address,
    Claimed,
    Completed,
    ErrorInfo,
    Event,
    ExecutionStatus,
    Failed,
    Holder,
    InstanceState,
    Parked,
    Plan,
    PlanStep,
    RetryRequested,
    SagaStatus,
    StepEvidence,
    StepRole,
    StepState,
    Stop,
    StopKind,
    StopRequested,
    Tick,
    Verdict,
)
from sagas.store.hot import NextSteps
from tests.support.bench import THREE, Bench, plan_beside, plan_of
from tests.support.seen import seen

CANCEL = StopRequested(stop=Stop(kind=StopKind.CANCELLED, reason="changed mind"))
PLANS = {
    "one step": plan_of("a"),
    "three steps": THREE,
    "pivoted": plan_of("a", "p", "r", pivot="p"),
    "not idempotent": plan_of("a", "b", idempotent=False),
}


def with_sleep(plan: Plan, position: int, *, branch: int = 0, seconds: float = 3600.0) -> Plan:
    """In place of one step its saga sleeps."""
    slept: dict[str, Any] = {"task": None, "compensation": None, "role": StepRole.SLEEP, "seconds": seconds}

    def changed(step: PlanStep) -> PlanStep:
        return replace(step, **slept) if (step.position, step.branch) == (position, branch) else step

    return replace(plan, steps=tuple(changed(step) for step in plan.steps))


SHAPES = {
    "beside": plan_beside(3),
    "lanes": plan_beside(2, 1, 3),
    "best effort": plan_beside(2, 1, best_effort=True),
    "undone at once": plan_beside(2, 2, undo_at_once=True),
    "stops": replace(plan_beside(2), stop_at_failed_undo=True),
    "sleeping": with_sleep(THREE, 1, seconds=0.001),
    "sleeping first": with_sleep(THREE, 0, seconds=0.001),
    "sleeping beside": with_sleep(plan_beside(2, 1), 0, branch=1, seconds=0.001),
}
TIMES = (
    "created_at",
    "updated_at",
    "dispatched_at",
    "not_before",
    "claimed_at",
    "first_claimed_at",
    "finished_at",
    "due_at",
    "parked_since",
)
NOT_DECIDED = {"id", "instance_id", "worker_id", "delivery", "plan_hash"}


class Twins:
    """Two instances: one lives through the SQL statements, the other through `decide`."""

    def __init__(self, bench: Bench, plan: Plan) -> None:
        self.bench = bench
        self.plan = plan
        self.compiled = bench.start(plan)
        self.decided = bench.start(plan)

    def both(self, event: Event) -> None:
        self.bench.apply(self.compiled, event)
        self.bench.apply(self.decided, event)

    def claim(self, address: Address, token: UUID) -> bool:
        claimed = self.bench.claim(self.compiled, address, token=token) is not None
        assert self.bench.apply(self.decided, Claimed(address=address, token=token)).accepted is claimed
        self.agree()
        return claimed

    def complete(
        self,
        address: Address,
        token: UUID,
        result: str | None = None,
        keys: tuple[str, ...] = (),
        *,
        skipped: bool = False,
    ) -> SagaStatus | None:
        """By the statement, and by what the engine does about its answer."""
        status = self.bench.complete(self.compiled, self.plan, address, token, result, keys, skipped=skipped)
        completed = Completed(address=address, token=token, result=result, keys=keys, skipped=skipped)
        if status is None:
            self.bench.apply(self.compiled, completed)  # its claim was taken away, or another branch has its key
        following = NextSteps.of(self.plan, self.plan.step(address.position, address.branch))
        state = self.bench.state(self.compiled)
        stands_still = state.status.is_forward and not any(row.is_live for row in state.actions())
        if status is SagaStatus.COMPENSATING or following.needs_a_decision or stands_still:
            # What was drained has ended; or no statement alone can tell what follows, which the sweep looks after
            # where it was the failure of another branch that comes first.
            self.bench.apply(self.compiled, Tick())
        self.bench.apply(self.decided, completed)
        self.agree()
        return status

    def agree(self) -> None:
        assert self.rows(self.compiled) == self.rows(self.decided)

    def rows(self, instance_id: UUID) -> list[dict[str, Any]]:
        rows = [self.bench.row("saga_instance", instance_id), *self.bench.steps(instance_id)]
        return [comparable(row) for row in rows]


def comparable(row: Mapping[str, Any]) -> dict[str, Any]:
    """Times differ by moments: only whether they are set is compared."""
    return {
        name: value is not None if name in TIMES else value for name, value in row.items() if name not in NOT_DECIDED
    }


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_straight_saga_leaves_the_same_rows_by_sql_and_by_decide(bench: Bench, plan: Plan) -> None:
    twins = Twins(bench, plan)
    twins.agree()

    for step in plan.steps:
        address, token = Address(step.position), uuid4()
        assert twins.claim(address, token)
        twins.complete(address, token, f'{{"number": {step.position}}}')

    assert bench.state(twins.compiled).status is SagaStatus.COMPLETED
    assert bench.row("saga_instance", twins.compiled)["due_at"] is None


def test_claiming_again_with_the_own_token_counts_no_second_attempt(bench: Bench) -> None:
    twins, token = Twins(bench, THREE), uuid4()

    assert twins.claim(Address(0), token)
    assert twins.claim(Address(0), token)

    assert bench.state(twins.compiled).steps[0].attempts == 1


def test_completing_again_with_the_own_token_changes_nothing_and_is_told_by_it(bench: Bench) -> None:
    twins, token = Twins(bench, THREE), uuid4()
    twins.claim(Address(0), token)
    twins.complete(Address(0), token, "{}")
    before = bench.row("saga_instance", twins.compiled)

    assert bench.complete(twins.compiled, THREE, Address(0), token, "{}") is None
    mine = bench.store.hot.completed_by(twins.compiled, THREE, Address(0), token)
    assert mine is not None
    assert mine.status is SagaStatus.RUNNING
    assert bench.store.hot.completed_by(twins.compiled, THREE, Address(0), uuid4()) is None
    assert bench.row("saga_instance", twins.compiled) == before
    twins.agree()


def test_a_row_that_another_token_holds_is_not_claimed(bench: Bench) -> None:
    twins = Twins(bench, THREE)
    twins.claim(Address(0), uuid4())

    assert not twins.claim(Address(0), uuid4())


def test_completed_voided_given_up_and_unborn_rows_are_not_claimed(bench: Bench) -> None:
    # Given: a completed step, and the next one voided by a cancel
    twins, token = Twins(bench, THREE), uuid4()
    twins.claim(Address(0), token)
    twins.complete(Address(0), token)
    assert not twins.claim(Address(0), uuid4())
    twins.both(CANCEL)
    assert bench.state(twins.compiled).steps[-1].status is ExecutionStatus.SKIPPED

    # Then
    assert not twins.claim(Address(1), uuid4())
    assert not twins.claim(Address(2), uuid4())

    # Given: an action that was given up
    twins, token = Twins(bench, THREE), uuid4()
    twins.claim(Address(0), token)
    error = ErrorInfo(type="x", message="no")
    twins.both(Failed(address=Address(0), token=token, error=error, verdict=Verdict.CLEAN_NO))
    assert bench.state(twins.compiled).steps[0].status is ExecutionStatus.FAILED

    # Then
    assert not twins.claim(Address(0), uuid4())


@pytest.mark.parametrize("round_", [1, 2])
def test_a_compensation_is_claimed_alike(bench: Bench, round_: int) -> None:
    twins, token = Twins(bench, THREE), uuid4()
    twins.claim(Address(0), token)
    twins.complete(Address(0), token)
    twins.both(CANCEL)
    if round_ == 2:
        undo = uuid4()
        twins.claim(Address(0, 0, 1), undo)
        twins.both(Completed(address=Address(0, 0, 1), token=undo))
        twins.both(Completed(address=Address(0), token=uuid4()))  # a stray effect: undone again

    assert twins.claim(Address(0, 0, round_), uuid4())


@pytest.mark.parametrize("wait", [0.5, 30.0])
def test_an_old_message_does_not_cut_a_long_wait_for_a_retry_short(bench: Bench, wait: float) -> None:
    twins, token = Twins(bench, THREE), uuid4()
    twins.claim(Address(0), token)
    error = ErrorInfo(type="x", message="gone")
    twins.both(
        Failed(address=Address(0), token=token, error=error, verdict=Verdict.RETRYABLE, retry_after=wait, dice=0.0)
    )

    assert twins.claim(Address(0), uuid4()) is (wait < 5)


def test_a_compensation_whose_turn_has_not_come_is_not_claimed(bench: Bench) -> None:
    # Given: an operator retries two failed compensations; one of them goes first
    twins = Twins(bench, THREE)
    for position in (0, 1):
        token = uuid4()
        twins.claim(Address(position), token)
        twins.complete(Address(position), token)
    twins.both(CANCEL)
    for position in (1, 0):
        undo = Address(position, 0, 1)
        while bench.state(twins.compiled).at(undo).status is ExecutionStatus.PENDING:  # type: ignore[union-attr]
            bench.sql("UPDATE {s}.saga_step SET not_before = NULL")
            token = uuid4()
            assert twins.claim(undo, token)
            error = ErrorInfo(type="x", message="no")
            twins.both(Failed(address=undo, token=token, error=error, verdict=Verdict.CLEAN_NO))
    twins.both(RetryRequested(reason="cured"))
    assert [send.status for send in bench.state(twins.compiled).compensations()] == [ExecutionStatus.PENDING] * 2

    # Then
    assert not twins.claim(Address(0, 0, 1), uuid4())
    assert twins.claim(Address(1, 0, 1), uuid4())


def test_a_worker_that_was_declared_dead_claims_nothing(bench: Bench) -> None:
    worker, run = uuid4(), bench.start()
    bench.beat(worker)
    bench.sql("UPDATE {s}.saga_worker SET dead_at = clock_timestamp()")

    assert bench.claim(run, worker=worker) is None
    assert bench.claim(run, worker=uuid4()) is not None


def test_a_completion_while_the_saga_drains_is_recorded_and_nothing_is_born(bench: Bench) -> None:
    twins, token = Twins(bench, THREE), uuid4()
    twins.claim(Address(0), token)
    twins.both(CANCEL)
    assert bench.state(twins.compiled).status is SagaStatus.COMPENSATING

    assert twins.bench.complete(twins.compiled, THREE, Address(0), token, "{}") is SagaStatus.COMPENSATING
    assert [row["status"] for row in bench.steps(twins.compiled)] == ["completed"]
    bench.apply(twins.compiled, Tick())
    bench.apply(twins.decided, Completed(address=Address(0), token=token, result="{}"))
    twins.agree()
    assert [(row["round"], row["status"]) for row in bench.steps(twins.compiled)] == [(0, "completed"), (1, "pending")]


def test_a_token_that_was_taken_away_completes_nothing_by_sql(bench: Bench) -> None:
    run, token = bench.start(), uuid4()
    bench.claim(run, token=token)
    bench.sql("UPDATE {s}.saga_step SET token = gen_random_uuid() WHERE instance_id = %s", run)
    before = bench.steps(run)

    assert bench.complete(run, THREE, Address(0), token, "{}") is None
    assert bench.steps(run) == before


def test_c9_a_claim_under_another_epoch_is_in_doubt_by_sql_as_by_decide(bench: Bench) -> None:
    twins = Twins(bench, THREE)
    bench.sql("DELETE FROM {s}.saga_epoch")

    assert twins.claim(Address(0), uuid4())

    assert bench.state(twins.compiled).steps[0].doubt


def test_a_claim_brings_back_the_plan_once_the_data_and_what_earlier_steps_returned(bench: Bench) -> None:
    run, token = bench.start(data='{"order": 7}'), uuid4()
    bench.claim(run, token=token)
    bench.complete(run, THREE, Address(0), token, '{"reservation": 8}')

    known = bench.claim(run, Address(1), token=token)
    bench.store.instances._plans.clear()
    unknown = bench.claim(run, Address(1), token=token)

    assert known is not None
    assert unknown is not None
    assert known.plan is None
    assert Plan.from_json(json.loads(unknown.plan or "")) == THREE
    assert (known.data, known.earlier_results) == ('{"order": 7}', '[{"reservation": 8}]')


# -- what decide wants is what is stored: random lives


def evidence_of(dice: random.Random) -> Callable[[InstanceState], InstanceState]:
    def change(state: InstanceState) -> InstanceState:
        return replace(state, steps=tuple(witnessed(step) for step in state.steps))

    def witnessed(step: StepState) -> StepState:
        if step.status is ExecutionStatus.RUNNING:
            return seen(step, holder=dice.choice([Holder.ALIVE, Holder.ALIVE, Holder.SILENT, Holder.DEAD]))
        if step.status is ExecutionStatus.PENDING:
            return seen(step, epoch_changed=dice.random() < 0.1)
        return step

    return change


def next_event(dice: random.Random, state: InstanceState, tokens: list[UUID]) -> Event:
    if not state.steps:
        return Tick()
    step = dice.choice(state.steps)
    held = [held for held in state.steps if held.status is ExecutionStatus.RUNNING and held.token]
    open_ = [waiting for waiting in state.steps if waiting.status is ExecutionStatus.PENDING and waiting.dispatched_at]
    tokens.append(uuid4())
    kind = dice.choices(
        ["claim", "complete", "fail", "tick", "late", "park", "cancel", "retry"], [6, 5, 4, 3, 2, 1, 1, 1]
    )[0]
    if kind == "claim" and open_:
        return Claimed(address=dice.choice(open_).address, token=tokens[-1])
    if kind in ("complete", "fail", "park") and held:
        chosen = dice.choice(held)
        assert chosen.token is not None
        error = ErrorInfo(type="builtins.ConnectionError", message="gone", traceback="…", step=chosen.name)
        if kind == "complete":
            keys = dice.choice([(), (), ("price",), ("price", "seat")]) if chosen.address.is_action else ()
            skipped = chosen.address.is_action and dice.random() < 0.2
            return Completed(address=chosen.address, token=chosen.token, result=None, keys=keys, skipped=skipped)
        if kind == "park":
            return Parked(address=chosen.address, token=chosen.token, error=error)
        verdict, wait = dice.choice(list(Verdict)), dice.choice([0.0, 30.0])
        return Failed(address=chosen.address, token=chosen.token, error=error, verdict=verdict, retry_after=wait)
    if kind == "late" and step.dispatched_at:
        return Completed(address=step.address, token=dice.choice(tokens))
    if kind == "cancel":
        return CANCEL
    if kind == "retry":
        return RetryRequested(reason="look again")
    return Tick()


def as_stored(state: InstanceState) -> InstanceState:
    """Without the evidence, which is never stored, but for the worker; and without results, which are not loaded."""
    steps = (replace(step, evidence=StepEvidence(worker=step.evidence.worker), result=None) for step in state.steps)
    return replace(state, steps=tuple(steps))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("plan", (PLANS | SHAPES).values(), ids=PLANS | SHAPES)
def test_what_decide_wants_is_saved_and_loaded_back_unchanged(bench: Bench, plan: Plan, seed: int) -> None:
    dice, tokens = random.Random(seed), [uuid4()]
    run = bench.start(plan)
    for _ in range(30):
        event = next_event(dice, bench.state(run), tokens)
        decision = bench.apply(run, event, evidence_of(dice))
        assert as_stored(bench.state(run)) == as_stored(decision.state), event
