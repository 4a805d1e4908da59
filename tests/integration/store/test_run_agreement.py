"""The usual end of a delivery is `decide_run` compiled to SQL: the same history, on twins, leaves the same rows."""

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from sagas.model import Address, ExecutionStatus, Failed, Stop, StopKind, StopRequested, Tick, Verdict
from sagas.model.choreography import ChoreographyPlan, EventPlan, HandlerPlan, IfDead, Order
from sagas.model.choreography.events import Edit, Handled, LetterSkipped, PutOff, ReplayRequested, RunEvent
from sagas.model.choreography.state import Delivery
from sagas.store import NewRun, Reached
from tests.support.bench import PLACED, Bench
from tests.support.runs import RunBench, event
from tests.unit.model.choreography.graphs import TYPES, graph, handler
from tests.unit.model.story import error, tries

PLAN = graph(
    handler("charge", "B", undo="refund", undo_when=("D",), publishes=("C",), retry=tries(1)),
    handler("count", ("A", "B", "C", "E")),
    handler("mail", ("B", "C"), order=Order.NONE),
    ends=("E",),
    refuses=("F",),
    max_events=25,
)
#: Moments are compared by whether they are there.
STEPS = """SELECT position, branch, round, lane, name, task, queue, timeout, soft_timeout, status, token, attempts,
    doubt, dispatches, line, error, edits, result, input, synced_claim, not_before IS NULL, epoch IS NULL,
    dispatched_at IS NULL, finished_at IS NULL, dead_at IS NULL, (SELECT number FROM {s}.saga_inbox AS event
    WHERE event.instance_id = step.instance_id AND event.event_id = step.event_id)
    FROM {s}.saga_step AS step WHERE instance_id = %s ORDER BY position, branch, round"""
EVENTS = """SELECT number, name, payload, sent_by, version, cause, depth, caused_by, letter, seen_at IS NULL,
    consumed_at IS NULL
    FROM {s}.saga_inbox WHERE instance_id = %s ORDER BY number, id"""
RUN = """SELECT status, pending, numbered, closed, ended_by, error, stop, came, turned_at IS NULL, due_at IS NULL,
    quiet_from IS NULL, quiet_at IS NULL, finished_at IS NULL, deadline IS NULL, deadline_seconds
    FROM {s}.saga_instance WHERE id = %s"""
SOME_DAY = datetime(2100, 1, 1, tzinfo=UTC)


def any_graph(dice: random.Random) -> ChoreographyPlan:
    """A graph of up to five handlers; mostly of such that nothing turns back, and nothing is closed."""
    rarely = [0, 0, 0, 1]
    ends = dice.sample(TYPES[1:], dice.choice([0, 0, 1, 2]))
    others = [type_ for type_ in TYPES[1:] if type_ not in ends]
    names = dice.sample(["charge", "mail", "reserve", "ship", "tell"], dice.randint(1, 5))
    return graph(
        *(any_handler(dice, name, rarely) for name in names),
        ends=tuple(ends),
        refuses=tuple(dice.sample(others, dice.choice(rarely))),
        on_cancel=dice.choice([None, *others]),
        awaits=tuple((type_, 7200.0) for type_ in dice.sample(TYPES, dice.choice(rarely))),
        max_events=dice.choice([6, 12, 100, 100]),
        events=tuple(EventPlan(type=type_) for type_ in TYPES),
    )


def any_handler(dice: random.Random, name: str, rarely: list[int]) -> HandlerPlan:
    hears = dice.sample(TYPES, dice.randint(1, 3))
    others = [type_ for type_ in TYPES if type_ not in hears]
    undo = dice.choice([None, None, None, "undo"])
    return handler(
        name,
        tuple(hears),
        undo=undo,
        undo_when=tuple(dice.sample(others, dice.choice(rarely))) if undo else (),
        publishes=TYPES,
        order=dice.choice(list(Order)),
        if_dead=dice.choice(list(IfDead)),
        retry=tries(dice.randint(1, 2), backoff=dice.choice([0.0, 30.0])),
        idempotent=dice.random() < 0.7,
    )


