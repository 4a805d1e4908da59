"""E1: fifty publishers on one run, and workers that are killed: a handler sees every event in order, without a gap."""

import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from sqlalchemy import Engine, NullPool, create_engine, text

from sagas import SagaHandle, SagaStatus
from tests.conftest import Shop
from tests.faults.killed_at_end import killed_at_end
from tests.support import journal
from tests.support.choreographed import Noted, Ordered, Shipped, ring
from tests.support.workers import Worker, eventually

PUBLISHERS, EACH = 50, 2
KILLS = 4
PATIENCE = 120.0


def publish_all(shop: Shop, run: SagaHandle, publisher: int, engine: Engine, dice: random.Random) -> None:
    """Each second event begins after the commit of the first, and so has to come later."""
    waits = dice.uniform(0.0, 0.5)
    with engine.begin() as connection:
        ring.publish_on(shop.sagas.engine, Noted(script={}, number=publisher * EACH), run=run, connection=connection)
        connection.execute(text("SELECT pg_sleep(:waits)"), {"waits": waits})
    for number in range(1, EACH):
        ring.publish_on(shop.sagas.engine, Noted(script={}, number=publisher * EACH + number), run=run)


def noted(shop: Shop, run: SagaHandle) -> dict[str, tuple[int, int]]:
    """The events by their ids: what number each has in its run, and which one it is of its publishers'."""
    rows = journal.query(
        shop.database_url,
        "SELECT event_id::text, number, (payload ->> 'number')::int FROM sagas.saga_inbox "
        "WHERE instance_id = %s AND name = 'Noted' AND number IS NOT NULL",
        str(run.id),
    )
    return {event: (number, which) for event, number, which in rows}


def effects(shop: Shop, run: SagaHandle) -> list[str]:
    """The ids of the events that were handled, in the order in which that happened."""
    entries = journal.entries(shop.database_url, run.id)
    return [key.partition(":")[0] for what, key in entries if what.startswith("note")]


def kill_one(workers: list[Worker], dice: random.Random) -> None:
    """Kill a whole worker or the child of one; a worker is started again."""
    victim = dice.choice(workers)
    if dice.random() < 0.5:
        victim.kill()
        victim.start()
    else:
        os.kill(dice.choice(victim.children()), signal.SIGKILL)


def play(shop: Shop, workers: list[Worker], engine: Engine, dice: random.Random) -> None:
    run = ring.start_on(shop.sagas.engine, Ordered(script={"charge": "say:nothing"}))
    seeds = [random.Random(dice.random()) for _ in range(PUBLISHERS)]
    with ThreadPoolExecutor(PUBLISHERS) as threads:
        publishing = [
            threads.submit(publish_all, shop, run, publisher, engine, seeds[publisher])
            for publisher in range(PUBLISHERS)
        ]
        for kill in range(KILLS):
            # A kill that only meets the recovery from the one before would use up the losses of one delivery.
            done = (kill + 1) * PUBLISHERS * EACH // (KILLS + 1)
            eventually(lambda: len(set(effects(shop, run))) >= done, f"{done} events to be handled", PATIENCE)  # noqa: B023
            kill_one(workers, dice)
        for one in publishing:
            one.result()
    eventually(lambda: len(set(effects(shop, run))) == PUBLISHERS * EACH, "all events to be handled", PATIENCE)
    ring.publish_on(shop.sagas.engine, Shipped(script={}), run=run)
    assert run.wait(PATIENCE) is SagaStatus.COMPLETED
    in_order(shop, run)


def in_order(shop: Shop, run: SagaHandle) -> None:
    events, seen = noted(shop, run), effects(shop, run)
    in_run = "SELECT array_agg(number ORDER BY number) FROM sagas.saga_inbox WHERE instance_id = %s"
    (numbers,) = journal.query(shop.database_url, in_run, str(run.id))[0]
    told = run.timeline()

    assert numbers == list(range(1, len(numbers) + 1)), told
    assert set(seen) == set(events), told
    order = [events[event][0] for event in seen]
    assert all(before <= after for before, after in pairwise(order)), f"{order}\n{told}"
    for publisher in range(PUBLISHERS):
        own = sorted((which, number) for number, which in events.values() if which // EACH == publisher)
        assert own == sorted(own, key=lambda it: it[1]), told
    assert all(step.attempts - step.losses == 1 for step in run.steps if step.name == "note"), told
    assert len(seen) <= len(events) + sum(step.losses for step in run.steps), told


def test_e1_a_handler_sees_the_events_of_fifty_publishers_in_order_whoever_is_killed(
    shop: Shop, rounds: int, dice: random.Random
) -> None:
    shop.sagas.register()
    workers = [shop.worker("-c", "2", "-I", "tests.support.choreographed", name=f"worker-{it}") for it in range(2)]
    engine = create_engine(shop.database_url, poolclass=NullPool)
    with killed_at_end(*workers):
        for _ in range(rounds):
            play(shop, workers, engine, dice)
    engine.dispose()
