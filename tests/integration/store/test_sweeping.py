"""The sweep on real rows: whom it looks at, whom it lets alone, what it sends."""

import random
import sys
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from redis import Redis
from sqlalchemy import make_url

from sagas.model import Address, SagaStatus, StepStatus, Tick, decide
from sagas.recovery import sweep
from tests.conftest import Shop
from tests.support import scripted
from tests.support.bench import QUEUE, Background, Bench, plan_of


@pytest.fixture
def rows(shop: Shop) -> Bench:
    """The shop's own rows."""
    return Bench(shop.database_url, shop.sagas.engine.store)


def waiting_messages(shop: Shop) -> int:
    url = make_url(shop.broker_url)
    path, number = f"/{url.database}", int(str(url.query["virtual_host"]))
    with Redis(unix_socket_path=path, db=number) as client:
        return int(client.llen(QUEUE))


def status(rows: Bench, run: UUID) -> SagaStatus:
    return rows.state(run).status


# -- H4: the sweep cannot be starved


def spoil(rows: Bench, *runs: UUID) -> None:
    """Rows on which every look raises."""
    for run in runs:
        rows.sql("UPDATE {s}.saga_instance SET plan = '{}', plan_hash = 'unreadable ' || id WHERE id = %s", run)


def overdue(rows: Bench, *runs: UUID) -> None:
    """Nothing was ever sent for these, and the time to look has come."""
    for run in runs:
        rows.sql("UPDATE {s}.saga_step SET dispatched_at = NULL WHERE instance_id = %s AND status = 'pending'", run)
        rows.sql("UPDATE {s}.saga_instance SET due_at = clock_timestamp() WHERE id = %s", run)


def seconds_until_due(rows: Bench, run: UUID) -> float:
    ((seconds,),) = rows.sql(
        "SELECT extract(epoch FROM due_at - clock_timestamp())::float FROM {s}.saga_instance WHERE id = %s", run
    )
    return float(seconds)


def test_h4_one_bad_instance_backs_off_alone_twice_as_long_each_time_with_an_event(shop: Shop, rows: Bench) -> None:
    # Given
    bad, good = shop.start(scripted.three).id, shop.start(scripted.three).id
    spoil(rows, bad)
    overdue(rows, bad, good)

    # When, Then: the good one is sent, the bad one waits
    assert shop.sagas.sweep() == 1
    assert rows.events(bad) == ["sweep_failed"]
    assert rows.events(good) == []
    first = seconds_until_due(rows, bad)
    assert first > 0.3

    rows.sql("UPDATE {s}.saga_instance SET due_at = clock_timestamp() WHERE id = %s", bad)
    assert shop.sagas.sweep() == 0
    assert rows.events(bad) == ["sweep_failed"] * 2
    assert seconds_until_due(rows, bad) > first * 1.5
    ((why,),) = rows.sql("SELECT detail FROM {s}.saga_event WHERE instance_id = %s ORDER BY id LIMIT 1", bad)
    assert {"type", "message", "traceback"} <= set(why)
    assert why["type"] == "sagas.errors.RowDamaged"  # the plan says too little


