"""A deadline is one predicate: the claim and complete statements and `decide` answer alike (D26)."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from sagas.model import Address, Claimed, Completed, ExecutionStatus, Plan, SagaStatus, Tick, decide
from tests.integration.store.test_agreement import PLANS, SHAPES, Twins, evidence_of, next_event
from tests.support.bench import PLACED, THREE, Bench, plan_beside, plan_of

SOON, AGO = timedelta(hours=1), timedelta(minutes=-1)
NO_OUTAGE = "UPDATE {s}.saga_sweep SET swept_at = clock_timestamp(), outage_from = NULL, outage_until = NULL"
#: What the sweep's row may say. The deadline is a minute ago, where it has passed.
SWEEPS = {
    "never": "UPDATE {s}.saga_sweep SET swept_at = '-infinity', outage_from = NULL, outage_until = NULL",
    "regular": NO_OUTAGE,
    "outage that lasts": NO_OUTAGE.replace("clock_timestamp()", "clock_timestamp() - interval '5 minutes'"),
    "outage that began later": NO_OUTAGE.replace("clock_timestamp()", "clock_timestamp() - interval '30 seconds'"),
    "outage that ended": NO_OUTAGE.replace(
        "outage_from = NULL", "outage_from = clock_timestamp() - interval '5 min'"
    ).replace("outage_until = NULL", "outage_until = clock_timestamp() - interval '10 s'"),
    "outage long ago": NO_OUTAGE.replace(
        "outage_from = NULL", "outage_from = clock_timestamp() - interval '2 days'"
    ).replace("outage_until = NULL", "outage_until = clock_timestamp() - interval '1 day'"),
    "two outages": NO_OUTAGE.replace("clock_timestamp()", "clock_timestamp() - interval '30 seconds'")
    .replace("outage_from = NULL", "outage_from = clock_timestamp() - interval '70 seconds'")
    .replace("outage_until = NULL", "outage_until = clock_timestamp() - interval '40 seconds'"),
}


def in_time(bench: Bench, run: UUID, when: timedelta | None, *, in_seconds: bool = False) -> None:
    """Set the deadline, as seconds from the first claim if asked for and one is there."""
    if when is None:
        bench.sql("UPDATE {s}.saga_instance SET deadline = NULL, deadline_seconds = NULL WHERE id = %s", run)
    elif in_seconds:
        change = "deadline = NULL, deadline_seconds = extract(epoch FROM %s - (SELECT min(first_claimed_at)"
        whole = f"UPDATE {{s}}.saga_instance AS it SET {change} FROM {{s}}.saga_step WHERE instance_id = it.id))"
        bench.sql(f"{whole} WHERE id = %s", datetime.now(UTC) + when, run)
    else:
        moment = datetime.now(UTC) + when
        bench.sql("UPDATE {s}.saga_instance SET deadline = %s, deadline_seconds = NULL WHERE id = %s", moment, run)


@pytest.mark.parametrize("plan", (PLANS | SHAPES).values(), ids=PLANS | SHAPES)
def test_d26_a_claim_is_refused_by_sql_exactly_when_it_is_by_decide(bench: Bench, plan: Plan) -> None:
    dice, asked = random.Random(plan.fingerprint), 0
    for sweeps in SWEEPS.values():
        run, tokens = bench.start(plan), [uuid4()]
        for _ in range(10):
            bench.sql(NO_OUTAGE)
            in_time(bench, run, None)
            bench.apply(run, next_event(dice, bench.state(run), tokens), evidence_of(dice))
            waiting = [row for row in bench.state(run).steps if row.status is ExecutionStatus.PENDING]
            tasks = [row.address for row in waiting if plan.step(row.address.position, row.address.branch).is_task]
            if not tasks:
                continue
            bench.sql(sweeps)
            in_time(bench, run, dice.choice([SOON, AGO, AGO]), in_seconds=dice.random() < 0.5)
            address, token = dice.choice(tasks), uuid4()
            with bench.store.instances.transaction() as connection:
                loaded = bench.store.instances.lock(connection, run)
                assert loaded is not None
                said = decide(plan, loaded.state, Claimed(address=address, token=token), loaded.now)
            assert (bench.claim(run, address, token=token) is not None) is said.accepted, (address, loaded.state)
            asked += 1
    assert asked > 9


class LateTwins(Twins):
    """Of a saga whose deadline passes once its first step is claimed."""

    def __init__(self, bench: Bench, plan: Plan) -> None:
        super().__init__(bench, plan)
        bench.sql(NO_OUTAGE)

    def time_is_over(self) -> None:
        moment = datetime.now(UTC) + AGO
        self.bench.sql("UPDATE {s}.saga_instance SET deadline = %s", moment)

    def completes_late(self, address: Address, token: UUID, **more: Any) -> None:
        """By the statement, and by the look of whoever is told that it is late."""
        progress = self.bench.store.hot.complete(
            self.compiled, self.plan, address, token=token, result="{}", placement=PLACED, **more
        )
        assert progress is not None
        assert progress.following is None or progress.following.ends
        if progress.is_late or progress.status is SagaStatus.COMPENSATING:
            self.bench.apply(self.compiled, Tick())
        self.bench.apply(self.decided, Completed(address=address, token=token, result="{}"))
        self.agree()

    def claims_both(self, *addresses: Address) -> list[UUID]:
        tokens = [uuid4() for _ in addresses]
        assert all(self.claim(address, token) for address, token in zip(addresses, tokens, strict=True))
        return tokens


@pytest.mark.parametrize("position", range(3))
def test_d26_a_completion_after_the_deadline_counts_and_only_the_turn_back_follows(bench: Bench, position: int) -> None:
    twins = LateTwins(bench, THREE)
    for before in range(position):
        (token,) = twins.claims_both(Address(before))
        twins.complete(Address(before), token, "{}")
    (token,) = twins.claims_both(Address(position))
    twins.time_is_over()

    twins.completes_late(Address(position), token)

    ended = position == 2
    assert bench.state(twins.compiled).status is (SagaStatus.COMPLETED if ended else SagaStatus.COMPENSATING)


@pytest.mark.parametrize("lanes", [(2,), (2, 1), (1, 2, 1)])
def test_d26_so_it_is_beside_others(bench: Bench, lanes: tuple[int, ...]) -> None:
    plan = plan_beside(*lanes)
    twins = LateTwins(bench, plan)
    heads = [Address(head.position, head.branch) for head in plan.heads(0)]
    tokens = twins.claims_both(*heads)
    twins.time_is_over()

    for address, token in zip(heads, tokens, strict=True):
        twins.completes_late(address, token)

    assert bench.state(twins.compiled).status is SagaStatus.COMPENSATING


def test_d26_what_was_handed_over_late_is_due_and_waited_for(bench: Bench) -> None:
    # Given: two branches complete late, and nobody looks in between
    plan = plan_beside(2)
    run, tokens = bench.start(plan), [uuid4(), uuid4()]
    bench.sql(NO_OUTAGE)
    for branch, token in enumerate(tokens):
        assert bench.claim(run, Address(0, branch), token=token) is not None
    in_time(bench, run, AGO)

    for branch, token in enumerate(tokens):
        assert bench.complete(run, plan, Address(0, branch), token) is SagaStatus.RUNNING

    # Then
    assert bench.store.sweeping.take_due(10) == [run]
    assert [row["position"] for row in bench.steps(run)] == [0, 0]
    bench.apply(run, Tick())
    assert bench.state(run).status is SagaStatus.COMPENSATING


def test_d26_past_the_pivot_a_completion_goes_on(bench: Bench) -> None:
    plan = plan_of("a", "p", "r", pivot="p")
    run = bench.start(plan)
    bench.sql(NO_OUTAGE)
    bench.step(run, plan, Address(0))
    token = uuid4()
    assert bench.claim(run, Address(1), token=token) is not None
    in_time(bench, run, AGO)

    assert bench.complete(run, plan, Address(1), token) is SagaStatus.RUNNING
    assert bench.step(run, plan, Address(2)) is SagaStatus.COMPLETED


def test_d26_a_claim_whose_answer_was_lost_is_claimed_again_after_the_deadline(bench: Bench) -> None:
    run, token = bench.start(), uuid4()
    bench.sql(NO_OUTAGE)
    assert bench.claim(run, token=token) is not None
    in_time(bench, run, AGO)

    assert bench.claim(run, token=token) is not None


@pytest.mark.parametrize("lasts", [True, False], ids=["lasts", "ended"])
def test_d26_after_an_outage_what_was_left_of_a_deadline_is_left(bench: Bench, lasts: bool) -> None:
    # Given: the deadline passed a minute ago, in the middle of an outage of two minutes
    run = bench.start()
    bench.sql(NO_OUTAGE.replace("clock_timestamp()", "clock_timestamp() - interval '2 minutes'"))
    in_time(bench, run, AGO)
    if not lasts:
        assert bench.store.sweeping.look_around()
        bench.apply(run, Tick())

    # Then: nothing is refused, and a body is told of the minute that is left
    claim = bench.claim(run)

    assert claim is not None
    assert claim.deadline is not None
    assert abs(claim.deadline - datetime.now(UTC) - timedelta(minutes=1)) < timedelta(seconds=30)
