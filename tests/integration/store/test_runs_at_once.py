"""The random model of runs on a real PostgreSQL: publishers, workers, losses, letters, operators, sweeps, undos.

Whatever interleaving comes of it: no deadlock, numbers without a gap, no handler out of order, nothing left held, no
doubt lost.
"""

import random
import threading
from contextlib import suppress
from uuid import UUID

import pytest

from sagas.model import Address, ExecutionStatus, SagaStatus, Stop, StopKind, StopRequested, Verdict
from sagas.model.choreography import Order
from sagas.model.choreography.state import Delivery, RunState
from tests.support.bench import Bench
from tests.support.runs import RunBench, event
from tests.support.workers import within
from tests.unit.model.choreography.graphs import graph, handler
from tests.unit.model.story import tries

PLAN = graph(
    handler("charge", "B", undo="refund", undo_when=("D",), publishes=("C",), retry=tries(2, backoff=0.0)),
    handler("count", ("A", "B", "C")),
    handler("mail", ("B", "C"), order=Order.NONE),
    ends=("E",),
)
CHARGE, COUNT, _ = range(3)
LATE = "SELECT number FROM {s}.saga_inbox WHERE instance_id = %s AND letter = 'late'"
RUNS, PUBLISHERS, WORKERS, EVENTS = 2, 4, 4, 4


class Abandoned(Exception):
    """A caller gives its transaction up."""


class Chaos:
    """One round: threads that do what processes do, each with its own dice."""

    def __init__(self, runs: RunBench, bench: Bench, seed: int, *, rough: bool) -> None:
        self.runs, self.bench = runs, bench
        self.rough = rough  # runs are cancelled, and the database crashes and loses claims
        self.dice = random.Random(seed)
        self.ids = [runs.start(PLAN) for _ in range(RUNS)]
        self.errors: list[BaseException] = []
        self.done: dict[UUID, list[int]] = {run: [] for run in self.ids}  # numbers in the order in which `count` ran
        self.charged: set[tuple[UUID, Address]] = set()  # bodies of `charge` that may have happened
        self.refunded: set[tuple[UUID, Address]] = set()
        self.is_over = threading.Event()

    def goes_on(self) -> None:
        publishers = [threading.Thread(target=self.safely, args=(self.publishes,)) for _ in range(PUBLISHERS)]
        others = [threading.Thread(target=self.safely, args=(self.works,)) for _ in range(WORKERS)]
        alone = [self.operates, self.sweeps, *([self.cancels, self.crashes] if self.rough else [])]
        others += [threading.Thread(target=self.safely, args=(it,)) for it in alone]
        for thread in (*publishers, *others):
            thread.start()
        for thread in publishers:
            thread.join(60)
        rests = within(120, lambda: self.errors or all(map(self.rests, self.ids)))
        assert rests, [self.open(run) for run in self.ids]
        self.is_over.set()
        for thread in others:
            thread.join(30)
        assert not self.errors, self.errors[0]

    def rests(self, run: UUID) -> bool:
        state = self.runs.state(run)
        is_over = all(row.finished_at is not None and not dead(row) for row in state.steps)
        return is_over and not state.evidence.arrived and not self.runs.late(run)

    def open(self, run: UUID) -> list[str]:
        rows = [row for row in self.runs.state(run).steps if row.finished_at is None or dead(row)]
        return [f"{row.address} {row.name} {row.status} {row.error}" for row in rows][:5]

    def safely(self, work: object) -> None:
        try:
            work(random.Random(self.dice.random()))  # type: ignore[operator]
        except BaseException as error:
            self.errors.append(error)

    def publishes(self, dice: random.Random) -> None:
        """In a transaction to both runs, in any order; some roll back."""
        for _ in range(EVENTS):
            with suppress(Abandoned), self.runs.store.database.transaction() as connection:
                for run in dice.sample(self.ids, RUNS):
                    type_ = "D" if dice.random() < 0.03 else "B"
                    self.runs.store.runs.publish(connection.scalar, run, event(type_), None)
                if dice.random() < 0.2:
                    raise Abandoned
            if dice.random() < 0.5:
                self.runs.look(dice.choice(self.ids))

    def works(self, dice: random.Random) -> None:
        while not self.is_over.is_set():
            run = dice.choice(self.ids)
            pending = self.runs.pending(run)
            if not pending:
                self.is_over.wait(0.005)
                continue
            address = dice.choice(pending)
            task = PLAN.step(address.position, address.branch).task_for(address.round)
            assert task is not None
            token = self.runs.claim(run, address, task)
            if token is not None:
                self.ends(run, address, token, dice)

    def ends(self, run: UUID, address: Address, token: UUID, dice: random.Random) -> None:
        fate = dice.random()
        if address.branch == CHARGE and address.is_action and fate < 0.8:
            self.charged.add((run, address))  # whatever is reported now, it may have happened
        if fate < 0.7:
            if address.branch == COUNT:
                self.done[run].append(address.position)
            if not address.is_action:
                self.refunded.add((run, address.action))
            self.runs.ends(run, address, token, *(["C"] if address.branch == CHARGE and address.is_action else []))
        elif fate < 0.8:
            self.runs.fails(run, address, token, Verdict.UNKNOWN)
        elif fate < 0.9:
            self.runs.fails(run, address, token, Verdict.CLEAN_NO)
        else:  # its process died: the sweep gives its claim back
            self.runs.fails(run, address, token, Verdict.INTERRUPTED)

    def operates(self, dice: random.Random) -> None:
        while not self.is_over.is_set():
            run = dice.choice(self.ids)
            has_answered = self.runs.has_dead_letters(run) and self.runs.answers(run, dice)
            if not has_answered and not self.delivers_late(run, dice):
                self.is_over.wait(0.01)

    def delivers_late(self, run: UUID, dice: random.Random) -> bool:
        """Have a late event delivered to one of its hearers, once its run has ended, or let it go."""
        letters = self.runs.late(run)
        if not letters:
            return False
        letter = dice.choice(letters)
        if dice.random() < 0.2:
            return self.bench.store.letters.acknowledge(run, letter.event, {"reason": "by hand"})
        return self.runs.delivers(run, letter, dice.choice(["count", "mail"])).accepted

    def cancels(self, dice: random.Random) -> None:
        """One of the runs turns back in the middle of it all, and events come late."""
        self.is_over.wait(dice.uniform(0.2, 1.0))
        self.runs.happens(self.ids[0], StopRequested(stop=Stop(kind=StopKind.CANCELLED, reason="changed mind")))
        for _ in range(EVENTS):
            self.runs.publish(self.ids[0], "B", looks=dice.random() < 0.5)

    def crashes(self, dice: random.Random) -> None:
        """The database crashes, and forgets half of the claims. Whoever held one goes on, and reports."""
        while not self.is_over.is_set():
            self.is_over.wait(dice.uniform(0.1, 0.5))
            self.bench.sql("UPDATE {s}.saga_epoch SET epoch = gen_random_uuid()")
            self.bench.sql(
                "UPDATE {s}.saga_step SET status = 'pending', token = NULL, claimed_at = NULL, attempts = attempts - 1 "
                "WHERE status = 'running' AND branch = %s AND round = 0 AND random() < 0.5",
                CHARGE,
            )

    def sweeps(self, dice: random.Random) -> None:
        while not self.is_over.is_set():
            self.runs.look(dice.choice(self.ids))
            self.is_over.wait(0.01)


