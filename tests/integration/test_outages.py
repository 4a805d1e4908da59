"""What each kind of outage costs, counted in passes, messages and statements: recovery is less than the work.

The fleet is one process, which makes the passes of a worker's timers and runs the messages itself; no second of these
tests is one of the clock. `python3 run.py bench storm` measures the same with real workers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from kombu.exceptions import OperationalError
from sqlalchemy import event

from sagas import Saga, SagaHandle, SagaStatus, WaitFor
from sagas.engine import Messages
from sagas.recovery.filling import LEAST, Filler
from sagas.recovery.sweep import SENT_AT_ONCE, Sweeper
from tests.conftest import Shop, make_shop
from tests.support import queues, scripted
from tests.support.bench import FIRST, Bench
from tests.support.choreographed import Ordered, ring
from tests.support.inline import run_messages
from tests.support.scripted import step

#: Seconds between two passes, and two heartbeats: so long that nothing in these tests takes as long.
INTERVAL = 5
MANY, FEW, STEPS, DELIVERIES = 60, 15, 3, 4
#: What a pass asks the database that has nothing to do.
IDLE = 8
waits = Saga("waits-for-a-signal", steps=[step("a"), WaitFor("never", timeout=86_400), step("b")])


@pytest.fixture
def shop(database_url: str, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    for name in ("SAGAS_HEARTBEAT", "SAGAS_SWEEP_EVERY"):
        monkeypatch.setenv(name, str(INTERVAL))
    monkeypatch.setenv("SAGAS_DATABASE_URL", database_url)
    made = make_shop(database_url, broker_url, tmp_path)
    yield made
    made.sagas.engine.store.database.dispose()


@pytest.fixture
def fleet(shop: Shop) -> "Fleet":
    return Fleet(shop, Bench(shop.database_url, shop.sagas.engine.store))


@dataclass
class Fleet:
    """Workers with so many slots altogether, interval by interval; and what they have cost."""

    shop: Shop
    rows: Bench
    slots: int = 2
    passes: int = 0
    statements: int = 0
    taken: list[str] = field(default_factory=list)
    worker: UUID = field(default_factory=uuid4)
    was_idle: bool = False
    deliveries: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        engine = self.shop.sagas.engine
        self.filler, self.sweeper = Filler(engine), Sweeper(engine)
        self.beat()
        self.sweeper.run(engine.store.timing.budget)

    def beat(self) -> None:
        self.rows.beat(self.worker, *self.deliveries, slots=self.slots, idle=self.was_idle)

    def age(self, seconds: float) -> None:
        """Make all that was stored, and the messages that wait, so many seconds older."""
        self.rows.age(seconds)
        queues.age(self.shop.sagas, seconds)

    def recover(self) -> int:
        """A heartbeat, a pass and a look at the lines. Returns how many statements that took."""
        before = self.statements
        self.age(INTERVAL)
        self.beat()
        with self.counted():
            self.sweeper.run(float("inf"))
            self.filler.fill()
        self.passes += 1
        return self.statements - before

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the statements of the block."""
        database = self.shop.sagas.engine.store.database.engine
        event.listen(database, "before_cursor_execute", self._count)
        try:
            yield
        finally:
            event.remove(database, "before_cursor_execute", self._count)

    def _count(self, *_: object) -> None:
        self.statements += 1

    def work(self, most: float = float("inf")) -> int:
        """Take messages, and run them. Returns how many."""
        ran = run_messages(self.shop.sagas.app, most=most)
        self.was_idle = not ran
        self.taken += ran
        return len(ran)

    def until_ended(self, runs: list[SagaHandle], passes: int) -> None:
        """Intervals, until all have ended; so many at most."""
        while {run.status.is_final for run in runs} != {True}:
            assert self.passes < passes, f"after {passes} passes: {[str(run.status) for run in runs]}"
            self.recover()
            self.work()


def started(shop: Shop, many: int = MANY) -> list[SagaHandle]:
    return [shop.start(scripted.three) for _ in range(many)]


