"""One lock order: instance, then its steps. Forced with real row locks, then shaken."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import ExceptionContext

from sagas.model import (
    Address,
    Completed,
    ErrorInfo,
    ExecutionStatus,
    Failed,
    SagaStatus,
    Stop,
    StopKind,
    StopRequested,
    Tick,
    Verdict,
)
from sagas.model.executions import LONGEST_COUNTDOWN
from sagas.store import loop_statements, statements
from sagas.store.database import DEADLOCK_DETECTED
from tests.support.bench import THREE, Background, Bench, plan_beside, plan_of

CANCEL = StopRequested(stop=Stop(kind=StopKind.CANCELLED, reason="changed mind"))
LONG = plan_of(*(f"s{number}" for number in range(6)), saga="long")


@pytest.fixture
def deadlocks(bench: Bench) -> list[str]:
    """Every deadlock that PostgreSQL reports to the library."""
    seen: list[str] = []

    def look(context: ExceptionContext) -> None:
        if getattr(context.original_exception, "pgcode", None) == DEADLOCK_DETECTED:
            seen.append(str(context.statement))

    event.listen(bench.store.database.engine, "handle_error", look)
    return seen


@contextmanager
def opened(bench: Bench) -> Iterator[Connection]:
    with bench.store.database.transaction() as connection:
        yield connection


def test_c2_a_claim_that_waited_for_a_cancel_finds_its_step_voided(bench: Bench) -> None:
    # Given: a cancel that holds the locks, and a claim that waits for its step's row
    run = bench.start()
    with opened(bench) as connection:
        loaded = bench.store.instances.lock(connection, run)
        assert loaded is not None
        claim = Background(lambda: bench.claim(run))
        bench.wait_for_lock_waiters(1)

        # When: the cancel goes through
        bench.decide_and_save(connection, loaded, CANCEL)

    # Then: the action never runs
    assert claim.join() is None
    assert bench.state(run).steps[0].status is ExecutionStatus.SKIPPED


def test_c2_a_cancel_that_waited_for_a_claim_drains_what_was_claimed(bench: Bench) -> None:
    # Given: a completed step, and the claim of the next one not committed yet
    run, token = bench.start(), uuid4()
    bench.step(run, THREE)
    place = {"instance_id": str(run), "position": 1, "branch": 0, "round": 0}
    rest = {
        "task": "do.b",
        "token": str(token),
        "worker_id": None,
        "delivery": None,
        "digest": None,
        "known_plans": [""],
        "countdown": LONGEST_COUNTDOWN,
        "outage": bench.store.timing.outage,
        "sent": None,
    }
    with opened(bench) as connection:
        statement = statements.CLAIM.replace("{s}", '"sagas"')
        assert connection.exec_driver_sql(statement, place | rest).one_or_none() is not None
        cancel = Background(lambda: bench.apply(run, CANCEL))
        bench.wait_for_lock_waiters(1)

    # When
    decision = cancel.join()

    # Then: nothing is undone before the claimed action has ended, and then it is undone first
    assert decision.sends == ()
    assert [step.status for step in decision.state.steps] == [ExecutionStatus.COMPLETED, ExecutionStatus.RUNNING]
    assert bench.complete(run, THREE, Address(1), token) is SagaStatus.COMPENSATING
    assert [send.address for send in bench.apply(run, Tick()).sends] == [Address(1, 0, 1)]


def test_c2_a_completion_that_waits_for_the_loop_holds_no_lock_that_the_loop_needs(
    bench: Bench, deadlocks: list[str]
) -> None:
    # Given: the loop has locked the instance, not its steps yet; a completion waits for the instance
    run, token = bench.start(), uuid4()
    bench.claim(run, token=token)
    load = text(loop_statements.LOCK_INSTANCE.replace("{s}", '"sagas"'))
    with opened(bench) as connection:
        connection.execute(load, {"id": run})
        completion = Background(lambda: bench.complete(run, THREE, Address(0), token))
        bench.wait_for_lock_waiters(1)

        # When: the loop goes on to the steps, cancels and commits
        loaded = bench.store.instances.lock(connection, run)
        assert loaded is not None
        bench.decide_and_save(connection, loaded, CANCEL)

    # Then: guarded by its token alone the completion is recorded, and does not advance
    assert completion.join() is SagaStatus.COMPENSATING
    assert [step.status for step in bench.state(run).steps] == [ExecutionStatus.COMPLETED]
    assert deadlocks == []


def test_c2_the_loop_waits_for_an_open_completion_and_then_sees_the_newborn_step(bench: Bench) -> None:
    # Given: a completion, and with it the birth of the next step, not committed yet
    run, token = bench.start(), uuid4()
    bench.claim(run, token=token)
    with opened(bench) as connection:
        assert bench.complete(run, THREE, Address(0), token, connection=connection) is SagaStatus.RUNNING
        cancel = Background(lambda: bench.apply(run, CANCEL))
        bench.wait_for_lock_waiters(1)

    # Then: read in a second statement, after the lock: the newborn step is voided, not overlooked
    steps = cancel.join().state.steps
    assert [(step.address.position, step.address.round, step.status) for step in steps] == [
        (0, 0, ExecutionStatus.COMPLETED),
        (0, 1, ExecutionStatus.PENDING),
        (1, 0, ExecutionStatus.SKIPPED),
    ]


@pytest.mark.parametrize("branches", [2, 8])
def test_c1_of_branches_that_all_wait_for_the_instance_exactly_one_is_last(bench: Bench, branches: int) -> None:
    # Given: completions whose snapshots are all older than the first of them
    plan = plan_beside(branches)
    run = bench.start(plan)
    tokens = {Address(0, branch): uuid4() for branch in range(branches)}
    for place, token in tokens.items():
        assert bench.claim(run, place, token=token) is not None
    with opened(bench) as connection:
        assert bench.store.instances.lock(connection, run) is not None
        waiting = [
            Background(lambda place=place, token=token: bench.complete(run, plan, place, token))  # type: ignore[misc]
            for place, token in tokens.items()
        ]
        bench.wait_for_lock_waiters(branches)

    # When: the instance is free
    for completion in waiting:
        assert completion.join() is SagaStatus.RUNNING

    # Then
    assert bench.row("saga_instance", run)["pending"] == 1
    assert [step["position"] for step in bench.steps(run)] == [0] * branches + [1]


@pytest.mark.parametrize("branches", [2, 8])
def test_c1_of_branches_that_complete_at_once_exactly_one_is_last(bench: Bench, branches: int) -> None:
    # Given: branches that run side by side
    plan = plan_beside(branches)
    for _ in range(15):
        run = bench.start(plan)
        tokens = [uuid4() for _ in range(branches)]
        for branch, token in enumerate(tokens):
            assert bench.claim(run, Address(0, branch), token=token) is not None

        # When
        together = threading.Barrier(branches)

        def finish(branch: int, token: UUID, run: UUID = run, together: threading.Barrier = together) -> None:
            together.wait(10)
            bench.complete(run, plan, Address(0, branch), token, f'{{"key{branch}": 1}}', (f"key{branch}",))

        for running in [Background(lambda b=b, t=t: finish(b, t)) for b, t in enumerate(tokens)]:  # type: ignore[misc]
            running.join()

        # Then
        row = bench.row("saga_instance", run)
        assert (row["status"], row["pending"], row["written"]) == ("running", 1, None)
        assert [step["position"] for step in bench.steps(run)] == [0] * branches + [1]


def test_c7_a_lane_does_not_go_on_once_another_one_has_failed(bench: Bench) -> None:
    # Given: a branch, and beside it the first of two steps
    plan, says_no, goes_well = plan_beside(1, 2), uuid4(), uuid4()
    run = bench.start(plan)
    assert bench.claim(run, Address(0, 0), token=says_no)
    assert bench.claim(run, Address(0, 1), token=goes_well)
    error = ErrorInfo(type="builtins.ValueError", message="no")
    bench.apply(run, Failed(address=Address(0, 0), token=says_no, error=error, verdict=Verdict.CLEAN_NO))

    # When: the first one completes before anybody has asked what follows from the failure
    ended = bench.complete(run, plan, Address(0, 1), goes_well)

    # Then: it is recorded, and the second one is not born
    assert ended is SagaStatus.COMPENSATING
    assert [(step["branch"], step["status"]) for step in bench.steps(run)] == [(0, "failed"), (1, "completed")]


def live(bench: Bench, runs: list[UUID], seed: int, gives_up: threading.Event) -> int:
    """One of several that claim, complete, look and cancel, all on the same few instances."""
    dice, done = random.Random(seed), 0
    held: list[tuple[UUID, Address, UUID]] = []
    while not gives_up.is_set() and done < 150:
        run, token, place = dice.choice(runs), uuid4(), Address(dice.randrange(6), 0, dice.choice([0, 0, 0, 1]))
        if bench.claim(run, place, token=token) is not None:
            held.append((run, place, token))
        if held and dice.random() < 0.7:
            run, place, token = held.pop(dice.randrange(len(held)))
            if place.is_action:
                bench.complete(run, LONG, place, token)
            else:
                bench.apply(run, Completed(address=place, token=token))
        bench.apply(dice.choice(runs), CANCEL if dice.random() < 0.02 else Tick())
        done += 1
    return done


def test_c2_claims_completions_looks_and_cancels_at_once_never_deadlock(bench: Bench, deadlocks: list[str]) -> None:
    runs = [bench.start(LONG) for _ in range(4)]
    gives_up = threading.Event()
    crowd = [Background(lambda seed=seed: live(bench, runs, seed, gives_up)) for seed in range(6)]  # type: ignore[misc]

    try:
        assert sum(member.join(90) for member in crowd) == 6 * 150
    finally:
        gives_up.set()
    assert deadlocks == []
    for run in runs:
        state = bench.state(run)
        assert state.pending == sum(step.is_live for step in state.steps)
        if not state.status.is_forward:
            assert not any(step.status is ExecutionStatus.PENDING for step in state.actions())


def test_a_deadlock_made_by_somebody_else_is_tried_again(bench: Bench, deadlocks: list[str]) -> None:
    # Given: a stranger who locks in the wrong order: the step, then the instance
    run, token = bench.start(), uuid4()
    bench.claim(run, token=token)
    stranger = bench.driver()
    stranger.autocommit = False
    cursor = stranger.cursor()
    cursor.execute("SET deadlock_timeout = '60s'")  # it is the library's statement that shall be the victim
    cursor.execute("SELECT 1 FROM sagas.saga_step WHERE instance_id = %s FOR UPDATE", (str(run),))
    completion = Background(lambda: bench.complete(run, THREE, Address(0), token))
    bench.wait_for_lock_waiters(1)

    # When
    cursor.execute("SELECT 1 FROM sagas.saga_instance WHERE id = %s FOR UPDATE", (str(run),))
    stranger.rollback()

    # Then
    assert completion.join() is SagaStatus.RUNNING
    assert len(deadlocks) == 1
    assert bench.steps(run)[0]["status"] == "completed"


def test_a_loop_that_does_not_want_to_wait_passes_over_a_locked_instance(bench: Bench) -> None:
    run = bench.start()
    with opened(bench) as connection:
        assert bench.store.instances.lock(connection, run) is not None
        with opened(bench) as other:
            assert bench.store.instances.lock(other, run, skip_locked=True) is None


def test_a_row_that_was_edited_by_hand_under_the_loop_is_an_error_not_an_overwrite(bench: Bench) -> None:
    run = bench.start()

    def cancel() -> None:
        with opened(bench) as connection:
            loaded = bench.store.instances.lock(connection, run)
            assert loaded is not None
            connection.execute(text("UPDATE sagas.saga_instance SET status = 'running' WHERE id = :id"), {"id": run})
            bench.decide_and_save(connection, loaded, CANCEL)

    with pytest.raises(RuntimeError, match="edited by hand"):
        cancel()
    assert bench.state(run).status is SagaStatus.PENDING
