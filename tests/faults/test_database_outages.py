"""PostgreSQL frozen, killed and crashed while sagas run: they wait, go on, and nothing healthy is run twice."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any
from uuid import uuid4

import psutil
import psycopg2
import pytest

from config.demo import faults
from config.servers import EmbeddedPostgres
from sagas import SagaStatus
from tests.conftest import Shop, make_shop
from tests.faults import crashing
from tests.faults.killed_at_end import killed_at_end
from tests.faults.order_shop import OrderShop, has_ended
from tests.support import journal, scripted
from tests.support.workers import Worker, eventually

#: Longer than a lease and longer than what the sweep takes for an outage, at heartbeats of half a second.
LONG_ENOUGH = 3.0


@pytest.fixture(scope="module")
def fragile_postgres() -> Iterator[EmbeddedPostgres]:
    """A server of this module's own, to be frozen, killed and crashed."""
    with EmbeddedPostgres(durable=False) as server:
        # An unsynced commit stays in the server's memory until a synced one takes it along.
        connection = journal.connect(server.url)
        connection.cursor().execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        connection.cursor().execute("SELECT pg_reload_conf()")
        connection.close()
        yield server


@pytest.fixture
def fragile_url(fragile_postgres: EmbeddedPostgres) -> str:
    fragile_postgres.start()
    return fragile_postgres.create_database(f"test_{uuid4().hex}")


@pytest.fixture
def fragile_shop(fragile_url: str, broker_url: str, tmp_path: Path) -> Iterator[Shop]:
    made = make_shop(fragile_url, broker_url, tmp_path)
    yield made
    made.sagas.engine.store.database.dispose()


@pytest.fixture
def fragile_orders(make_orders: Callable[..., OrderShop], fragile_url: str, broker_url: str) -> OrderShop:
    return make_orders(fragile_url, broker_url, 0.5, 0.5)


@contextmanager
def frozen(server: EmbeddedPostgres) -> Iterator[None]:
    """No process of the server runs; connections stay open and do not answer."""
    postmaster = psutil.Process(server.pid)
    postmaster.suspend()
    backends = postmaster.children(recursive=True)
    for backend in backends:
        backend.suspend()
    yield
    for backend in backends:
        backend.resume()
    postmaster.resume()


@contextmanager
def dead(server: EmbeddedPostgres) -> Iterator[None]:
    server.kill()
    yield
    server.start()


def is_claimed_durably(url: str, sagas: int) -> bool:
    connection = journal.connect(url)
    try:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT count(*) FROM sagas.saga_step WHERE name = 'b' AND status = 'running' "
            "AND claimed_at < clock_timestamp() - interval '1 second'"
        )
        return bool(cursor.fetchone()[0] == sagas)
    finally:
        connection.close()


@pytest.mark.parametrize("away", [frozen, dead])
def test_c10_long_steps_of_healthy_workers_are_not_run_twice_after_the_database_was_away(
    away: Any, fragile_postgres: EmbeddedPostgres, fragile_shop: Shop
) -> None:
    with killed_at_end(fragile_shop.worker(name="one"), fragile_shop.worker(name="two")):
        runs = [fragile_shop.start(scripted.three, {"b": ["before:sleep:7"]}) for _ in range(4)]
        eventually(lambda: is_claimed_durably(fragile_shop.database_url, len(runs)), "all to be in b")

        with away(fragile_postgres):
            sleep(LONG_ENOUGH)  # every heartbeat gets stale at once
        for _ in range(10):
            fragile_shop.sagas.sweep()  # before the workers can report
        ends = [run.wait(60) for run in runs]

    assert set(ends) == {SagaStatus.COMPLETED}
    assert [fragile_shop.effects(run) for run in runs] == [["a", "b", "c"]] * len(runs)
    assert [step.losses for run in runs for step in run.steps] == [0] * 3 * len(runs)


def suspects(url: str) -> int:
    connection = journal.connect(url)
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT count(*) FROM sagas.saga_worker WHERE suspected_at IS NOT NULL AND dead_at IS NULL")
        return int(cursor.fetchone()[0])
    finally:
        connection.close()


def test_c10_a_suspicion_from_before_the_database_was_away_begins_anew(
    fragile_postgres: EmbeddedPostgres, fragile_shop: Shop
) -> None:
    suspect = fragile_shop.worker(name="suspect")
    # It takes no steps, but it sweeps.
    other = fragile_shop.worker("-c", "1", "-Q", "other", name="other")
    with killed_at_end(suspect, other):
        run = fragile_shop.start(scripted.three, {"b": ["before:sleep:8"]})
        eventually(lambda: is_claimed_durably(fragile_shop.database_url, 1), "b to run")
        psutil.Process(suspect.pid).suspend()
        eventually(lambda: suspects(fragile_shop.database_url), "the suspicion", every=0.01)
        with frozen(fragile_postgres):
            sleep(LONG_ENOUGH)  # the suspicion is older than a lease by now
        eventually(lambda: is_swept(fragile_shop.database_url), "a pass of the other one", every=0.01)
        psutil.Process(suspect.pid).resume()
        end = run.wait(60)

    assert end is SagaStatus.COMPLETED
    assert fragile_shop.effects(run) == ["a", "b", "c"]
    assert [step.losses for step in run.steps] == [0, 0, 0]


