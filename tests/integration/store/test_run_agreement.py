"""The usual end of a delivery is `decide_run` compiled to SQL: the same history, on twins, leaves the same rows."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from sagas.model import Address, Failed, StepStatus, Stop, StopKind, StopRequested, Verdict
from sagas.model.choreography import Order
from sagas.model.choreography.events import Handled
from sagas.store import NewRun, Reached
from tests.support.bench import PLACED, Bench
from tests.support.runs import RunBench, event
from tests.unit.model.choreography.graphs import graph, handler
from tests.unit.model.story import error, tries

PLAN = graph(
    handler("charge", "B", undo="refund", undo_when=("D",), publishes=("C",), retry=tries(1)),
    handler("count", ("A", "B", "C", "E")),
    handler("mail", ("B", "C"), order=Order.NONE),
    ends=("E",),
    refuses=("F",),
    max_events=25,
)
RETURNED = [(), (), (), ("B",), ("C",), ("B", "C"), ("C", "C", "B"), ("C", "E"), ("E",), ("E", "C"), ("D",), ("F",)]
WEIGHTS = [6, 6, 6, 12, 12, 6, 3, 1, 1, 1, 1, 1]
#: Moments are compared by whether they are there.
STEPS = """SELECT position, branch, round, lane, name, task, queue, timeout, soft_timeout, status, token, attempts,
    doubt, dispatches, line, error, edits, result, not_before, epoch IS NULL, dispatched_at IS NULL,
    finished_at IS NULL, dead_at IS NULL, (SELECT number FROM {s}.saga_inbox AS event
    WHERE event.instance_id = step.instance_id AND event.event_id = step.event_id)
    FROM {s}.saga_step AS step WHERE instance_id = %s ORDER BY position, branch, round"""
EVENTS = """SELECT number, name, payload, sent_by, version, cause, depth, caused_by, letter, seen_at IS NULL,
    consumed_at IS NULL
    FROM {s}.saga_inbox WHERE instance_id = %s ORDER BY number, id"""
RUN = """SELECT status, pending, numbered, closed, ended_by, error, stop, came, turned_at IS NULL, due_at IS NULL,
    quiet_from IS NULL, finished_at IS NULL, deadline IS NULL, deadline_seconds FROM {s}.saga_instance WHERE id = %s"""


class Twins:
    """Two runs to which the same happens: one ends its deliveries by the statement if it can, the other by the loop."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench = bench
        self.runs = RunBench(bench.store)
        self.dice = random.Random(seed)
        self.twins = [self.runs.start(PLAN) for _ in range(2)]
        self.how: Counter[str] = Counter()

    def goes_on(self) -> None:
        fate = self.dice.random()
        pending = [row.address for row in self.runs.state(self.twins[0]).steps if row.status is StepStatus.PENDING]
        if fate < 0.1 or not pending:
            type_, looks = self.dice.choice("ABC"), self.dice.random() < 0.7
            for run in self.twins:
                self.runs.publish(run, type_, looks=looks)
        elif fate < 0.12:
            for run in self.twins:
                self.runs.happens(run, StopRequested(stop=Stop(kind=StopKind.CANCELLED, reason="changed mind")))
        else:
            self.ends(self.dice.choice(pending), fate < 0.17)

    def ends(self, address: Address, fails: bool) -> None:
        token, task = uuid4(), PLAN.step(address.position, address.branch).task_for(address.round)
        assert task is not None
        for run in self.twins:
            assert self.runs.claim(run, address, task, token)
        if fails:
            failed = Failed(address=address, token=token, error=error(), verdict=Verdict.CLEAN_NO)
            for run in self.twins:
                self.runs.happens(run, failed)
            return
        (returned,) = self.dice.choices(RETURNED, WEIGHTS)
        handled = self.runs.handled(address, token, *(returned if address.is_action else ()))
        by_statement, by_loop = self.twins
        reached = self.runs.reaches(by_statement, handled)
        if reached is None:
            self.runs.happens(by_statement, handled)
        decision = self.runs.happens(by_loop, handled)
        self.how["loop" if reached is None else "statement"] += 1
        if reached is not None:
            assert decision is not None
            assert sent(reached) == sorted(send.address for send in decision.sends)
            assert reached.status is decision.state.status

    def rows(self, run: UUID) -> dict[str, list[tuple[Any, ...]]]:
        return {name: self.bench.sql(asked, run) for name, asked in (("s", STEPS), ("e", EVENTS), ("r", RUN))}

    def agree(self) -> None:
        one, other = (self.rows(run) for run in self.twins)
        for name in one:
            assert one[name] == other[name]


def sent(reached: Reached) -> list[Address]:
    return sorted([*reached.born, *([reached.released] if reached.released else [])])


@pytest.mark.parametrize("seed", range(3))
def test_the_statement_leaves_the_rows_that_the_loop_would_leave(bench: Bench, seed: int) -> None:
    how: Counter[str] = Counter()
    for number in range(4):
        twins = Twins(bench, 100 * seed + number)
        for _ in range(20):
            twins.goes_on()
            twins.agree()
        how += twins.how
    assert how["statement"] > 5, how


@pytest.mark.parametrize("deadline", [None, 3600.0])
def test_a_start_leaves_the_rows_that_the_first_look_would_leave(bench: Bench, deadline: float | None) -> None:
    twins = Twins(bench, 0)
    plan = replace(PLAN, deadline=deadline)
    by_statement, by_loop = (NewRun.of(plan, None, event("A")) for _ in range(2))
    with bench.store.database.autocommit() as connection:
        to_send = bench.store.runs.begin(connection.scalar, by_statement, PLACED)
        bench.store.runs.start(connection.scalar, by_loop)
    looked = twins.runs.look(by_loop.id)

    twins.twins = [by_statement.id, by_loop.id]
    twins.agree()

    assert looked is not None
    assert to_send == [send.address for send in looked.sends]


def test_a_completion_that_is_reported_twice_counts_once(bench: Bench) -> None:
    """The statement does nothing the second time, and the loop knows the token."""
    runs = RunBench(bench.store)
    run = runs.start(PLAN)
    runs.publish(run, "B")
    token = runs.claim(run, Address(1, 1), "tasks.count")
    assert token is not None
    handled = runs.handled(Address(1, 1), token, "C")

    assert isinstance(runs.reaches(run, handled), Reached)
    assert runs.reaches(run, handled) is None
    again = runs.happens(run, handled)

    assert again is not None
    assert again.accepted
    assert again.published == ()
    assert bench.sql("SELECT count(*) FROM {s}.saga_inbox WHERE name = 'C'") == [(1,)]


def test_a_token_that_lost_its_claim_completes_nothing(bench: Bench) -> None:
    runs = RunBench(bench.store)
    run = runs.start(PLAN)
    assert runs.claim(run, Address(1, 1), "tasks.count")

    assert runs.reaches(run, Handled(address=Address(1, 1), token=uuid4())) is None

    assert [row.status for row in runs.state(run).steps] == [StepStatus.RUNNING]
