"""Celery's pools differ in what they can stop; sagas end in all of them."""

from contextlib import ExitStack

import pytest

from config.demo import faults
from sagas import SagaStatus
from tests.conftest import Shop
from tests.faults.killed_at_end import killed_at_end
from tests.faults.order_shop import OrderShop
from tests.support import scripted
from tests.support.workers import eventually


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_the_order_story_runs_in_every_pool(orders: OrderShop, pool: str) -> None:
    faults.inject("payment", "charge", "refuse", order_id="declined")
    faults.inject("shipping", "create", "refuse", order_id="not shipped")
    faults.inject("notification", "send", "error", order_id="confirmed late", times=1, moment="after")
    keys = ["plain", "declined", "not shipped", "confirmed late"]
    with killed_at_end(orders.worker("-P", pool, "-c", "2")):
        runs = [orders.order(key) for key in keys]
        ends = orders.assert_all_end_well(runs)

    assert [ends[run].value for run in runs] == ["completed", "compensated", "compensated", "completed"]


def test_a_healthy_step_of_ten_leases_is_never_run_twice(shop: Shop) -> None:
    long = 10.5 * shop.sagas.engine.store.timing.lease.total_seconds()
    with ExitStack() as workers:
        runs = []
        for pool in ("solo", "threads", "prefork"):
            workers.enter_context(killed_at_end(shop.worker("-P", pool, "-c", "1", name=pool)))
            runs.append(shop.start(scripted.three, {"b": [f"before:sleep:{long}"]}))
            eventually(lambda: [run.steps[1].status for run in runs] == ["running"] * len(runs), f"b in {pool}")
        # Whoever is idle and whatever passes by is evidence against what stands still.
        workers.enter_context(killed_at_end(shop.worker(name="idle")))
        while any(run.status is SagaStatus.RUNNING for run in runs):
            shop.sagas.sweep()
            assert shop.start(scripted.three).wait(30) is SagaStatus.COMPLETED

    for run in runs:
        assert run.status is SagaStatus.COMPLETED
        assert shop.effects(run) == ["a", "b", "c"]
        assert [(step.attempts, step.losses, step.in_doubt) for step in run.steps] == [(1, 0, False)] * 3


def test_c3_a_step_over_its_timeout_is_taken_over_where_the_pool_cannot_stop_it(shop: Shop) -> None:
    with ExitStack() as workers:
        runs = []
        for pool in ("solo", "threads"):
            # The worker takes one saga, gets stuck in it, and can do nothing else for a minute.
            worker = shop.worker("-P", pool, "-c", "1", name=pool)
            workers.enter_context(killed_at_end(worker))
            runs.append(shop.start(scripted.limited, {"b": ["before:sleep:60"]}))
            eventually(lambda: [run.steps[1].status for run in runs] == ["running"] * len(runs), f"b in {pool}")

        workers.enter_context(killed_at_end(shop.worker(name="rescuer")))
        ends = [run.wait(40) for run in runs]

    assert ends == [SagaStatus.COMPLETED] * 2
    for run in runs:
        assert shop.effects(run) == ["a", "b", "c"]
        assert run.steps[1].attempts == 2
        assert "attempt_failed" in [entry.event for entry in run.history()]
