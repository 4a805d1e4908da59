"""What a crash of the database takes with it, and who is dead: evidence, in two stages."""

import os
import signal
from collections.abc import Iterator
from uuid import uuid4

import pytest

from config.servers import EmbeddedPostgres
from sagas.model import Address, Holder, SagaStatus, StepStatus, Stop, StopKind, StopRequested, Tick
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

    assert decision.state.steps[0].status is StepStatus.FAILED
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


def test_c9_a_step_that_is_not_idempotent_is_not_run_again_after_a_crash(bench: Bench) -> None:
    # Given: dispatched, then a crash, and the message is overdue
    run = bench.start(CAREFUL)
    forget_epoch(bench)
    bench.age(3601)

    # When
    decision = bench.apply(run, Tick())

    # Then: given up in doubt and undone, never sent again
    assert [send.address for send in decision.sends] == [Address(0, 0, 1)]
    assert decision.state.steps[0].doubt


def test_c9_the_claim_itself_tells_that_an_earlier_one_may_be_lost(bench: Bench) -> None:
    run = bench.start(CAREFUL)
    forget_epoch(bench)

    claim = bench.claim(run)

    assert claim is not None
    assert claim.epoch_changed
    assert claim.doubt


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
    lost = [state for state in seen if state.steps[0].status is StepStatus.PENDING]
    assert lost, "no claim was lost: the test proves nothing"
    assert all(state.steps[0].epoch_changed for state in lost)
    for state in lost:
        assert [send.address for send in bench.apply(state.id, CANCEL).sends] == [Address(0, 0, 1)]
    # And what was claimed by then reports late: the effect is undone, not kept
    late = bench.complete(lost[0].id, THREE, Address(0), tokens[lost[0].id])
    assert late is None


@pytest.mark.faults
def test_c9_a_completion_survives_the_kill_of_a_backend(own_bench: Bench) -> None:
    runs = [own_bench.start() for _ in range(10)]
    for run in runs:
        own_bench.step(run)

    kill_one_backend(own_bench)
    states = own_bench.store.database.retrying(lambda: [own_bench.state(run) for run in runs], patience=30)

    assert {state.steps[0].status for state in states} == {StepStatus.COMPLETED}
    assert {state.status for state in states} == {SagaStatus.RUNNING}


@pytest.mark.faults
def test_c9_a_clean_restart_keeps_the_epoch(own_postgres: EmbeddedPostgres, own_bench: Bench) -> None:
    run = own_bench.start()
    epoch = own_bench.sql("SELECT epoch FROM {s}.saga_epoch")

    own_postgres.restart()

    assert own_bench.sql("SELECT epoch FROM {s}.saga_epoch") == epoch
    assert not own_bench.state(run).steps[0].epoch_changed


# -- C10, H3: who is dead. Times here: heartbeat 2 s, silence 2.4 s, lease 4 s, outage 8 s


def sweep_says(bench: Bench) -> set[object]:
    """One pass: who is declared dead."""
    assert bench.store.sweeping.look_around()
    return {row.id for row in bench.store.sweeping.declare_dead()}


def is_suspected(bench: Bench) -> bool:
    ((suspected,),) = bench.sql("SELECT suspected_at IS NOT NULL FROM {s}.saga_worker")
    return bool(suspected)


def test_c10_a_silent_worker_is_suspected_by_one_sweep_and_dead_a_lease_later_in_another(bench: Bench) -> None:
    worker = uuid4()
    bench.beat(worker)
    assert sweep_says(bench) == set()
    assert not is_suspected(bench)

    bench.age(3.5)
    assert sweep_says(bench) == set()
    assert is_suspected(bench)
    bench.age(2)
    assert sweep_says(bench) == set()
    bench.age(2.5)
    assert sweep_says(bench) == {worker}
    # And that is final
    assert bench.beat(worker) is False
    assert sweep_says(bench) == set()


def test_c10_a_heartbeat_clears_the_suspicion(bench: Bench) -> None:
    worker = uuid4()
    bench.beat(worker)
    bench.age(3.5)
    sweep_says(bench)

    assert bench.beat(worker) is True
    assert not is_suspected(bench)
    bench.age(2.5)
    assert sweep_says(bench) == set()


