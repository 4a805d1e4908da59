"""One process sends from the lines: what the broker does with it, and what becomes of rows that cannot be read."""

from typing import Any
from uuid import uuid4

import pytest
from kombu.exceptions import OperationalError

from sagas import SagaStatus
from sagas.engine import Messages
from sagas.recovery import filling, sweep
from sagas.recovery.filling import LEAST, Filler
from sagas.store import hot
from tests.conftest import Shop
from tests.support import queues, scripted
from tests.support.bench import FIRST, Bench
from tests.support.inline import run_messages


@pytest.fixture
def rows(shop: Shop) -> Bench:
    """The shop's own rows."""
    return Bench(shop.database_url, shop.sagas.engine.store)


def lines(rows: Bench) -> int:
    ((count,),) = rows.sql("SELECT count(*) FROM {s}.saga_step WHERE line IS NOT NULL")
    return int(count)


def unsent(shop: Shop, count: int) -> list[Any]:
    """So many whose message has not left."""
    runs = [shop.start(scripted.three) for _ in range(count)]
    queues.forget_everything(shop.sagas)
    for run in runs:
        shop.sagas.engine.store.lines.put_back(run.id, FIRST)
    return runs


def test_a_backlog_needs_each_of_its_messages_once(shop: Shop, rows: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    # Given: 60 that wait in the line
    runs = unsent(shop, 60)
    filler, taken = Filler(shop.sagas.engine), 0

    # When: what is out is taken between two looks
    while lines(rows):
        assert filler.fill() > 0
        taken += len(run_messages(shop.sagas.app))

    # Then: three steps each, three messages each
    assert {run.status for run in runs} == {SagaStatus.COMPLETED}
    assert taken == 3 * len(runs)


def test_b3_work_goes_on_before_all_of_a_great_loss_stands_in_line_again(
    shop: Shop, rows: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    monkeypatch.setattr(filling, "AT_A_TIME", 5)
    monkeypatch.setattr(filling, "TIMES", 2)
    monkeypatch.setattr(hot, "REPORT_EVERY", 0.0)
    # Given: 100 messages that the broker has lost, and a consumer that was idle since
    runs = [shop.start(scripted.three) for _ in range(100)]
    queues.forget_everything(shop.sagas)
    rows.age(10)
    rows.beat(uuid4(), idle=True)
    filler, taken, begun = Filler(shop.sagas.engine), 0, []

    # When: ten of them a pass return to the line
    while any(run.status.is_forward for run in runs):
        filler.fill()
        taken += len(run_messages(shop.sagas.app))
        begun.append(sum(run.status is not SagaStatus.PENDING for run in runs))

    # Then: each pass has let some go on, and none was sent twice
    assert begun[:4] == [10, 20, 30, 40]
    assert {run.status for run in runs} == {SagaStatus.COMPLETED}
    assert taken == 3 * len(runs)


def test_no_more_is_out_than_a_window(shop: Shop, rows: Bench) -> None:
    unsent(shop, 40)
    filler = Filler(shop.sagas.engine)

    assert [filler.fill() for _ in range(3)] == [LEAST, 0, 0]

    assert lines(rows) == 40 - LEAST


def test_b19_while_a_rate_limit_keeps_messages_back_the_window_is_held(
    shop: Shop, rows: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: a worker whose prefetch is full of what it may not run yet, and a line behind it
    runs = unsent(shop, 40)
    filler, keeper, task = Filler(shop.sagas.engine), uuid4(), shop.sagas.app.tasks[rows.task_of(runs[0].id, FIRST)]
    rows.beat(keeper, slots=LEAST)
    assert filler.fill() == 2 * LEAST
    kept = [f"{message['root_id']} {FIRST}" for message in queues.queued(shop.sagas)[:LEAST]]
    rows.sql(
        "UPDATE {s}.saga_step SET status = 'running', token = gen_random_uuid(), claimed_at = clock_timestamp() "
        "WHERE line IS NULL AND NOT instance_id || ' 0.0.0' = ANY (%s)",
        kept,
    )

    # When, Then: so it would be with a queue that ran empty
    rows.beat(keeper, slots=LEAST, kept=tuple(kept))
    monkeypatch.setattr(task, "rate_limit", "1/h")
    assert filler.fill() == LEAST
    assert lines(rows) == 40 - 3 * LEAST


def test_b10_b12_what_the_broker_does_not_take_stands_where_it_stood(
    shop: Shop, rows: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = unsent(shop, 5)

    def refuse(*_: Any, **__: Any) -> None:
        raise OperationalError("the broker is away")

    monkeypatch.setattr(Messages, "send", refuse)
    filler = Filler(shop.sagas.engine)

    assert filler.fill() == 0

    assert lines(rows) == 5
    assert {step["dispatches"] for run in runs for step in rows.steps(run.id)} == {0}
    # B10: after two failures it leaves the lease to a process that may reach the broker
    assert rows.sql("SELECT holder FROM {s}.saga_lease") == []
    monkeypatch.undo()
    assert filler.fill() == 0, "it abstains for a moment"
    assert Filler(shop.sagas.engine).fill() == 5


def test_a_row_that_cannot_be_read_stops_no_other(shop: Shop, rows: Bench) -> None:
    bad, good = unsent(shop, 2)
    rows.sql("UPDATE {s}.saga_instance SET plan = '{}', plan_hash = 'unreadable' WHERE id = %s", bad.id)

    assert Filler(shop.sagas.engine).fill() == 1

    assert rows.events(bad.id) == ["sweep_failed"]
    assert queues.of(good.id, queues.queued(shop.sagas))


def test_b18_a_forced_sweep_waits_for_the_lease_for_a_moment_only(shop: Shop, rows: Bench) -> None:
    unsent(shop, 1)
    engine = shop.sagas.engine
    assert engine.store.lines.take_lease(engine.control.queue, uuid4(), engine.store.timing.hold)

    assert sweep(engine, forced=True) == 1

    assert lines(rows) == 0
