"""The sweep on real rows: whom it looks at, whom it lets alone, what it sends."""

import sys
from uuid import UUID, uuid4

import pytest

from sagas.model import ExecutionStatus, SagaStatus
from sagas.recovery import sweep
from sagas.recovery.sweep import Sweeper
from sagas.store import Store, Timing
from tests.conftest import Shop
from tests.support import queues, scripted
from tests.support.bench import Background, Bench, plan_of


@pytest.fixture
def rows(shop: Shop) -> Bench:
    """The shop's own rows."""
    return Bench(shop.database_url, shop.sagas.engine.store)


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
        rows.sql(
            "UPDATE {s}.saga_step SET dispatched_at = NULL, line = NULL WHERE instance_id = %s AND status = 'pending'",
            run,
        )
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


def test_b4_a_pass_whose_time_is_over_at_once_looks_at_all_that_it_takes(shop: Shop, rows: Bench) -> None:
    runs = [shop.start(scripted.three).id for _ in range(20)]
    overdue(rows, *runs)

    for _ in range(4):
        Sweeper(shop.sagas.engine).run(budget=0.0)

    assert rows.sql("SELECT count(*) FROM {s}.saga_step WHERE dispatched_at IS NULL AND line IS NULL") == [(0,)]


def test_b4_unseen_mail_leaves_a_share_of_the_pass_to_what_is_due(shop: Shop, rows: Bench) -> None:
    # Given: more mail than there is time for, and a timer behind it
    for run in [shop.start(scripted.three).id for _ in range(20)]:
        rows.sql("INSERT INTO {s}.saga_inbox (instance_id, kind) VALUES (%s, 'wake')", run)
    due = shop.start(scripted.three).id
    overdue(rows, due)

    # When
    Sweeper(shop.sagas.engine).run(budget=0.0)

    # Then
    ((unseen,),) = rows.sql("SELECT count(*) FROM {s}.saga_inbox WHERE seen_at IS NULL")
    assert unseen > 0
    assert rows.steps(due)[0]["dispatched_at"] is not None


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


def test_b13_beats_sweep_does_nothing_where_a_timer_sweeps(shop: Shop, rows: Bench) -> None:
    run = shop.start(scripted.three).id
    shop.sagas.sweep()
    overdue(rows, run)

    assert [sweep(shop.sagas.engine) for _ in range(5)] == [0] * 5
    assert rows.steps(run)[0]["dispatched_at"] is None
    rows.age(5)
    assert sweep(shop.sagas.engine) >= 1
    assert rows.steps(run)[0]["dispatched_at"] is not None


@pytest.mark.parametrize(("heartbeat", "sweep_every"), [(2.0, 2.0), (0.5, 10.0), (10.0, 0.5)])
def test_b13_between_two_passes_of_a_timer_it_never_makes_one_of_its_own(
    bench: Bench, heartbeat: float, sweep_every: float
) -> None:
    timing = Timing(heartbeat=heartbeat, sweep_every=sweep_every)
    store = Store(bench.url, bench.store.schema, timing)
    store.sweeping.look_around()

    bench.age(timing.pause * 1.5)  # it begins after a pause, and marks itself again half a pause later

    assert store.sweeping.is_swept()
    bench.age(timing.outage.total_seconds())
    assert not store.sweeping.is_swept()
    store.database.dispose()


def test_three_sweeps_at_once_send_everything_once_or_let_it_wait(shop: Shop, rows: Bench) -> None:
    runs = [shop.start(scripted.three).id for _ in range(40)]
    overdue(rows, *runs)
    before = len(queues.queued(shop.sagas))

    for each in [Background(shop.sagas.sweep) for _ in range(3)]:
        each.join()

    # Then: nobody takes any of them in, so most wait in the line
    in_line = [run for run in runs if rows.steps(run)[0]["line"] is not None]
    assert len(queues.queued(shop.sagas)) - before + len(in_line) == 40
    assert in_line
    assert {step["dispatches"] for run in runs for step in rows.steps(run)} == {1, 2}


LONG = plan_of("a", "b", saga="long", timeout=3600.0)


def test_the_longest_due_comes_first_and_no_more_than_asked_for(bench: Bench) -> None:
    runs = [bench.start(LONG) for _ in range(5)]
    for number, run in enumerate(runs):
        bench.sql(
            "UPDATE {s}.saga_instance SET due_at = clock_timestamp() - make_interval(secs => %s) WHERE id = %s",
            10 + number,
            run,
        )

    assert set(bench.store.sweeping.take_due(3)) == set(runs[:1:-1])


def test_b9_what_one_sweep_has_taken_no_other_one_takes(bench: Bench) -> None:
    runs = [bench.start(LONG) for _ in range(6)]
    bench.sql("UPDATE {s}.saga_instance SET due_at = clock_timestamp()")

    taken = [set(bench.store.sweeping.take_due(2)) for _ in range(4)]

    assert set.union(*taken) == set(runs)
    assert [len(one) for one in taken] == [2, 2, 2, 0]
    # And who took it and died gives it back
    bench.age(bench.store.timing.lease.total_seconds())
    assert set(bench.store.sweeping.take_due(10)) == set(runs)


def test_final_instances_are_never_due(bench: Bench) -> None:
    plan = plan_of("a", saga="short")
    run = bench.start(plan)
    bench.step(run, plan)
    bench.age(10_000)

    assert bench.store.sweeping.take_due(10) == []
    assert bench.state(run).steps[0].status is ExecutionStatus.COMPLETED


def test_workers_that_are_long_gone_are_forgotten(bench: Bench) -> None:
    gone, here = uuid4(), uuid4()
    bench.beat(gone)
    bench.store.sweeping.say_goodbye(gone)
    bench.age(8 * 86_400)
    bench.beat(here)

    assert bench.store.sweeping.look_around().has_silent
    bench.store.sweeping.declare_dead()

    assert bench.sql("SELECT id::text FROM {s}.saga_worker") == [(str(here),)]