@pytest.mark.parametrize("suspected_before", [False, True])
def test_c10_after_an_outage_everybody_is_silent_and_nobody_dead(bench: Bench, suspected_before: bool) -> None:
    # Given: a healthy worker, perhaps a little late; then no database for a minute
    worker = uuid4()
    bench.beat(worker)
    if suspected_before:
        bench.age(3.5)
    sweep_says(bench)
    assert is_suspected(bench) is suspected_before
    bench.age(60)

    # When: the first sweep comes before the first heartbeat
    assert sweep_says(bench) == set()

    # Then
    assert bench.beat(worker) is True
    bench.age(2)
    assert sweep_says(bench) == set()


def test_c10_who_stays_silent_after_the_outage_is_dead_a_lease_later(bench: Bench) -> None:
    worker = uuid4()
    bench.beat(worker)
    sweep_says(bench)
    bench.age(60)
    assert sweep_says(bench) == set()
    bench.age(4.5)
    assert sweep_says(bench) == {worker}


def test_c10_the_holders_of_a_worker_declared_dead_are_silent_not_proven_dead(bench: Bench) -> None:
    worker, run, careful = uuid4(), bench.start(), bench.start(CAREFUL)
    bench.beat(worker)
    for instance in (run, careful):
        bench.claim(instance, worker=worker)
    for _ in range(3):
        bench.age(4.5)
        sweep_says(bench)

    # Then: an idempotent step runs again, another's time must be over first: its holder may still be acting
    assert bench.state(run).steps[0].holder is Holder.SILENT
    assert set(bench.store.sweeping.lost(10)) == {run, careful}
    assert bench.apply(run, Tick()).sends
    again = bench.state(run).steps[0]
    assert (again.losses, again.doubt, again.status) == (1, True, StepStatus.PENDING)
    assert bench.apply(careful, Tick()).sends == ()
    assert bench.state(careful).steps[0].status is StepStatus.RUNNING


def test_c10_a_claim_made_after_the_list_of_a_heartbeat_is_not_dead_by_it(bench: Bench) -> None:
    # Given: a fresh child claims between the parent's list and the next one
    worker, run = uuid4(), bench.start()
    bench.beat(worker, "something else")
    bench.claim(run, worker=worker, delivery="mine")

    assert bench.state(run).steps[0].holder is Holder.ALIVE


def test_h3_a_claim_that_a_later_heartbeat_does_not_list_is_dead_and_due_at_once(bench: Bench) -> None:
    # Given: a child that was killed; the parent lives
    worker, run, other = uuid4(), bench.start(), bench.start()
    bench.beat(worker)
    bench.claim(run, worker=worker, delivery="mine")
    bench.claim(other, worker=worker, delivery="others")

    # When
    bench.beat(worker, "others")

    # Then: due though its due_at is not reached; and the other one is let alone
    assert bench.state(run).steps[0].holder is Holder.DEAD
    assert bench.state(other).steps[0].holder is Holder.ALIVE
    assert bench.store.sweeping.lost(10) == [run]
    assert [send.address for send in bench.apply(run, Tick()).sends] == [Address(0)]


def test_h3_a_worker_that_said_goodbye_holds_nothing(bench: Bench) -> None:
    worker, run = uuid4(), bench.start()
    bench.beat(worker, "mine")
    bench.claim(run, worker=worker, delivery="mine")
    assert bench.store.sweeping.lost(10) == []

    bench.store.sweeping.say_goodbye(worker)

    assert bench.store.sweeping.lost(10) == [run]


def test_h3_a_dead_holder_is_found_at_once_also_after_a_long_wait_in_the_queue(bench: Bench) -> None:
    # Given: a step that queued for 50 s, so that the next look at it is far away; then claimed by who dies
    worker, run = uuid4(), bench.start()
    bench.age(50)
    assert bench.store.sweeping.lost(10) == []
    bench.beat(worker)
    bench.claim(run, worker=worker, delivery="mine")

    # When
    bench.beat(worker)

    # Then
    assert bench.state(run).steps[0].holder is Holder.DEAD
    assert bench.store.sweeping.lost(10) == [run]


def test_a_claim_by_no_worker_is_alive_until_its_time_is_over(bench: Bench) -> None:
    run = bench.start()
    bench.claim(run, worker=None)
    bench.age(3000)

    assert bench.state(run).steps[0].holder is Holder.ALIVE
    bench.age(700)
    assert bench.apply(run, Tick()).notes[0].event == "attempt_failed"


def test_a_worker_without_a_row_is_silent_after_a_while_not_at_once(bench: Bench) -> None:
    run = bench.start()
    bench.claim(run, worker=uuid4())

    assert bench.state(run).steps[0].holder is Holder.ALIVE
    bench.age(17)
    assert bench.state(run).steps[0].holder is Holder.SILENT
