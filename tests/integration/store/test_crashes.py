"""What a crash of the database takes with it."""

import os
import signal
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from sqlalchemy import make_url

from config.servers import EmbeddedPostgres
from sagas.model import Address, ExecutionStatus, SagaStatus, Stop, StopKind, StopRequested, Tick
from tests.support.bench import THREE, Bench, bench_on, plan_of

CANCEL = StopRequested(stop=Stop(kind=StopKind.CANCELLED, reason="changed mind"))
CAREFUL = plan_of("a", "b", saga="careful", idempotent=False)
PIVOTED = plan_of("p", "r", pivot="p", saga="pivoted")

# -- C9: lost claims


def forget_epoch(bench: Bench) -> None:
    """What a crash of one backend does, as far as the library can see."""
    bench.sql("TRUNCATE {s}.saga_epoch")


@pytest.mark.parametrize("swept", [False, True], ids=["before a sweep", "after a sweep"])
def test_c9_a_cancel_after_a_crash_undoes_the_step_that_was_perhaps_claimed(bench: Bench, swept: bool) -> None:
    run = bench.start()
    forget_epoch(bench)
    if swept:
        bench.store.sweeping.look_around()

    decision = bench.apply(run, CANCEL)

    assert decision.state.steps[0].status is ExecutionStatus.FAILED
    assert decision.state.steps[0].doubt
    assert [send.address for send in decision.sends] == [Address(0, 0, 1)]


def test_c9_without_a_crash_nothing_was_claimed_and_nothing_is_undone(bench: Bench) -> None:
    run = bench.start()
    bench.store.sweeping.look_around()

    assert bench.apply(run, CANCEL).state.status is SagaStatus.COMPENSATED


def test_c9_the_sweep_makes_a_new_epoch_and_keeps_the_one_there_is(bench: Bench) -> None:
    epoch = "SELECT epoch FROM {s}.saga_epoch"
    before = bench.sql(epoch)
    bench.store.sweeping.look_around()
    assert bench.sql(epoch) == before

    forget_epoch(bench)
    bench.store.sweeping.look_around()

    assert len(bench.sql(epoch)) == 1
    assert bench.sql(epoch) != before


@pytest.fixture(params=["a worker", "a birth"])
def former(bench: Bench, request: pytest.FixtureRequest) -> Callable[[], None]:
    """A process of a release whose claims never wait for the disk: one that may claim, or one that started the saga."""
    if request.param == "a birth":
        return lambda: bench.sql("UPDATE {s}.saga_step SET synced_claim = NULL") and None
    bench.beat(uuid4())
    return lambda: bench.sql("UPDATE {s}.saga_worker SET syncs_claims = false") and None


def test_c9_a_step_that_is_not_idempotent_is_not_run_again_if_a_crash_may_have_lost_its_claim(
    bench: Bench, former: Callable[[], None]
) -> None:
    # Given: dispatched, then a crash, and the message is overdue
    run = bench.start(CAREFUL)
    former()
    forget_epoch(bench)
    bench.age(3601)

    # When
    decision = bench.apply(run, Tick())

    # Then: given up in doubt and undone, never sent again
    assert [send.address for send in decision.sends] == [Address(0, 0, 1)]
    assert decision.state.steps[0].doubt


def test_c9_the_claim_itself_tells_that_an_earlier_one_may_be_lost(bench: Bench, former: Callable[[], None]) -> None:
    run = bench.start(CAREFUL)
    former()
    forget_epoch(bench)

    claim = bench.claim(run)

    assert claim is not None
    assert claim.epoch_changed
    assert claim.doubt


def test_c9_a_step_that_is_not_idempotent_and_only_waited_during_a_crash_is_in_no_doubt(bench: Bench) -> None:
    # Given: none of the workers is of a former release
    bench.beat(uuid4())
    run, waits = bench.start(CAREFUL), bench.start(CAREFUL)
    bench.step(waits, CAREFUL)  # its second step was born by a completion
    forget_epoch(bench)
    bench.age(3601)

    # When: it is sent again
    assert [send.address for send in bench.apply(run, Tick()).sends] == [Address(0)]

    # Then
    for instance, address in ((run, Address(0)), (waits, Address(1))):
        claim = bench.claim(instance, address)
        assert claim is not None
        assert not claim.epoch_changed
        assert not claim.doubt


def test_c9_a_cancel_after_a_crash_turns_back_over_a_pivot_whose_claim_would_not_be_lost(bench: Bench) -> None:
    run = bench.start(plan_of("p", "r", pivot="p", saga="careful-pivot", idempotent=False))
    forget_epoch(bench)

    assert bench.apply(run, CANCEL).state.status is SagaStatus.COMPENSATED


