"""Who is dead: evidence, in two stages."""

from uuid import uuid4

import pytest

from sagas.model import Address, ExecutionStatus, Holder, SagaStatus, Stop, StopKind, StopRequested, Tick
from tests.support.bench import Bench, plan_beside, plan_of

CAREFUL = plan_of("a", "b", saga="careful", idempotent=False)

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
    assert bench.state(run).steps[0].evidence.holder is Holder.SILENT
    assert set(bench.store.sweeping.lost(10)) == {run, careful}
    assert bench.apply(run, Tick()).sends
    again = bench.state(run).steps[0]
    assert (again.losses, again.doubt, again.status) == (1, True, ExecutionStatus.PENDING)
    assert bench.apply(careful, Tick()).sends == ()
    assert bench.state(careful).steps[0].status is ExecutionStatus.RUNNING


def test_h3_a_sibling_that_completes_after_the_death_hides_no_silent_holder(bench: Bench) -> None:
    # Given: two branches, held by a worker that dies and by one that lives
    beside, (dying, living), token = plan_beside(2), (uuid4(), uuid4()), uuid4()
    run = bench.start(beside)
    bench.beat(dying)
    bench.claim(run, Address(0, 0), worker=dying)
    for _ in range(3):
        bench.age(4.5)
        bench.beat(living, "theirs")
        sweep_says(bench)
    bench.claim(run, Address(0, 1), worker=living, delivery="theirs", token=token)

    # When: the other branch completes before the death has been looked at
    assert bench.complete(run, beside, Address(0, 1), token) is SagaStatus.RUNNING

    # Then: a lease later it is looked at, and runs again
    bench.age(4.5)
    bench.beat(living)
    assert bench.store.sweeping.lost(10) == [run]
    assert [send.address for send in bench.apply(run, Tick()).sends] == [Address(0, 0)]
    assert bench.store.sweeping.lost(10) == []


def test_h3_a_change_after_the_death_hides_no_silent_holder_of_an_undo(bench: Bench) -> None:
    # Given: an undo, held by a worker that dies
    worker, run = uuid4(), bench.start()
    bench.step(run)
    bench.apply(run, StopRequested(stop=Stop(kind=StopKind.CANCELLED, reason="changed mind")))
    undo = Address(0, 0, 1)
    bench.beat(worker)
    bench.claim(run, undo, worker=worker)
    for _ in range(3):
        bench.age(4.5)
        sweep_says(bench)

    # When: something else changes the instance before the death has been looked at
    bench.sql("UPDATE {s}.saga_instance SET updated_at = clock_timestamp()")

    # Then
    assert bench.store.sweeping.lost(10) == [run]
    assert [send.address for send in bench.apply(run, Tick()).sends] == [undo]


def test_c10_a_claim_made_after_the_list_of_a_heartbeat_is_not_dead_by_it(bench: Bench) -> None:
    # Given: a fresh child claims between the parent's list and the next one
    worker, run = uuid4(), bench.start()
    bench.beat(worker, "something else")
    bench.claim(run, worker=worker, delivery="mine")

    assert bench.state(run).steps[0].evidence.holder is Holder.ALIVE


def test_h3_a_claim_that_a_later_heartbeat_does_not_list_is_dead_and_due_at_once(bench: Bench) -> None:
    # Given: a child that was killed; the parent lives
    worker, run, other = uuid4(), bench.start(), bench.start()
    bench.beat(worker)
    bench.claim(run, worker=worker, delivery="mine")
    bench.claim(other, worker=worker, delivery="others")

    # When
    bench.beat(worker, "others")

    # Then: due though its due_at is not reached; and the other one is let alone
    assert bench.state(run).steps[0].evidence.holder is Holder.DEAD
    assert bench.state(other).steps[0].evidence.holder is Holder.ALIVE
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
    assert bench.state(run).steps[0].evidence.holder is Holder.DEAD
    assert bench.store.sweeping.lost(10) == [run]


def test_a_claim_by_no_worker_is_alive_until_its_time_is_over(bench: Bench) -> None:
    run = bench.start()
    bench.claim(run, worker=None)
    bench.age(3000)

    assert bench.state(run).steps[0].evidence.holder is Holder.ALIVE
    bench.age(700)
    assert bench.apply(run, Tick()).notes[0].event == "attempt_failed"


def test_a_worker_without_a_row_is_silent_after_a_while_not_at_once(bench: Bench) -> None:
    run = bench.start()
    bench.claim(run, worker=uuid4())

    assert bench.state(run).steps[0].evidence.holder is Holder.ALIVE
    bench.age(17)
    assert bench.state(run).steps[0].evidence.holder is Holder.SILENT