def test_b5_a_broker_that_was_emptied_costs_each_lost_message_once(shop: Shop, fleet: Fleet) -> None:
    runs = started(shop)
    queues.forget_everything(shop.sagas)
    assert fleet.work() == 0

    fleet.until_ended(runs, passes=6)

    assert {run.status for run in runs} == {SagaStatus.COMPLETED}
    assert len(fleet.taken) == MANY * STEPS
    # Windows of 10, 20, 40: fewer statements than there are sagas, however many these are.
    assert fleet.statements <= fleet.passes * (IDLE + 6)


def ordered(shop: Shop, many: int = MANY, **script: Any) -> list[SagaHandle]:
    """Choreographed runs, of four deliveries each if the script says nothing else."""
    shop.sagas.register()
    return [ring.start_on(shop.sagas.engine, Ordered(script=script)) for _ in range(many)]


def test_b5_a_broker_that_was_emptied_costs_each_lost_delivery_once(shop: Shop, fleet: Fleet) -> None:
    runs = ordered(shop)
    queues.forget_everything(shop.sagas)
    assert fleet.work() == 0

    fleet.until_ended(runs, passes=6)

    assert {run.status for run in runs} == {SagaStatus.COMPLETED}
    assert len(fleet.taken) == MANY * DELIVERIES
    assert fleet.statements <= fleet.passes * (IDLE + 6)


def test_runs_behind_a_dead_letter_cost_the_others_and_the_passes_nothing(shop: Shop, fleet: Fleet) -> None:
    # Given: what a pass and some runs cost where there is no letter
    ordered(shop, 1)
    fleet.work()  # a session is told its statements once
    alone = drained(shop, fleet)
    fleet.recover()
    rests = fleet.recover()

    # When
    stuck = ordered(shop, FEW, charge="no")  # so few that the handler is not paused
    fleet.work()
    fleet.until_ended(stuck, passes=6)
    drained(shop, fleet, 1)  # it does not only fail, which is noted

    # Then
    assert drained(shop, fleet) == alone
    fleet.recover()
    assert fleet.recover() <= rests
    assert {run.status for run in stuck} == {SagaStatus.FAILED}
    assert len(shop.sagas.dead_letters.list()) == FEW


def drained(shop: Shop, fleet: Fleet, many: int = 10) -> tuple[int, int]:
    """Run some runs to their ends. Return how many messages and statements that took."""
    fleet.shop.sagas.engine.store.hot._reported_at = float("inf")  # once a second a claim says how far its queue is
    runs, before = ordered(shop, many), fleet.statements
    with fleet.counted():
        taken = fleet.work()
    assert {run.status for run in runs} == {SagaStatus.COMPLETED}
    return taken, fleet.statements - before