def test_c9_what_is_dispatched_after_the_crash_is_not_in_doubt(bench: Bench) -> None:
    forget_epoch(bench)
    bench.store.sweeping.look_around()
    run = bench.start()

    claim = bench.claim(run)

    assert claim is not None
    assert not claim.epoch_changed


def test_c9_a_dispatch_after_the_crash_keeps_the_doubt_of_the_one_before(bench: Bench) -> None:
    run = bench.start()
    forget_epoch(bench)
    bench.store.sweeping.look_around()
    bench.age(3601)
    assert bench.apply(run, Tick()).sends

    claim = bench.claim(run)

    assert claim is not None
    assert not claim.epoch_changed
    assert claim.doubt


def test_c6_c9_a_cancel_after_a_crash_waits_for_the_pivot_that_was_perhaps_claimed(bench: Bench) -> None:
    run = bench.start(PIVOTED)
    forget_epoch(bench)

    decision = bench.apply(run, CANCEL)

    assert decision.state.status is SagaStatus.PENDING
    assert decision.state.stop is not None


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A server whose processes may be killed, apart from the one that all tests share."""
    with EmbeddedPostgres(durable=False) as server:
        yield server


@pytest.fixture
def own_bench(own_postgres: EmbeddedPostgres) -> Iterator[Bench]:
    with bench_on(own_postgres.create_database(f"test_{uuid4().hex}")) as bench:
        # What was not synced stays in memory for as long as it takes to kill a backend.
        bench.sql("ALTER SYSTEM SET wal_writer_delay = '10s'")
        bench.sql("SELECT pg_reload_conf()")
        yield bench


def kill_one_backend(bench: Bench) -> None:
    """As the OOM killer does. The postmaster throws away everybody's shared memory, and stays."""
    victim = bench.driver()
    os.kill(victim.info.backend_pid, signal.SIGKILL)


@pytest.mark.faults
def test_c9_the_claims_that_the_kill_of_one_backend_loses_are_in_doubt(own_bench: Bench) -> None:
    # Given: claimed, not synced, and running for all that its worker knows
    bench = own_bench
    started = "SELECT pg_postmaster_start_time()"
    before = bench.sql(started)
    runs = [bench.start() for _ in range(20)]
    tokens = {run: uuid4() for run in runs}
    for run, token in tokens.items():
        assert bench.claim(run, token=token) is not None

    # When
    kill_one_backend(bench)
    seen = bench.store.database.retrying(lambda: [bench.state(run) for run in runs], patience=30)

    # Then: the postmaster is the same, claims are gone, and every step that lost its claim may have happened
    assert bench.sql(started) == before
    lost = [state for state in seen if state.steps[0].status is ExecutionStatus.PENDING]
    assert lost, "no claim was lost: the test proves nothing"
    assert all(state.steps[0].evidence.epoch_changed for state in lost)
    for state in lost:
        assert [send.address for send in bench.apply(state.id, CANCEL).sends] == [Address(0, 0, 1)]
    # And what was claimed by then reports late: the effect is undone, not kept
    late = bench.complete(lost[0].id, THREE, Address(0), tokens[lost[0].id])
    assert late is None


@pytest.mark.faults
def test_c9_the_claim_of_a_step_that_is_not_idempotent_survives_the_kill_of_a_backend(own_bench: Bench) -> None:
    # Given: claims alone, since any later commit that waits for the disk takes earlier ones along
    runs = [own_bench.start(CAREFUL) for _ in range(5)]
    # And a database in which no commit waits, unless it says so
    own_bench.sql(f"ALTER DATABASE {make_url(own_bench.url).database} SET synchronous_commit = off")
    own_bench.store.database.dispose()
    for run in runs:
        assert own_bench.claim(run) is not None

    kill_one_backend(own_bench)
    states = own_bench.store.database.retrying(lambda: [own_bench.state(run) for run in runs], patience=30)

    assert {state.steps[0].status for state in states} == {ExecutionStatus.RUNNING}


@pytest.mark.faults
def test_c9_a_completion_survives_the_kill_of_a_backend(own_bench: Bench) -> None:
    runs = [own_bench.start() for _ in range(10)]
    for run in runs:
        own_bench.step(run)

    kill_one_backend(own_bench)
    states = own_bench.store.database.retrying(lambda: [own_bench.state(run) for run in runs], patience=30)

    assert {state.steps[0].status for state in states} == {ExecutionStatus.COMPLETED}
    assert {state.status for state in states} == {SagaStatus.RUNNING}


@pytest.mark.faults
def test_c9_a_clean_restart_keeps_the_epoch(own_postgres: EmbeddedPostgres, own_bench: Bench) -> None:
    run = own_bench.start()
    epoch = own_bench.sql("SELECT epoch FROM {s}.saga_epoch")

    own_postgres.restart()

    assert own_bench.sql("SELECT epoch FROM {s}.saga_epoch") == epoch
    assert not own_bench.state(run).steps[0].evidence.epoch_changed