def is_swept(url: str) -> bool:
    """A pass has begun within the last second."""
    passed = "SELECT swept_at > clock_timestamp() - interval '1 second' FROM sagas.saga_sweep"
    return bool(journal.query(url, passed)[0][0])


def answers(url: str) -> bool:
    try:
        journal.connect(url).close()
    except psycopg2.OperationalError:
        return False
    return True


def crash_one_backend(server: EmbeddedPostgres, dice: random.Random) -> None:
    """What the OOM killer does: PostgreSQL cuts all connections off and recovers by itself."""
    witness = journal.connect(server.url)
    cursor = witness.cursor()
    cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'sagas'")
    psutil.Process(dice.choice(cursor.fetchall())[0]).kill()
    eventually(lambda: is_cut_off(witness), "PostgreSQL to notice")


def is_cut_off(connection: Any) -> bool:
    try:
        connection.cursor().execute("SELECT")
    except psycopg2.Error:
        return True
    return False


@pytest.mark.parametrize("fault", ["restart", "crash"])
def test_orders_survive_a_restart_and_crashes_of_the_database(
    fault: str, fragile_postgres: EmbeddedPostgres, fragile_orders: OrderShop, dice: random.Random
) -> None:
    shop = fragile_orders
    for operation in (("inventory", "reserve"), ("payment", "charge"), ("notification", "send")):
        faults.inject(*operation, "latency", seconds=0.3)
    keys = [f"order-{number}" for number in range(12)]
    for key in keys[::4]:
        faults.inject("payment", "charge", "refuse", order_id=key)
    with killed_at_end(shop.worker(name="one"), shop.worker(name="two")):
        runs = [shop.order(key) for key in keys]
        for _ in range(1 if fault == "restart" else 3):
            sleep(dice.uniform(0.1, 1.5))  # the random moment
            if fault == "restart":
                with dead(fragile_postgres):
                    sleep(1.5)
            else:
                eventually(lambda: answers(fragile_postgres.url), "PostgreSQL to answer again")
                crash_one_backend(fragile_postgres, dice)
        eventually(lambda: answers(fragile_postgres.url), "PostgreSQL to answer again")

        shop.assert_all_end_well(runs, timeout=90)


@pytest.fixture
def effects(tmp_path: Path) -> Path:
    return tmp_path / "effects"


@pytest.fixture
def crashing_crew(
    fragile_postgres: EmbeddedPostgres, fragile_shop: Shop, effects: Path, tmp_path: Path
) -> Iterator[None]:
    """A worker in whose step PostgreSQL crashes and its own child dies, within a moment of the claim."""
    environment = {
        "SAGAS_DATABASE_URL": fragile_shop.database_url,
        "SAGAS_BROKER_URL": fragile_shop.broker_url,
        "SAGAS_TEST_EFFECTS": str(effects),
    }
    with killed_at_end(Worker(environment, tmp_path / "crashing.log", application="tests.faults.crashing")):
        yield


@pytest.mark.usefixtures("crashing_crew")
def test_c9_what_may_run_twice_runs_again_if_its_claim_vanished_in_a_crash(fragile_shop: Shop, effects: Path) -> None:
    # Now and then a heartbeat comes in between and makes the claim durable: then it is an ordinary loss.
    for _ in range(5):
        run = fragile_shop.sagas.start(crashing.repeatable, {})
        eventually(lambda run=run: has_ended(run), "the saga to end", 60)

        assert run.status is SagaStatus.COMPLETED
        assert crashing.lines(effects, run.id) == ["a", "b", "b", "c"]
        if next(step for step in run.steps if step.name == "b").losses == 0:
            return
    pytest.fail("no claim vanished in a crash, so nothing was tested")


@pytest.mark.usefixtures("crashing_crew")
def test_c9_what_must_not_run_twice_is_undone_since_its_claim_outlives_the_crash(
    fragile_shop: Shop, effects: Path
) -> None:
    run = fragile_shop.sagas.start(crashing.unrepeatable, {})
    eventually(lambda: has_ended(run), "the saga to end", 60)

    # Nothing tells whether it happened
    assert run.status is SagaStatus.COMPENSATED
    assert crashing.lines(effects, run.id) == ["a", "b", "undo b", "undo a"]
    step = next(step for step in run.steps if step.name == "b")
    assert step.in_doubt
    assert step.losses == 1
