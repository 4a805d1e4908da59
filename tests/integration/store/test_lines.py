"""The line of a queue: who stands in it and where, what evidence puts back, and who may send from it (B1 to B18)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from sagas.model import Address, ExecutionStatus, Tick
from sagas.store import Joining, Released
from tests.support.bench import FIRST, PLACED, QUEUE, Background, Bench, plan_of

HOLD = timedelta(seconds=4)
ONE, OTHER = plan_of("a", "b", saga="one"), plan_of("a", "b", saga="other")
URGENT = plan_of("a", saga="urgent")


@pytest.fixture
def me(bench: Bench) -> UUID:
    """The holder of the lease."""
    holder = uuid4()
    assert bench.store.lines.take_lease("sagas", holder, HOLD)
    return holder


def in_line(bench: Bench, *runs: UUID) -> None:
    """Their messages could not be published."""
    for run in runs:
        bench.store.lines.put_back(run, FIRST)


def line_of(bench: Bench, run: UUID, step: int = 0) -> str | None:
    line: str | None = bench.steps(run)[step]["line"]
    return line


def sent(bench: Bench, me: UUID, limit: int = 100) -> list[UUID]:
    """Who leaves the line, in the order in which they were born, for one who renews its lease if it can."""
    bench.store.lines.take_lease("sagas", me, HOLD)
    return [each.instance_id for each in in_order(bench, bench.store.lines.release("sagas", me, QUEUE, limit, [""]))]


def in_order(bench: Bench, released: Sequence[Released]) -> list[Released]:
    return sorted(released, key=lambda each: str(bench.steps(each.instance_id)[0]["created_at"]))


def lost(bench: Bench, me: UUID, limit: int = 500) -> int:
    bench.store.lines.take_lease("sagas", me, HOLD)
    return sum(bench.store.lines.put_lost_back("sagas", me, limit).values())


def idle(bench: Bench, **options: Any) -> None:
    bench.beat(uuid4(), idle=True, **options)


# -- who stands in a line


def test_a_start_is_sent_at_once_where_there_is_no_line(bench: Bench) -> None:
    run = bench.start(ONE)

    (step,) = bench.steps(run)
    assert (step["line"], step["dispatches"]) == (None, 1)


def test_b7_a_start_joins_the_line_of_its_queue_where_there_is_one(bench: Bench, me: UUID) -> None:
    in_line(bench, bench.start(ONE))

    run = bench.start(OTHER)

    (step,) = bench.steps(run)
    assert (step["line"], step["dispatches"]) == (":other", 0)
    assert bench.claim(run) is not None, "an old message of it may run it all the same"
    assert line_of(bench, run) is None


def test_b7_what_ends_a_step_leaves_a_place_that_the_next_step_takes(bench: Bench, me: UUID) -> None:
    run = bench.start(ONE)
    in_line(bench, bench.start(ONE))

    bench.step(run, ONE)

    assert line_of(bench, run, step=1) is None


def test_b9_what_a_sweep_has_to_send_joins_the_line(bench: Bench) -> None:
    """A hundred thousand sleepers that wake up are no hundred thousand messages."""
    run = bench.start(ONE)
    bench.sql("UPDATE {s}.saga_step SET dispatched_at = NULL")
    with bench.store.instances.transaction() as connection:
        loaded = bench.store.instances.lock(connection, run)
        assert loaded is not None
        decision = bench.decide(loaded, Tick())
        saved = bench.store.instances.save(connection, loaded, decision, PLACED, Joining.ALWAYS)

    assert saved.in_line == {FIRST}
    assert line_of(bench, run) == ""


def test_b7_steps_of_begun_sagas_go_first_then_sagas_in_turn_by_age_within(bench: Bench, me: UUID) -> None:
    ones = [bench.start(ONE) for _ in range(4)]
    others = [bench.start(OTHER) for _ in range(2)]
    begun = bench.start(ONE)
    bench.step(begun, ONE)
    in_line(bench, *ones, *others)
    bench.store.lines.put_back(begun, Address(1))

    assert sent(bench, me, 1) == [begun]
    assert sent(bench, me, 2) == [ones[0], others[0]]
    assert sent(bench, me, 3) == [ones[1], ones[2], others[1]]
    assert sent(bench, me) == [ones[3]]


def test_b5_what_was_lost_stands_where_it_stood(bench: Bench, me: UUID) -> None:
    early, late = bench.start(ONE), bench.start(ONE)
    in_line(bench, early, late)
    assert sent(bench, me, 1) == [early]
    bench.age(10)
    idle(bench)

    assert lost(bench, me) == 1

    assert sent(bench, me, 1) == [early]
    assert bench.steps(early)[0]["dispatches"] == 2


def test_b4_what_waits_to_be_sent_is_not_due(bench: Bench) -> None:
    waiting = [bench.start(ONE) for _ in range(30)]
    in_line(bench, *waiting)
    timer = bench.start(ONE)
    bench.sql("UPDATE {s}.saga_instance SET due_at = clock_timestamp() WHERE id = %s", timer)

    assert list(bench.store.sweeping.take_due(5)) == [timer]


# -- evidence


def test_b5_a_consumer_that_was_idle_proves_all_earlier_messages_lost(bench: Bench, me: UUID) -> None:
    runs = [bench.start(ONE) for _ in range(20)]
    bench.age(5)
    young = bench.start(ONE)
    idle(bench, queues=("another",))
    assert lost(bench, me) == 0

    idle(bench)

    assert lost(bench, me) == 20
    assert {line_of(bench, run) for run in runs} == {":one"}
    assert line_of(bench, young) is None


def test_b5_what_a_living_worker_keeps_back_is_not_lost(bench: Bench, me: UUID) -> None:
    kept, run, keeper = bench.start(ONE), bench.start(ONE), uuid4()
    bench.age(5)
    bench.beat(keeper, kept=(f"{kept} {FIRST}",))
    idle(bench)

    assert lost(bench, me) == 1
    assert (line_of(bench, kept), line_of(bench, run)) == (None, ":one")
    bench.store.sweeping.say_goodbye(keeper)
    assert lost(bench, me) == 1


def test_b6_a_message_that_was_sent_later_and_claimed_proves_those_before_it_lost(bench: Bench, me: UUID) -> None:
    run = bench.start(ONE)
    bench.age(5)
    later = bench.start(ONE)

    assert bench.claim(later, sent=bench.store.sweeping.clock()) is not None

    assert lost(bench, me) == 1
    assert line_of(bench, run) == ":one"


@pytest.mark.parametrize("says", ["nothing", "that it is old"])
def test_b6_c2_a_young_step_that_is_claimed_by_an_old_message_or_by_none_proves_nothing(
    bench: Bench, me: UUID, says: str
) -> None:
    """Its birth is no evidence: of twenty that wait each would be sent again."""
    waiting = [bench.start(ONE) for _ in range(20)]
    old = bench.store.sweeping.clock()
    bench.age(5)

    assert bench.claim(bench.start(ONE), sent=old - timedelta(seconds=5) if says != "nothing" else None) is not None

    assert lost(bench, me) == 0
    assert {line_of(bench, run) for run in waiting} == {None}


def test_b6_of_a_step_with_a_priority_only_an_idle_consumer_proves_a_loss(bench: Bench, me: UUID) -> None:
    patient = bench.start(replace(URGENT, priority=9))
    bench.age(5)
    assert bench.claim(bench.start(ONE), sent=bench.store.sweeping.clock()) is not None
    assert lost(bench, me) == 0

    idle(bench)

    assert lost(bench, me) == 1
    assert line_of(bench, patient) == "9:urgent"


def test_b8_no_statement_is_without_a_limit(bench: Bench, me: UUID) -> None:
    runs = [bench.start(ONE) for _ in range(12)]
    bench.age(5)
    idle(bench)

    assert [lost(bench, me, 5) for _ in range(4)] == [5, 5, 2, 0]
    assert [len(sent(bench, me, 5)) for _ in range(4)] == [5, 5, 2, 0]
    assert len(runs) == 12


def test_b15_evidence_from_before_an_outage_is_none(bench: Bench, me: UUID) -> None:
    bench.store.sweeping.look_around()
    bench.start(ONE)
    bench.age(5)
    idle(bench)
    assert bench.claim(bench.start(ONE), sent=bench.store.sweeping.clock()) is not None
    bench.age(60)
    bench.store.sweeping.look_around()

    assert lost(bench, me) == 0
    idle(bench)
    assert lost(bench, me) == 1


def test_a_message_that_every_worker_drops_becomes_no_storm(bench: Bench, me: UUID) -> None:
    run, times = bench.start(ONE), 0
    for _ in range(120):  # ten minutes
        bench.age(5)
        idle(bench)
        lost(bench, me)
        times += len(sent(bench, me))

    assert 3 <= times < 12
    assert bench.steps(run)[0]["dispatches"] == times + 1


def test_a_queue_that_a_worker_has_only_begun_to_consume_is_not_proven_empty_by_its_idleness(
    bench: Bench, me: UUID
) -> None:
    bench.start(ONE)
    bench.age(5)
    worker = uuid4()
    bench.beat(worker, queues=("another",), idle=True)

    bench.beat(worker, queues=("another", QUEUE))

    assert lost(bench, me) == 0


# -- the lease


def test_b1_a_lease_that_its_frozen_holder_does_not_renew_goes_to_another(bench: Bench, me: UUID) -> None:
    in_line(bench, bench.start(ONE))
    other = uuid4()
    assert not bench.store.lines.take_lease("sagas", other, HOLD)

    bench.age(HOLD.total_seconds())
    assert bench.store.lines.take_lease("sagas", other, HOLD)

    # Then: what the former holder does when it wakes up does nothing
    bench.age(3)
    idle(bench)
    assert sent(bench, me) == []
    assert lost(bench, me) == 0
    assert len(sent(bench, other)) == 1


def test_b1_nobody_waits_for_a_lease_that_is_being_taken(bench: Bench, me: UUID) -> None:
    bench.age(HOLD.total_seconds())
    with bench.store.database.transaction() as connection:
        connection.exec_driver_sql("SELECT 1 FROM sagas.saga_lease FOR UPDATE")

        taken = Background(lambda: bench.store.lines.take_lease("sagas", uuid4(), HOLD)).join(10)

    assert not taken


def test_b10_each_apps_control_queue_has_a_lease_of_its_own(bench: Bench, me: UUID) -> None:
    assert bench.store.lines.take_lease("shop", uuid4(), HOLD)


def test_b16_a_lease_that_ends_absurdly_late_is_over(bench: Bench, me: UUID) -> None:
    bench.age(-86_400)

    assert bench.store.lines.take_lease("sagas", uuid4(), HOLD)


def test_b12_what_left_the_line_is_marked_before_it_is_published_and_can_be_put_back(bench: Bench, me: UUID) -> None:
    run = bench.start(ONE)
    in_line(bench, run)

    (released,) = bench.store.lines.release("sagas", me, QUEUE, 10, [""])

    assert (line_of(bench, run), bench.steps(run)[0]["dispatches"]) == (None, 1)
    bench.store.lines.put_back(released.instance_id, released.address)
    assert (line_of(bench, run), bench.steps(run)[0]["dispatches"]) == (":one", 0)


def test_what_was_claimed_meanwhile_is_not_put_back(bench: Bench, me: UUID) -> None:
    run = bench.start(ONE)
    bench.claim(run)

    in_line(bench, run)

    assert line_of(bench, run) is None
    assert bench.state(run).steps[0].status is ExecutionStatus.RUNNING


def test_what_somebody_has_locked_is_sent_the_next_time(bench: Bench, me: UUID) -> None:
    held, free = bench.start(ONE), bench.start(ONE)
    in_line(bench, held, free)
    with bench.store.database.transaction() as connection:
        connection.exec_driver_sql("SELECT 1 FROM sagas.saga_step WHERE instance_id = %s FOR UPDATE", (str(held),))
        assert sent(bench, me) == [free]

    assert sent(bench, me) == [held]


def test_b2_an_outage_is_that_no_worker_began_a_pass_and_not_that_one_of_them_died(bench: Bench) -> None:
    for _ in range(10):  # one of them is gone, the other looks around
        bench.age(2)
        bench.store.sweeping.look_around()

    ((noted,),) = bench.sql("SELECT outage_from FROM {s}.saga_sweep")
    assert noted is None


def test_c9_a_step_that_is_sent_again_keeps_the_doubt_of_a_crash(bench: Bench, me: UUID) -> None:
    """Sending from the line stamps no epoch: a claim of before may be lost, and the next one has to know."""
    run = bench.start(ONE)
    bench.sql("TRUNCATE {s}.saga_epoch")
    bench.store.sweeping.look_around()
    bench.age(5)
    idle(bench)
    assert lost(bench, me) == 1
    assert sent(bench, me) == [run]

    claim = bench.claim(run)

    assert claim is not None
    assert claim.epoch_changed
    assert claim.doubt


def test_queues_with_a_line_tell_what_is_out_and_who_consumes_them(bench: Bench) -> None:
    out = [bench.start(ONE) for _ in range(3)]
    bench.beat(uuid4(), slots=4, kept=(f"{out[0]} {FIRST}",))
    bench.beat(uuid4(), slots=2, queues=("another",))
    assert bench.store.lines.waiting(100) == []
    in_line(bench, out.pop())
    bench.claim(out.pop())

    (waiting,) = bench.store.lines.waiting(100)

    assert (waiting.queue, waiting.out, waiting.slots) == (QUEUE, 1, 4)
    assert (waiting.kept, list(waiting.tasks)) == (1, ["do.a"])


def test_a_queue_with_a_line_tells_up_to_when_its_messages_have_been_taken(bench: Bench) -> None:
    in_line(bench, bench.start(ONE))
    (waiting,) = bench.store.lines.waiting(100)
    assert waiting.taken_until is None

    sent = bench.store.sweeping.clock()
    bench.claim(bench.start(ONE), sent=sent)
    (waiting,) = bench.store.lines.waiting(100)
    assert waiting.taken_until == sent

    bench.age(10)
    idle(bench)
    (waiting,) = bench.store.lines.waiting(100)
    assert waiting.taken_until is not None
    assert waiting.taken_until > sent - timedelta(seconds=10)
