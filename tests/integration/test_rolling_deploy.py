"""B17: workers that know no line beside those that fill it, on one schema and one broker."""

from collections import Counter
from pathlib import Path
from uuid import UUID

import pytest

from sagas import SagaHandle, SagaStatus, SchemaMissing
from sagas.recovery.sweep import NO_LIMIT, Sweeper
from tests.conftest import Shop, make_shop
from tests.support import journal, queues, scripted, shapes
from tests.support.application import make
from tests.support.bench import FIRST, Bench, bench_on
from tests.support.last_release import run_in, worker_of
from tests.support.programs import briefly
from tests.support.workers import Worker, eventually

START = """
from tests.support import scripted
from tests.support.application import sagas

for _ in range({number}):
    print(sagas.start(scripted.three, {{"script": {{}}}}).id)
"""
MIGRATE = "from tests.support.application import sagas; sagas.migrate()"
SWEEP = """
import os
from sagas.store import Store, Timing

sweeping = Store(os.environ["SAGAS_DATABASE_URL"], "sagas", Timing(heartbeat=1000.0, sweep_every=1000.0)).sweeping
print(sweeping.begin(forced=False) is not None)
"""
ALL = [f"three/{name}" for name in "abc"]


def old_worker(shop: Shop, last_release: Path) -> Worker:
    return worker_of(last_release, shop.database_url, shop.broker_url, shop.directory / "old.log")


def started_by(last_release: Path, shop: Shop, number: int) -> list[SagaHandle]:
    told = run_in(last_release, shop.database_url, shop.broker_url, START.format(number=number))
    return [shop.sagas.get(run) for run in told.split()]


def until_all_ended(runs: list[SagaHandle]) -> None:
    eventually(lambda: all(run.status.is_final for run in runs), "all of them to end", 60, every=0.3)


def test_b17_workers_that_know_no_line_go_on_with_the_new_schema(shop: Shop, last_release: Path) -> None:
    runs = [shop.start(scripted.three), shop.start(scripted.three, {"c": ["no"]}), shop.start(shapes.sleepy)]
    lost = shop.start(scripted.three)

    with briefly(old_worker(shop, last_release)):
        until_all_ended([*runs, lost, *started_by(last_release, shop, 2)])

    assert [run.status for run in runs] == [SagaStatus.COMPLETED, SagaStatus.COMPENSATED, SagaStatus.COMPLETED]
    assert [shop.effects(run) for run in runs] == [["a", "b", "c"], ["a", "b", "undo b", "undo a"], ["a", "b"]]


def test_b17_beside_those_that_fill_the_line_nothing_is_lost_or_done_twice(shop: Shop, last_release: Path) -> None:
    # Given: a backlog whose messages the broker has lost, of starts by either, and half of it in the line
    runs = [*started_by(last_release, shop, 20), *(shop.start(scripted.three) for _ in range(40))]
    queues.forget_everything(shop.sagas)
    for run in runs[::2]:
        shop.sagas.engine.store.lines.put_back(run.id, FIRST)

    # When
    old, new = old_worker(shop, last_release), shop.worker(name="new")
    with briefly(old, new):
        runs += [*started_by(last_release, shop, 5), *(shop.start(scripted.three) for _ in range(5))]
        until_all_ended(runs)

    # Then
    assert Counter(run.status for run in runs) == {SagaStatus.COMPLETED: len(runs)}
    assert {tuple(shop.effects(run)) for run in runs} == {("a", "b", "c")}
    assert all(set(ALL) <= set(queues.received(worker)) for worker in (old, new))
    assert journal.query(shop.database_url, "SELECT count(*) FROM sagas.saga_step WHERE attempts <> 1") == [(0,)]


def test_b17_what_was_begun_on_the_old_schema_is_ended_on_the_new_one(
    database_url: str, broker_url: str, tmp_path: Path, last_release: Path
) -> None:
    # Given: a schema without the line
    run_in(last_release, database_url, broker_url, MIGRATE)
    before = Shop(make(broker_url, database_url), database_url, broker_url, tmp_path)
    begun = run_in(last_release, database_url, broker_url, START.format(number=2)).split()
    with pytest.raises(SchemaMissing, match="too old"):
        before.start(scripted.three)

    # When
    shop = make_shop(database_url, broker_url, tmp_path)
    runs = [shop.sagas.get(run) for run in begun]
    with briefly(shop.worker()):
        until_all_ended([*runs, shop.start(scripted.three)])

    # Then
    assert [shop.effects(run) for run in runs] == [["a", "b", "c"]] * 2


def test_b17_an_old_timer_returns_at_once_where_a_new_one_makes_its_passes(
    database_url: str, broker_url: str, last_release: Path
) -> None:
    """Else it looks at all that waits, and sends it again."""
    with bench_on(database_url, heartbeat=1000.0) as bench:
        bench.store.sweeping.look_around()

        # As old as it ever gets, between two passes
        bench.age(bench.store.timing.pause)
        assert run_in(last_release, database_url, broker_url, SWEEP).strip() == "False"

        bench.age(0.1 * bench.store.timing.sweep_every)
        assert run_in(last_release, database_url, broker_url, SWEEP).strip() == "True"


def test_b17_a_pass_that_takes_long_says_that_it_goes_on(
    database_url: str, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: three looks that each take half of the pause between two passes
    monkeypatch.setenv("SAGAS_SWEEP_EVERY", "1000")
    shop = make_shop(database_url, broker_url, tmp_path)
    rows, sweeper = Bench(database_url, shop.sagas.engine.store), Sweeper(shop.sagas.engine)
    for _ in range(3):
        shop.start(scripted.three)
    rows.sql("UPDATE {s}.saga_instance SET due_at = clock_timestamp()")
    look_at, began = sweeper._look_at, []

    def look_for_long(instance_id: UUID) -> bool:
        rows.age(shop.sagas.engine.store.timing.pause / 2)
        sweeper._fresh_until = 0.0
        moved = look_at(instance_id)
        began.append(rows.sql("SELECT clock_timestamp() - swept_at < interval '100 s' FROM {s}.saga_sweep"))
        return moved

    monkeypatch.setattr(sweeper, "_look_at", look_for_long)

    sweeper.run(NO_LIMIT)

    assert began == [[(True,)]] * 3
    shop.sagas.engine.store.database.dispose()
