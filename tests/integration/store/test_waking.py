"""B9: a plain wake is `decide`'s answer to a look, compiled to a statement for many; the rest is left to a look."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from sagas.model import (
    Address,
    ErrorInfo,
    Failed,
    Mail,
    MailKind,
    Plan,
    SagaStatus,
    Stop,
    StopKind,
    StopRequested,
    Tick,
    Verdict,
)
from sagas.store import Joining
from tests.integration.store.test_agreement import PLANS, SHAPES, Twins, next_event, with_sleep
from tests.support.bench import FIRST, PLACED, THREE, Background, Bench, plan_beside, plan_of

GONE = ErrorInfo(type="builtins.ConnectionError", message="gone")
SLEEPING, FIRST_SLEEPS = with_sleep(THREE, 1), with_sleep(THREE, 0)
FORKS = Plan(
    saga="forks",
    version=1,
    steps=(
        with_sleep(plan_of("nap"), 0).steps[0],
        *(replace(step, position=1) for step in plan_beside(2, 1, 3).steps[:-1]),
    ),
)
ALONE_IN_ITS_LANE = replace(
    THREE, steps=tuple(replace(step, position=0, branch=n) for n, step in enumerate(THREE.steps))
)
LIMITED = replace(SLEEPING, max_concurrent=1)


def over(bench: Bench, *runs: UUID) -> None:
    """The time that they wait for has passed."""
    for run in runs:
        bench.sql(
            "UPDATE {s}.saga_step SET not_before = clock_timestamp() "
            "WHERE instance_id = %s AND status = 'pending' AND not_before IS NOT NULL",
            run,
        )
        bench.sql(
            "UPDATE {s}.saga_instance SET due_at = clock_timestamp() WHERE id = %s AND due_at IS NOT NULL",
            run,
        )


def wake(bench: Bench, limit: int = 500) -> list[UUID]:
    return [woken.id for woken in bench.store.waking.wake(limit, PLACED)]


def look(bench: Bench, run: UUID) -> None:
    """As the sweep looks at one when it has sent enough."""
    with bench.store.instances.transaction() as connection:
        loaded = bench.store.instances.lock(connection, run)
        assert loaded is not None
        bench.store.instances.save(connection, loaded, bench.decide(loaded, Tick()), PLACED, Joining.ALWAYS)


def rows(bench: Bench, run: UUID) -> list[Any]:
    return [bench.row("saga_instance", run), *bench.steps(run)]


def asleep(bench: Bench, plan: Plan = SLEEPING, **options: Any) -> UUID:
    """One that has come to its sleep."""
    run = bench.start(plan, **options)
    for step in plan.steps:
        if not step.is_task:
            break
        bench.step(run, plan, Address(step.position, step.branch))
    bench.apply(run, Tick())
    return run


def to_retry(bench: Bench, plan: Plan = THREE, address: Address = FIRST, **options: Any) -> UUID:
    """One that waits for its next attempt."""
    run, token = bench.start(plan, **options), uuid4()
    for position in range(address.position):
        bench.step(run, plan, Address(position))
    assert bench.claim(run, address, token=token) is not None
    failed = Failed(address=address, token=token, error=GONE, verdict=Verdict.RETRYABLE, retry_after=30.0, dice=0.0)
    bench.apply(run, failed)
    return run


# -- what the statement says is what decide says


LIVES = (
    PLANS
    | SHAPES
    | {
        "forks": FORKS,
        "one lane": ALONE_IN_ITS_LANE,
        "sleeps in its only lane": with_sleep(ALONE_IN_ITS_LANE, 0, branch=1),
        "sleeps twice": with_sleep(SLEEPING, 2),
        "best effort, then sleep": with_sleep(plan_of("a", "b", "c", best_effort=True), 1),
        "sleeps behind its pivot": with_sleep(plan_of("a", "p", "b", "c", pivot="p"), 2),
        "limited": LIMITED,
    }
)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("plan", LIVES.values(), ids=LIVES)
def test_b9_a_plain_wake_leaves_the_rows_that_a_look_leaves(bench: Bench, plan: Plan, seed: int) -> None:
    twins, dice, tokens = Twins(bench, plan), random.Random(seed), [uuid4()]
    twins.both(Tick())

    for _ in range(15):
        twins.both(next_event(dice, bench.state(twins.compiled), tokens))
        over(bench, twins.compiled, twins.decided)
        before = rows(bench, twins.compiled)
        bench.sql("UPDATE {s}.saga_instance SET due_at = NULL WHERE id = %s", twins.decided)
        woken = wake(bench)
        if woken:
            over(bench, twins.decided)
            look(bench, twins.decided)
            twins.agree()
        else:
            assert rows(bench, twins.compiled) == before
            over(bench, twins.decided)


@pytest.mark.parametrize("plan", [SLEEPING, FIRST_SLEEPS, FORKS], ids=["between", "first", "forks"])
def test_b9_who_has_slept_goes_on(bench: Bench, plan: Plan) -> None:
    run = asleep(bench, plan)
    assert wake(bench) == []
    over(bench, run)

    (woken,) = bench.store.waking.wake(500, PLACED)

    assert (woken.id, woken.saga, woken.has_begun) == (run, plan.saga, not plan.steps[0].is_task)
    born = [row for row in bench.steps(run) if row["status"] == "pending"]
    assert {(row["line"], row["dispatches"]) for row in born} == {("", 0)}
    assert bench.state(run).pending == len(born)
    assert bench.claim(run, Address(born[0]["position"], born[0]["branch"])) is not None


@pytest.mark.parametrize("position", [0, 1])
def test_b9_a_retry_whose_time_has_come_joins_the_line(bench: Bench, position: int) -> None:
    run = to_retry(bench, THREE, Address(position))
    over(bench, run)

    assert wake(bench) == [run]

    row = bench.steps(run)[position]
    assert (row["status"], row["line"], row["attempts"]) == ("pending", "", 1)
    assert bench.state(run).status is (SagaStatus.RUNNING if position else SagaStatus.PENDING)
    assert wake(bench) == []
    bench.step(run, THREE, Address(position))


# -- what is not plain


def cancelled(bench: Bench) -> UUID:
    run = asleep(bench)
    with bench.store.database.transaction() as connection:
        bench.store.instances.inbox.put(connection.scalar, run, Mail(kind=MailKind.CANCEL, name="changed mind"))
    return run


def told(bench: Bench) -> UUID:
    run = asleep(bench)
    with bench.store.database.transaction() as connection:
        bench.store.instances.inbox.put(connection.scalar, run, Mail(kind=MailKind.SIGNAL, name="approved"))
    return run


def turning_back(bench: Bench) -> UUID:
    """Its undo waits for its next attempt."""
    run = bench.start(THREE)
    bench.step(run)
    stop = Stop(kind=StopKind.CANCELLED, reason="changed mind")
    bench.apply(run, StopRequested(stop=stop))
    undo, token = Address(0, 0, 1), uuid4()
    assert bench.claim(run, undo, token=token) is not None
    bench.apply(
        run, Failed(address=undo, token=token, error=GONE, verdict=Verdict.RETRYABLE, retry_after=30.0, dice=0.0)
    )
    return run


def lost_claim(bench: Bench) -> UUID:
    run = to_retry(bench)
    bench.sql("DELETE FROM {s}.saga_epoch")
    return run


def beside_one_that_runs(bench: Bench) -> UUID:
    run = to_retry(bench, plan_beside(2))
    assert bench.claim(run, Address(0, 1)) is not None
    return run


def beside_one_that_was_handed_over(bench: Bench) -> UUID:
    plan = with_sleep(plan_beside(2, 1), 0, branch=1)
    run, token = to_retry(bench, plan, Address(0, 2)), uuid4()
    assert bench.claim(run, Address(0, 0), token=token) is not None
    bench.complete(run, plan, Address(0, 0), token)
    return run


def of_a_plan_that_is_not_known(bench: Bench) -> UUID:
    run = asleep(bench)
    bench.store.instances._plans.clear()
    return run


def edited(statement: str) -> Callable[[Bench], UUID]:
    """One that sleeps, and of which one row is not as usual."""

    def one(bench: Bench) -> UUID:
        run = asleep(bench)
        bench.sql(statement, run)
        return run

    return one


PAST_ITS_DEADLINE = "UPDATE {s}.saga_instance SET deadline = clock_timestamp() WHERE id = %s"
PAST_ITS_SECONDS = "UPDATE {s}.saga_instance SET deadline = NULL, deadline_seconds = 0.0 WHERE id = %s"
AWAITING_A_LOCK = "INSERT INTO {s}.saga_lock (resource, instance_id) VALUES ('account:7', %s)"
WITH_A_ROW_TOO_MANY = (
    "INSERT INTO {s}.saga_step (instance_id, position, branch, round, name, timeout, status, finished_at) "
    "VALUES (%s, 2, 0, 0, 'c', 1, 'completed', clock_timestamp())"
)


@pytest.mark.parametrize(
    "one",
    [
        cancelled,
        told,
        turning_back,
        pytest.param(edited(PAST_ITS_DEADLINE), id="past_its_deadline"),
        pytest.param(edited(PAST_ITS_SECONDS), id="past_its_seconds"),
        lost_claim,
        pytest.param(edited(AWAITING_A_LOCK), id="awaiting_a_lock"),
        beside_one_that_runs,
        beside_one_that_was_handed_over,
        of_a_plan_that_is_not_known,
        pytest.param(edited(WITH_A_ROW_TOO_MANY), id="with_a_row_too_many"),
        lambda bench: asleep(bench, with_sleep(THREE, 2)),
        lambda bench: asleep(bench, with_sleep(SLEEPING, 2)),
        lambda bench: asleep(bench, with_sleep(plan_beside(2, 1), 0, branch=0)),
    ],
    ids=lambda one: {"<lambda>": "of another shape"}.get(one.__name__, one.__name__),
)
def test_b9_whatever_else_there_is_to_decide_is_looked_at(bench: Bench, one: Callable[[Bench], UUID]) -> None:
    run = one(bench)
    over(bench, run)
    before = rows(bench, run)

    assert wake(bench) == []

    assert rows(bench, run) == before
    assert list(bench.store.sweeping.take_due(10)) == [run]


# -- many at once


def test_b9_they_go_on_in_the_order_in_which_they_wake_up_a_batch_at_a_time(bench: Bench) -> None:
    runs = [asleep(bench) for _ in range(9)]
    random.Random(9).shuffle(runs)
    over(bench, *runs)

    assert [wake(bench, 4) for _ in range(4)] == [runs[:4], runs[4:8], runs[8:], []]

    born = bench.sql("SELECT instance_id FROM {s}.saga_step WHERE position = 2 ORDER BY created_at")
    assert [UUID(str(run)) for (run,) in born] == runs


def test_b9_two_that_wake_at_once_wake_each_once_and_wait_for_nobody(bench: Bench) -> None:
    runs = [asleep(bench) for _ in range(6)]
    over(bench, *runs)
    held = bench.driver()
    held.autocommit = False
    held.cursor().execute("SELECT FROM sagas.saga_instance WHERE id = %s FOR UPDATE", (str(runs[0]),))

    at_once = [Background(lambda: wake(bench, 4)) for _ in range(4)]
    woken = [run for each in at_once for run in each.join()] + wake(bench)

    assert sorted(woken) == sorted(runs[1:])
    held.rollback()
    assert wake(bench) == [runs[0]]
    assert bench.sql("SELECT count(*) FROM {s}.saga_step WHERE position = 2") == [(6,)]


def test_b9_a_retry_that_an_old_message_has_claimed_meanwhile_runs_once(bench: Bench) -> None:
    """A claim locks its step alone."""
    run, claiming = to_retry(bench), bench.driver()
    over(bench, run)
    claiming.autocommit = False
    claiming.cursor().execute(
        "UPDATE sagas.saga_step SET status = 'running', token = gen_random_uuid(), claimed_at = clock_timestamp()"
    )

    assert Background(lambda: wake(bench)).join() == []

    claiming.commit()
    assert wake(bench) == []
    assert bench.steps(run)[0]["status"] == "running"
