"""C3: a process that lives on proves nothing about a step whose end it could not record."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import make_url

from config.demo import faults
from sagas import SagaStatus
from tests.conftest import Shop
from tests.faults.killed_at_end import killed_at_end
from tests.faults.order_shop import OrderShop
from tests.support import journal, scripted
from tests.support.workers import eventually


@contextmanager
def nothing_recorded(shop: OrderShop) -> Iterator[None]:
    """The database refuses what the first charging process reports, as a bug would; what a sweep says is written."""
    shop.query(
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '58000'; END $$"
    )
    shop.query(
        "CREATE TRIGGER refuse BEFORE UPDATE ON sagas.saga_step FOR EACH ROW WHEN (NEW.name = 'charge_payment' "
        "AND OLD.status = 'running' AND OLD.attempts = 1 AND NEW.losses = OLD.losses) EXECUTE FUNCTION public.refuse()"
    )
    try:
        yield
    finally:
        shop.query("DROP TRIGGER refuse ON sagas.saga_step")


@pytest.mark.parametrize("end", ["completion", "failure"])
def test_c3_a_step_whose_end_could_not_be_recorded_runs_again_though_its_process_lives(
    orders: OrderShop, end: str
) -> None:
    if end == "failure":
        faults.inject("payment", "charge", "error", moment="after", times=1)
    worker = orders.worker()
    with killed_at_end(worker):
        children = set(worker.children())
        with nothing_recorded(orders):
            run = orders.order()
            ends = orders.assert_all_end_well([run])

        assert ends == {run: SagaStatus.COMPLETED}
        assert "holder_lost" in [entry.event for entry in run.history()]
        assert run.steps[1].attempts == 2
        assert set(worker.children()) == children


@contextmanager
def unreachable(url: str) -> Iterator[None]:
    """A database that cuts everybody off and lets nobody in."""
    name = make_url(url).database
    connection = journal.connect(make_url(url).set(database="postgres").render_as_string(hide_password=False))
    cursor = connection.cursor()
    try:
        cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        yield
    finally:
        cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        connection.close()


def test_c3_a_step_that_ended_while_the_database_was_away_for_longer_than_its_patience_runs_again(
    orders: OrderShop,
) -> None:
    faults.inject("payment", "charge", "latency", moment="after", seconds=1.0, times=1)
    worker = orders.worker(application="tests.faults.gives_up_quickly")
    with killed_at_end(worker):
        children = set(worker.children())
        run = orders.order()
        eventually(lambda: run.steps[1].status == "running", "the charge")
        with unreachable(orders.database_url):
            # Celery's word for a task that raised.
            eventually(
                lambda: re.search(r"order/charge_payment\S* raised (un)?expected", worker.text()), "its giving up"
            )

        assert orders.assert_all_end_well([run]) == {run: SagaStatus.COMPLETED}
        assert run.steps[1].attempts == 2
        assert set(worker.children()) == children


def test_c3_a_thread_ended_by_system_exit_loses_no_saga(shop: Shop) -> None:
    with killed_at_end(shop.worker("-P", "threads", "-c", "2")):
        runs = [
            shop.start(scripted.three, {"b": ["exit"]}),
            shop.start(scripted.three, {"b": ["after:exit"]}),
            shop.start(scripted.three, {"b": ["no"], "undo a": ["exit"]}),
        ]
        ends = [run.wait(40) for run in runs]

    assert ends == [SagaStatus.COMPLETED, SagaStatus.COMPLETED, SagaStatus.COMPENSATED]
    assert [shop.effects(run) for run in runs] == [["a", "b", "c"], ["a", "b", "b", "c"], ["a", "undo a"]]
