"""Workers that are taken for dead and are not, and workers that look alike: nothing healthy is run twice."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.demo import faults
from sagas import SagaHandle, SagaStatus
from tests.conftest import Shop
from tests.faults.killed_at_end import end, killed_at_end
from tests.faults.order_shop import OrderShop
from tests.support import gates, journal, scripted
from tests.support.workers import Worker, eventually


@contextmanager
def frozen(worker: Worker, *, parent_alone: bool) -> Iterator[None]:
    """SIGSTOP and, in the end, SIGCONT: to the worker's process group, or to its parent alone."""
    send = os.kill if parent_alone else os.killpg
    send(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        send(worker.pid, signal.SIGCONT)


def events(run: SagaHandle) -> list[str]:
    return [entry.event for entry in run.history()]


def late_successes(run: SagaHandle) -> list[str]:
    return [str(entry.detail["outcome"]) for entry in run.history() if entry.event == "late_success"]


def holds(run: SagaHandle, step: str) -> bool:
    return any(view.name == step and view.status == "running" for view in run.steps)


def boots(url: str, pid: int) -> list[bool]:
    """Of each registration of a worker's process, the oldest first: whether it was declared dead."""
    connection = journal.connect(url)
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT dead_at IS NOT NULL FROM sagas.saga_worker WHERE pid = %s ORDER BY started_at", (pid,))
        return [dead for (dead,) in cursor.fetchall()]
    finally:
        connection.close()


def test_c10_a_worker_that_wakes_up_declared_dead_registers_anew_and_works_on(orders: OrderShop) -> None:
    zombie, survivor = orders.worker(name="zombie"), orders.worker(name="survivor")
    for moment in ("before", "after"):
        faults.inject("payment", "charge", "latency", moment=moment, seconds=1.5, times=2)
    with killed_at_end(zombie, survivor):
        end(survivor)
        runs = [orders.order(), orders.order()]
        eventually(lambda: all(holds(run, "charge_payment") for run in runs), "the zombie to charge both")

        with frozen(zombie, parent_alone=False), killed_at_end(survivor):
            # Whatever the survivor can do, it does now; what the zombie holds in its memory comes later.
            orders.ended(runs)
        eventually(lambda: boots(orders.database_url, zombie.pid) == [True, False], "a second registration")

        runs += [orders.order() for _ in range(4)]
        ends = orders.assert_all_end_well(runs)

    assert set(ends.values()) == {SagaStatus.COMPLETED}
    assert all("holder_lost" in events(run) for run in runs[:2])


def test_c4_c8_a_zombies_late_success_is_absorbed_going_forward_and_undone_again_going_backward(shop: Shop) -> None:
    # Both first attempts end long after they were taken over: their parent is frozen, they are not.
    zombie, survivor = shop.worker(name="zombie"), shop.worker(name="survivor")
    with killed_at_end(zombie):
        forward = shop.start(scripted.three, {"b": ["wait:late"]})
        backward = shop.start(scripted.three, {"b": ["wait:late", "no"]})
        for run in (forward, backward):
            gates.until_reached(shop.database_url, run, "late")
        with frozen(zombie, parent_alone=True), killed_at_end(survivor):
            assert forward.wait(30) is SagaStatus.COMPLETED
            # The second attempt says a clean no, but the first one left doubt: so b is undone as well.
            assert backward.wait(30) is SagaStatus.COMPENSATED
            assert shop.effects(forward) == ["a", "b", "c"]
            assert shop.effects(backward) == ["a", "undo b", "undo a"]

            for run in (forward, backward):
                gates.open_gate(shop.database_url, run, "late")
            eventually(lambda: late_successes(forward) and late_successes(backward), "the zombie's reports")
            eventually(lambda: backward.status is SagaStatus.COMPENSATED, "the second undo")

    assert forward.status is SagaStatus.COMPLETED
    assert late_successes(forward) == ["absorbed by the idempotency key"]
    assert shop.effects(forward) == ["a", "b", "c", "b"]
    assert len({key for what, key in journal.entries(shop.database_url, forward.id) if what == "b"}) == 1

    assert late_successes(backward) == ["will be undone again"]
    assert shop.effects(backward) == ["a", "undo b", "undo a", "b", "undo b"]
    first, second = [key for what, key in journal.entries(shop.database_url, backward.id) if what == "undo b"]
    assert second == f"{first}:2"


def test_c10_fresh_pool_children_are_not_born_dead(shop: Shop) -> None:
    # Every step runs in a child that did not exist at the last heartbeat.
    with killed_at_end(shop.worker("-c", "2", "--max-tasks-per-child", "1")):
        runs = [shop.start(scripted.three, {"b": ["before:sleep:0.2"]}) for _ in range(6)]

        def all_ended() -> bool:
            shop.sagas.sweep()  # at every moment between two heartbeats
            return all(run.status.is_final for run in runs)

        eventually(all_ended, "every saga to end", 60)

    assert {run.status for run in runs} == {SagaStatus.COMPLETED}
    assert [shop.effects(run) for run in runs] == [["a", "b", "c"]] * 6
    assert not [run for run in runs if "holder_lost" in events(run)]


def test_c10_two_workers_with_one_name_do_not_delist_each_others_steps(shop: Shop, tmp_path: Path) -> None:
    twins = [shop.worker("-c", "2", "-n", "celery@app", name=name) for name in ("twin1", "twin2")]
    with killed_at_end(*twins):
        # Steps of several heartbeats, so that each twin reports while the other works.
        runs = [shop.start(scripted.three, {"b": ["before:sleep:2.5"]}) for _ in range(4)]
        ends = [run.wait(60) for run in runs]
        known = [boots(shop.database_url, twin.pid) for twin in twins]

    assert known == [[False], [False]]
    assert set(ends) == {SagaStatus.COMPLETED}
    assert [shop.effects(run) for run in runs] == [["a", "b", "c"]] * 4
    assert not [run for run in runs if "holder_lost" in events(run)]
