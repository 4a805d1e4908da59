"""A purge meets others: purges, operators, callers' transactions, late reports; and its own sudden end."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from sagas import InstanceNotFound, SagaHandle, SagaStatus, TransitionRefused
from sagas.model import Address, ErrorInfo, Failed, Verdict
from sagas.recovery import retention
from tests.conftest import Shop
from tests.support import gates, journal, scripted
from tests.support.bench import Background, Bench
from tests.support.inline import run_messages
from tests.support.long_ended import HOUR, compensated, completed, grow_old, left_of, plan_of
from tests.support.programs import briefly
from tests.support.workers import eventually


@pytest.fixture
def rows(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Where the messages are run by the test itself."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    bench = Bench(shop.database_url, shop.sagas.engine.store)
    yield bench
    bench.close()


def test_two_purges_at_once_delete_each_once(shop: Shop, rows: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    plan = plan_of(completed(shop))
    runs = [shop.sagas.get(ended_by_hand(rows, plan)) for _ in range(60)]
    grow_old(rows, *runs)
    rows.sql(
        "UPDATE {s}.saga_instance SET finished_at = now() - interval '2 h' WHERE created_at < now() - interval '1 h'"
    )

    purges = [Background(lambda: shop.sagas.purge(HOUR)) for _ in range(3)]

    assert sum(purge.join() for purge in purges) == 60
    assert rows.sql("SELECT count(*) FROM {s}.saga_instance") == [(1,)]


def ended_by_hand(rows: Bench, plan: Any) -> UUID:
    run = rows.start(plan)
    for step in plan.steps:
        rows.step(run, plan, Address(step.position, step.branch))
    return run


@pytest.fixture
def halfway(shop: Shop, rows: Bench) -> Iterator[tuple[SagaHandle, Any]]:
    """An old saga, one of whose rows somebody has locked: a purge comes to a stand in the middle of it."""
    run = completed(shop, key="order-1")
    grow_old(rows, run)
    holder = rows.driver()
    holder.autocommit = False
    holder.cursor().execute("SELECT FROM sagas.saga_step WHERE instance_id = %s FOR UPDATE", (str(run.id),))
    yield run, holder
    holder.rollback()


def test_a_purge_waits_for_no_other_and_takes_what_that_has_not(
    shop: Shop, rows: Bench, halfway: tuple[SagaHandle, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    run, holder = halfway
    others = [completed(shop) for _ in range(4)]
    for minutes, other in enumerate(others, start=1):
        grow_old(rows, other, ended=2 * HOUR - timedelta(minutes=minutes))
    first = Background(lambda: shop.sagas.purge(HOUR))
    rows.wait_for_lock_waiters(1)

    assert shop.sagas.purge(HOUR) == 3, "one of them goes with the one that is locked"
    holder.rollback()

    assert first.join() == 2
    assert [left_of(rows, each) for each in (run, *others)] == [{}] * 5


def test_interrupted_in_the_middle_it_leaves_everything_whole(
    shop: Shop, rows: Bench, halfway: tuple[SagaHandle, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 1)
    run, holder = halfway
    later = completed(shop)
    earlier = completed(shop)
    grow_old(rows, earlier, ended=3 * HOUR)
    grow_old(rows, later, ended=2 * HOUR - timedelta(minutes=1))
    purge = Background(lambda: shop.sagas.purge(HOUR))
    rows.wait_for_lock_waiters(1)

    rows.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with pytest.raises(DBAPIError):
        purge.join()

    assert left_of(rows, earlier) == {}
    assert [left_of(rows, each) for each in (run, later)] == [{"saga_instance": 1, "saga_step": 3}] * 2
    assert run.data["c_done"] == 1
    holder.rollback()
    assert shop.sagas.purge(HOUR) == 2


@pytest.mark.parametrize("keep_keys", [False, True])
def test_who_acts_on_a_saga_while_it_is_purged_is_told(
    shop: Shop, rows: Bench, halfway: tuple[SagaHandle, Any], keep_keys: bool
) -> None:
    run, holder = halfway
    purge = Background(lambda: shop.sagas.purge(HOUR, keep_keys=keep_keys))
    rows.wait_for_lock_waiters(1)
    acts = [Background(lambda: run.cancel("late")), Background(lambda: run.retry("late"))]
    start = Background(lambda: shop.start(scripted.three, key="order-1"))
    rows.wait_for_lock_waiters(3)
    with pytest.raises(TransitionRefused):
        run.signal("approval")

    holder.rollback()

    assert purge.join() == 1
    for act in acts:
        with pytest.raises(TransitionRefused if keep_keys else InstanceNotFound):
            act.join()
    assert (start.join() == run) is keep_keys


def test_a_saga_that_somebody_acts_on_is_passed_over(shop: Shop, rows: Bench) -> None:
    run, other = compensated(shop, rows, key="order-1"), completed(shop)
    grow_old(rows, run, other)
    engine = create_engine(shop.database_url)
    with Session(engine) as session:
        anew = shop.start(scripted.three, key="order-1", if_exists="restart", session=session)
        assert shop.sagas.purge(HOUR) == 1
        session.commit()
    engine.dispose()

    assert (run.status, anew.status) == ("compensated", "pending")


def test_mail_that_is_committed_after_the_purge_is_forgotten(shop: Shop, rows: Bench) -> None:
    run = completed(shop)
    grow_old(rows, run)
    engine = create_engine(shop.database_url)
    with Session(engine) as session:
        run.cancel("too late", session=session)
        assert shop.sagas.purge(HOUR) == 1, "nobody can see the mail yet"
        session.commit()
    engine.dispose()

    assert left_of(rows, run) in ({}, {"saga_inbox": 1})
    shop.sagas.sweep()
    assert left_of(rows, run) == {}


ZOMBIES = {"success": "wait:late", "failure": "wait:late,flaky", "own transaction": "write:late,wait:late"}


def test_a_late_report_to_a_purged_saga_is_dropped_and_the_worker_goes_on(shop: Shop, rows: Bench) -> None:
    # Given: first attempts that were given up for lost, while second ones have completed their sagas
    runs = {
        (name, key): shop.start(scripted.three, {"b": [script]}, key=key and f"{key} {name}")
        for name, script in ZOMBIES.items()
        for key in (None, "kept")
    }
    worker = shop.worker("-c", "8")
    with briefly(worker):
        for run in runs.values():
            gates.until_reached(shop.database_url, run, "late")
            token = UUID(rows.steps(run.id)[1]["token"])
            lost = ErrorInfo(type="sagas.HolderLost", message="given up for lost", step="b")
            verdict = Verdict.INTERRUPTED
            shop.sagas.engine.loop.handle(run.id, Failed(address=Address(1), token=token, error=lost, verdict=verdict))
        for run in runs.values():
            assert run.wait(30) is SagaStatus.COMPLETED
        grow_old(rows, *runs.values())
        assert shop.sagas.purge(HOUR, keep_keys=True) == len(runs)

        # When: they report
        for run in runs.values():
            gates.open_gate(shop.database_url, run, "late")
        fresh = [shop.start(scripted.three) for _ in range(8)]

        # Then
        for run in fresh:
            assert run.wait(30) is SagaStatus.COMPLETED
        held = "SELECT sum(cardinality(deliveries)) FROM {s}.saga_worker"
        eventually(lambda: rows.sql(held) == [(0,)], "all of them to have ended")
    assert "Traceback" not in worker.text()
    assert [left_of(rows, run) for (_, key), run in runs.items() if key is None] == [{}] * len(ZOMBIES)
    kept = [run for (_, key), run in runs.items() if key is not None]
    assert [(run.status, run.steps) for run in kept] == [("completed", [])] * len(ZOMBIES)


def test_a_message_that_comes_after_its_saga_was_purged_is_dropped(shop: Shop, rows: Bench) -> None:
    runs = [shop.start(scripted.three, key=key) for key in (None, "order-1")]
    for run in runs:
        for position in range(3):
            rows.step(run.id, plan_of(run), Address(position))
    grow_old(rows, *runs)
    assert shop.sagas.purge(HOUR, keep_keys=True) == 2

    assert len(run_messages(shop.sagas.app)) == 2

    assert journal.query(shop.database_url, "SELECT what FROM public.journal") == []
    assert runs[1].steps == []