def test_h4_more_bad_instances_than_one_batch_do_not_starve_the_good_one(
    shop: Shop, rows: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: bad ones that have been due for longest, three times as many as are picked at once
    monkeypatch.setattr(sys.modules["sagas.recovery.sweep"], "BATCH", 5)
    bad = [shop.start(scripted.three).id for _ in range(16)]
    spoil(rows, *bad)
    overdue(rows, *bad)
    good = shop.start(scripted.three).id
    overdue(rows, good)

    # When
    moved = shop.sagas.sweep()

    # Then
    assert moved == 1
    assert rows.steps(good)[0]["dispatched_at"] is not None


def test_h4_a_locked_instance_is_passed_over_and_the_others_are_moved(shop: Shop, rows: Bench) -> None:
    # Given
    held, free = shop.start(scripted.three).id, shop.start(scripted.three).id
    overdue(rows, held, free)
    holder = rows.driver()
    holder.autocommit = False
    holder.cursor().execute("SELECT 1 FROM sagas.saga_instance WHERE id = %s FOR UPDATE", (str(held),))

    # When, Then: it neither waits nor forgets
    assert Background(shop.sagas.sweep).join(20) == 1
    assert rows.steps(free)[0]["dispatched_at"] is not None
    holder.rollback()
    assert shop.sagas.sweep() == 1
    assert rows.steps(held)[0]["dispatched_at"] is not None
    holder.close()


def test_h4_a_pile_of_sweeps_returns_at_once(shop: Shop, rows: Bench) -> None:
    run = shop.start(scripted.three).id
    assert sweep(shop.sagas.engine) == 0
    overdue(rows, run)

    assert [sweep(shop.sagas.engine) for _ in range(5)] == [0] * 5
    assert rows.steps(run)[0]["dispatched_at"] is None
    rows.age(5)
    assert sweep(shop.sagas.engine) == 1


def test_two_sweeps_at_once_send_everything_once(shop: Shop, rows: Bench) -> None:
    runs = [shop.start(scripted.three).id for _ in range(40)]
    overdue(rows, *runs)
    before = waiting_messages(shop)

    moved = [each.join() for each in [Background(shop.sagas.sweep) for _ in range(3)]]

    assert sum(moved) == 40
    assert waiting_messages(shop) == before + 40
    assert all(step["dispatches"] == 2 for run in runs for step in rows.steps(run))


# -- H5: a backlog is not a loss


def test_h5_a_backlog_of_ten_minutes_costs_less_than_three_messages_a_saga(shop: Shop, rows: Bench) -> None:
    # Given: 300 sagas and no worker
    runs = [shop.start(scripted.three).id for _ in range(300)]

    # When: ten minutes pass, swept every ten seconds
    for _ in range(60):
        rows.age(10)
        shop.sagas.sweep()

    # Then
    assert len(runs) < waiting_messages(shop) <= 3 * len(runs)
    assert {status(rows, run) for run in runs} == {SagaStatus.PENDING}


def test_h5_nothing_is_sent_again_within_the_first_minute(shop: Shop, rows: Bench) -> None:
    for _ in range(20):
        shop.start(scripted.three)

    for _ in range(11):
        rows.age(5)
        shop.sagas.sweep()
    assert waiting_messages(shop) == 20
    # And once within the next: the looks get rarer as the wait gets longer
    for _ in range(14):
        rows.age(5)
        shop.sagas.sweep()
    assert waiting_messages(shop) == 40


def test_h5_a_message_that_a_later_one_overtook_is_sent_again_at_once(shop: Shop, rows: Bench) -> None:
    # Given: two sagas; the message of the first is lost
    lost = shop.start(scripted.three).id
    rows.age(5)
    shop.sagas.sweep()
    later = shop.start(scripted.three).id

    # When: the second is claimed
    assert rows.claim(later) is not None
    rows.sql("UPDATE {s}.saga_instance SET due_at = clock_timestamp()")
    before = waiting_messages(shop)
    shop.sagas.sweep()

    # Then
    assert waiting_messages(shop) == before + 1
    assert rows.events(lost) == ["dispatched_again"]


def test_h5_a_message_whose_consumers_sit_idle_is_sent_again_at_once(shop: Shop, rows: Bench) -> None:
    run, worker = shop.start(scripted.three).id, uuid4()
    rows.age(5)
    rows.beat(worker, queues=("other",), idle=True)
    shop.sagas.sweep()
    assert rows.events(run) == []

    rows.beat(uuid4(), queues=(QUEUE,), idle=True)
    rows.sql("UPDATE {s}.saga_instance SET due_at = clock_timestamp()")
    shop.sagas.sweep()

    assert rows.events(run) == ["dispatched_again"]


def test_h5_a_message_that_nobody_can_take_becomes_no_storm(shop: Shop, rows: Bench) -> None:
    """An idle worker is evidence of a loss; the second time it must have been idle for twice as long."""
    shop.start(scripted.three)
    worker = uuid4()
    for _ in range(120):  # ten minutes
        rows.age(5)
        rows.beat(worker, queues=(QUEUE,), idle=True)
        shop.sagas.sweep()

    assert waiting_messages(shop) < 20


# -- healthy rows are pushed by one statement, which says what decide says

LONG = plan_of("a", "b", saga="long", timeout=3600.0)


def scatter(rows: Bench, dice: random.Random, number: int) -> list[UUID]:
    """Instances in all conditions that are overdue: claimed or not, by the living and others, for long or not."""
    living, other = uuid4(), uuid4()
    runs = []
    for _ in range(number):
        run = rows.start(LONG)
        runs.append(run)
        if dice.random() < 0.6:
            rows.claim(run, worker=dice.choice([living, None, other]), delivery=dice.choice(["held", "gone"]))
        elif dice.random() < 0.2:
            rows.sql("UPDATE {s}.saga_step SET dispatched_at = NULL WHERE instance_id = %s", run)
        ago = dice.choice([2, 20, 45, 70, 4000])
        rows.sql(
            "UPDATE {s}.saga_step SET claimed_at = claimed_at - make_interval(secs => %s), "
            "dispatched_at = dispatched_at - make_interval(secs => %s) WHERE instance_id = %s",
            ago,
            ago,
            run,
        )
    rows.sql("UPDATE {s}.saga_instance SET due_at = clock_timestamp() - interval '1 second'")
    rows.beat(living, "held")
    rows.beat(other, "held")
    return runs


@pytest.mark.parametrize("seed", range(3))
def test_the_push_of_healthy_rows_says_what_decide_says(bench: Bench, seed: int) -> None:
    # Given
    runs = scatter(bench, random.Random(seed), 60)
    lease = bench.store.timing.lease

    # When: decide is asked about each, and the statement pushes what it finds healthy
    wanted = {}
    for run in runs:
        state = bench.state(run)
        with bench.store.instances.transaction() as connection:
            loaded = bench.store.instances.lock(connection, run)
        assert loaded is not None
        wanted[run] = (state, decide(LONG, state, Tick(), loaded.now, lease=lease))
    left = set(bench.store.sweeping.due(1000))

    # Then: whatever was pushed, decide would have let alone, until the same moment
    pushed = [run for run in runs if run not in left]
    assert len(pushed) > 10
    assert len(left) > 10
    for run in pushed:
        before, decision = wanted[run]
        assert (decision.sends, decision.notes) == ((), ())
        assert replace(decision.state, due_at=before.due_at, pending=before.pending) == before
        after = bench.state(run).due_at
        assert after is not None
        assert decision.state.due_at is not None
        assert abs(after - decision.state.due_at) < timedelta(seconds=5)
    # And what decide would do something about was left for it
    for run in runs:
        decision = wanted[run][1]
        if decision.sends or decision.notes:
            assert run in left


def test_what_has_a_deadline_or_a_recorded_stop_is_left_to_decide(bench: Bench) -> None:
    with_deadline = bench.start(LONG, deadline_seconds=30.0)
    stopped = bench.start(LONG)
    healthy = bench.start(LONG)
    stop = '{"kind": "cancelled", "reason": "x"}'
    bench.sql("UPDATE {s}.saga_instance SET stop = %s WHERE id = %s", stop, stopped)
    bench.sql("UPDATE {s}.saga_instance SET due_at = clock_timestamp()")

    due = set(bench.store.sweeping.due(10))

    assert due == {with_deadline, stopped}
    assert healthy not in due


def test_the_longest_due_comes_first_and_no_more_than_asked_for(bench: Bench) -> None:
    runs = [bench.start(LONG) for _ in range(5)]
    for number, run in enumerate(runs):
        bench.sql("UPDATE {s}.saga_step SET dispatched_at = NULL WHERE instance_id = %s", run)
        bench.sql(
            "UPDATE {s}.saga_instance SET due_at = clock_timestamp() - make_interval(secs => %s) WHERE id = %s",
            10 + number,
            run,
        )

    assert list(bench.store.sweeping.due(3)) == runs[:1:-1]


def test_final_instances_are_never_due(bench: Bench) -> None:
    plan = plan_of("a", saga="short")
    run = bench.start(plan)
    bench.step(run, plan)
    bench.age(10_000)

    assert bench.store.sweeping.due(10) == []
    assert bench.state(run).steps[0].status is StepStatus.COMPLETED


def test_what_could_not_be_published_is_due_at_once(bench: Bench) -> None:
    run = bench.start(LONG)
    bench.store.sweeping.mark_unsent(run, Address(0))

    assert bench.store.sweeping.due(10) == [run]
    assert [send.address for send in bench.apply(run, Tick()).sends] == [Address(0)]


def test_what_was_claimed_meanwhile_is_not_marked_unsent(bench: Bench) -> None:
    run = bench.start(LONG)
    bench.claim(run)
    bench.store.sweeping.mark_unsent(run, Address(0))

    assert bench.steps(run)[0]["dispatched_at"] is not None


def test_workers_that_are_long_gone_are_forgotten(bench: Bench) -> None:
    gone, here = uuid4(), uuid4()
    bench.beat(gone)
    bench.store.sweeping.say_goodbye(gone)
    bench.age(8 * 86_400)
    bench.beat(here)

    bench.store.sweeping.begin(forced=True)
    bench.store.sweeping.declare_dead()

    assert bench.sql("SELECT id::text FROM {s}.saga_worker") == [(str(here),)]