def dead(row: object) -> bool:
    return isinstance(row, Delivery) and row.dead_at is not None


@pytest.mark.slow
@pytest.mark.parametrize("rough", [False, True], ids=["smooth", "rough"])
@pytest.mark.parametrize("seed", range(3))
def test_e9_whatever_happens_at_once_a_run_keeps_its_promises(bench: Bench, seed: int, rough: bool) -> None:
    runs = RunBench(bench.store)
    chaos = Chaos(runs, bench, seed, rough=rough)

    chaos.goes_on()

    for run in chaos.ids:
        state = runs.state(run)
        numbers = bench.sql(
            "SELECT number FROM {s}.saga_inbox WHERE instance_id = %s AND letter IS DISTINCT FROM 'muted' "
            "ORDER BY number",
            run,
        )
        assert [number for (number,) in numbers] == list(range(1, len(numbers) + 1)), "numbers have a gap"
        late = {number for (number,) in bench.sql(LATE, run)}
        in_time = [number for number in chaos.done[run] if number not in late]
        assert in_time == sorted(in_time), "a handler ran out of order"
        assert len(chaos.done[run]) == len(set(chaos.done[run])), "an event was handled twice"
        assert [row.address for row in state.steps if row.status is ExecutionStatus.HELD] == [], (
            "something is left held"
        )
        charged = {address for where, address in chaos.charged if where == run}
        refunded = {address for where, address in chaos.refunded if where == run}
        if state.closed:
            assert charged <= refunded | by_hand(state), "money is gone"
        runs.publish(run, "E")
        assert runs.state(run).status in (SagaStatus.COMPLETED, SagaStatus.COMPENSATED)


def by_hand(state: RunState) -> set[Address]:
    """The actions whose undo an operator has let go, as one that was done by hand."""
    return {row.address.action for row in state.compensations() if row.status is ExecutionStatus.SKIPPED}