def test_b10_a_broker_that_was_away_for_long_costs_two_tries_a_pass(
    shop: Shop, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: what is started meanwhile is in no broker
    tried = []

    def refuse(*given: Any, **_: Any) -> None:
        tried.append(given)
        raise OperationalError("the broker is away")

    runs = started(shop)
    queues.forget_everything(shop.sagas)
    with monkeypatch.context() as away:
        away.setattr(Messages, "send", refuse)
        for run in runs:
            shop.sagas.engine.store.lines.put_back(run.id, FIRST)

        # When: minutes go by
        for _ in range(60):
            fleet.filler._abstains_until = 0.0
            fleet.recover()

    # Then
    assert len(tried) <= 2 * fleet.passes
    assert fleet.statements <= fleet.passes * (IDLE + 6)
    assert queues.queued(shop.sagas) == []

    fleet.filler._abstains_until, fleet.passes = 0.0, 0
    fleet.until_ended(runs, passes=6)
    assert len(fleet.taken) == MANY * STEPS


def test_b2_b15_a_database_that_was_away_costs_nothing_that_was_under_way(shop: Shop, fleet: Fleet) -> None:
    # Given: some run, the others wait in the broker
    runs = started(shop)
    fleet.deliveries = tuple(f"delivery {number}" for number in range(5))
    for run, delivery in zip(runs, fleet.deliveries, strict=False):
        assert fleet.rows.claim(run.id, worker=fleet.worker, delivery=delivery) is not None
    fleet.beat()

    # When: nothing beats and nothing looks for longer than two workers could be silent
    fleet.age(6 * INTERVAL)
    fleet.sweeper.run(float("inf"))
    cost = [fleet.recover() for _ in range(4)]

    # Then
    assert len(queues.queued(shop.sagas)) == MANY
    assert [run.steps[0].losses for run in runs[:5]] == [0] * 5
    assert fleet.rows.sql("SELECT count(*) FROM {s}.saga_worker WHERE dead_at IS NOT NULL") == [(0,)]
    assert max(cost) <= IDLE + 4
    assert fleet.work() == (MANY - 5) * STEPS + 5  # the messages of those that run find nothing to claim


def test_stale_heartbeats_cost_what_ran_and_not_what_waits(shop: Shop, fleet: Fleet) -> None:
    # Given: three workers, each with a step; and a backlog
    runs = started(shop)
    stale = [uuid4() for _ in range(3)]
    for run, worker in zip(runs, stale, strict=False):
        fleet.rows.beat(worker, str(run.id))
        assert fleet.rows.claim(run.id, worker=worker, delivery=str(run.id)) is not None
    for message in reversed(queues.take_out(shop.sagas)[3:]):
        queues.put_back(shop.sagas, message)

    # When: they are silent for so long that they are dead
    fleet.rows.sql(
        "UPDATE {s}.saga_worker SET heartbeat_at = heartbeat_at - interval '1 hour', "
        "suspected_at = clock_timestamp() - interval '1 hour' WHERE id = ANY (%s::uuid[])",
        [str(worker) for worker in stale],
    )
    cost = fleet.recover()

    # Then: their steps were looked at, and sent again
    assert [run.steps[0].losses for run in runs[:4]] == [1, 1, 1, 0]
    assert cost <= IDLE + 6 + 3 * 20
    fleet.until_ended(runs, passes=6)
    assert len(fleet.taken) == MANY * STEPS


def test_b9_deadlines_of_all_at_one_moment_are_undone_through_the_line(shop: Shop, fleet: Fleet) -> None:
    # Given
    runs = [shop.start(waits, deadline=3600) for _ in range(MANY)]
    fleet.work()
    for run in runs:
        assert run.status is SagaStatus.RUNNING
    fleet.rows.sql("UPDATE {s}.saga_instance SET deadline = clock_timestamp(), due_at = clock_timestamp()")
    sent = len(fleet.taken)

    # When, Then: one pass finds all of them, and a few messages leave with it; the others wait for their turns
    cost = fleet.recover()
    assert {run.status for run in runs} == {SagaStatus.COMPENSATING}
    assert cost <= MANY * 20
    assert len(queues.queued(shop.sagas)) <= SENT_AT_ONCE + LEAST
    fleet.until_ended(runs, passes=6)
    assert {run.status for run in runs} == {SagaStatus.COMPENSATED}
    assert len(fleet.taken) - sent == MANY


def test_b1_a_leader_that_is_frozen_costs_the_rest_of_its_lease(shop: Shop, fleet: Fleet) -> None:
    # Given: one that has sent a window
    runs = started(shop)
    queues.forget_everything(shop.sagas)
    for run in runs:
        shop.sagas.engine.store.lines.put_back(run.id, FIRST)
    leader = Filler(shop.sagas.engine)
    assert leader.fill() == LEAST

    # When: it does nothing any more
    fleet.until_ended(runs, passes=7)

    assert len(fleet.taken) == MANY * STEPS
    assert leader.fill() == 0


def test_b3_workers_that_are_scaled_from_one_to_fifty_are_busy_after_a_few_passes(shop: Shop, fleet: Fleet) -> None:
    runs = started(shop, 3 * MANY)
    queues.forget_everything(shop.sagas)
    for run in runs:
        shop.sagas.engine.store.lines.put_back(run.id, FIRST)

    # Given: a worker with one slot, which runs three steps in an interval
    fleet.slots = 1
    for _ in range(5):
        fleet.recover()
        assert fleet.work(most=3) == 3
    assert len(queues.queued(shop.sagas)) <= 2 * LEAST

    # When: there are fifty, of which each runs as many
    fleet.slots, busy = 50, []
    while {run.status.is_final for run in runs} != {True}:
        assert len(busy) < 10
        fleet.recover()
        busy.append(fleet.work(most=3 * 50))

    # Then
    assert min(busy[:-1]) == 3 * 50
    assert len(fleet.taken) == 3 * MANY * STEPS