class Twins:
    """Two runs to which the same happens: one ends its deliveries by the statement if it can, the other by the loop."""

    def __init__(self, bench: Bench, seed: int, plan: ChoreographyPlan | None = None) -> None:
        self.bench = bench
        self.runs = RunBench(bench.store)
        self.dice = random.Random(seed)
        self.plan = plan or any_graph(self.dice)
        self.twins = [self.runs.start(self.plan) for _ in range(2)]
        self.how: Counter[str] = Counter()

    def goes_on(self) -> None:
        state, fate = self.runs.state(self.twins[0]), self.dice.random()
        by_status: dict[ExecutionStatus, list[Any]] = {status: [] for status in ExecutionStatus}
        for row in state.steps:
            by_status[row.status].append(row)
        pending, running = by_status[ExecutionStatus.PENDING], by_status[ExecutionStatus.RUNNING]
        dead = [row for row in by_status[ExecutionStatus.FAILED] if row.dead_at]
        if fate < 0.08 or not (pending or running):
            type_, looks = self.dice.choice(TYPES), self.dice.random() < 0.7
            for run in self.twins:
                self.runs.publish(run, type_, looks=looks)
        elif fate < 0.083:
            self.happens(StopRequested(stop=Stop(kind=StopKind.CANCELLED, reason="changed mind")))
        elif fate < 0.1:
            self.happens(Tick())
        elif fate < 0.2 and dead:
            self.is_answered(self.dice.choice(dead).address)
        elif pending and (fate < 0.55 or not running):
            self.begins(self.dice.choice(pending).address)
        elif running:
            self.ends(self.dice.choice(running))

    def happens(self, *what: RunEvent) -> None:
        """Both see the same, or each its own."""
        said = [self.runs.happens(run, what[-1] if turn else what[0]) for turn, run in enumerate(self.twins)]
        assert said[0] is not None
        assert said[1] is not None
        assert said[0].accepted is said[1].accepted

    def is_answered(self, address: Address) -> None:
        fate, answers = self.dice.random(), list[RunEvent]()
        for run in self.twins:
            row = self.runs.state(run).at(address)
            assert isinstance(row, Delivery)
            assert row.dead_at is not None
            seen: dict[str, Any] = {"address": address, "seen": row.dead_at, "reason": "mended"}
            edit = Edit(payload='{"total": 1}', vouched=True) if fate < 0.5 else None
            answers.append(LetterSkipped(**seen) if fate < 0.2 else ReplayRequested(**seen, edit=edit))
        self.happens(*answers)

    def begins(self, address: Address) -> None:
        token, task = uuid4(), self.plan.step(address.position, address.branch).task_for(address.round)
        assert task is not None
        one, other = (self.runs.claim(run, address, task, token) for run in self.twins)
        assert one == other

    def ends(self, row: Any) -> None:
        fate, address = self.dice.random(), row.address
        if fate < 0.05:
            verdict = self.dice.choice([Verdict.CLEAN_NO, Verdict.RETRYABLE, Verdict.UNKNOWN, Verdict.UNUSABLE])
            self.happens(Failed(address=address, token=row.token, error=error(), verdict=verdict, dice=0.0))
        elif fate < 0.07:
            self.happens(PutOff(address=address, token=row.token, until=SOME_DAY))
        elif fate < 0.09:
            of_another = self.runs.handled(address, uuid4(), "C")
            assert self.runs.reaches(self.twins[0], of_another) is None
        else:
            (count,) = self.dice.choices([0, 1, 2, 3], [5, 5, 2, 1])
            self.returns(self.runs.handled(address, row.token, *self.dice.choices(TYPES, k=count)))

    def returns(self, handled: Handled) -> None:
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
        state = self.runs.state(self.twins[0])
        assert state.pending == sum(row.is_live for row in state.steps)


def sent(reached: Reached) -> list[Address]:
    return sorted([*reached.born, *([reached.released] if reached.released else [])])


@pytest.mark.parametrize("seed", range(3))
def test_the_statement_leaves_the_rows_that_the_loop_would_leave(bench: Bench, seed: int) -> None:
    how: Counter[str] = Counter()
    for number in range(4):
        twins = Twins(bench, 100 * seed + number, None if number else PLAN)
        for _ in range(25):
            twins.goes_on()
            twins.agree()
        how += twins.how
    assert how["statement"] > 1, how


@pytest.mark.parametrize("deadline", [None, 3600.0])
def test_a_start_leaves_the_rows_that_the_first_look_would_leave(bench: Bench, deadline: float | None) -> None:
    twins = Twins(bench, 0, PLAN)
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

    assert [row.status for row in runs.state(run).steps] == [ExecutionStatus.RUNNING]
