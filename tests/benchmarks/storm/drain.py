"""One drain: so many sagas are started, something happens to them, and all is counted until they have ended."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg2

from tests.benchmarks.applications.statements import sent
from tests.benchmarks.bench_servers import Run
from tests.benchmarks.meters import pushed
from tests.benchmarks.processes import Program, pause, running
from tests.benchmarks.starting import Application
from tests.benchmarks.storm.figures import Drained, Outage, longest_gap
from tests.support.workers import within

if TYPE_CHECKING:
    from tests.benchmarks.storm.kinds import Kind

OURS = Application(module="tests.benchmarks.applications.ours")
PROGRESS = """
SELECT (SELECT count(*) FROM sagas.saga_instance WHERE finished_at IS NOT NULL),
       (SELECT count(*) FROM sagas.saga_step WHERE finished_at IS NOT NULL AND task IS NOT NULL)
"""
SAGA_ENDS = "SELECT extract(epoch FROM finished_at)::float8 FROM sagas.saga_instance WHERE finished_at IS NOT NULL"
STEP_ENDS = """SELECT extract(epoch FROM finished_at)::float8 FROM sagas.saga_step
    WHERE finished_at IS NOT NULL AND task IS NOT NULL"""
STATUSES = "SELECT status, count(*) FROM sagas.saga_instance GROUP BY 1 ORDER BY 1"
#: Seconds between two looks; more where there is more to count, so that looking costs next to nothing.
EVERY, SAGAS_A_SECOND = 0.5, 5_000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How much of it."""

    sagas: int = 10_000
    workers: int = 3
    processes: int = 2
    starters: int = 2
    limit: float = 900.0
    away: float = 10.0
    slots: int = 50


@dataclass
class Drain:
    """One kind on one database."""

    run: Run
    kind: "Kind"
    settings: Settings
    outage: Outage | None = None
    workers: list[Program] = field(default_factory=list)
    #: What comes while the sagas are drained, and goes with the workers.
    later: ExitStack = field(default_factory=ExitStack)
    #: By a broker that was killed since.
    pushed_before: int = 0
    began: float = 0.0
    #: The one moment at which the deadlines of all are over, where they have one.
    deadline: float = 0.0

    def measure(self) -> Drained:
        """Start, strike, drain, and say how it went.

        Kinds that strike what waits have their workers first: these do all that comes before the waiting.
        """
        OURS.prepare(self.run)
        before, sent_before = self.run.observer.counters(), sent(self.run.directory)
        if self.kind.workers_first:
            with self._crew():
                self.kind.start(self)
                until = self._drain()
        else:
            self.kind.start(self)
            self.kind.before(self)
            with self._crew():
                until = self._drain()
        self.run.observer.wait_until_alone()
        counted = self.run.observer.counters().since(before)
        ends, step_ends = self._moments(SAGA_ENDS), self._moments(STEP_ENDS)
        until = self._still(until) if len(ends) < self.settings.sagas else max(ends)
        began = self._still(self.began)
        return Drained(
            name=self.kind.name,
            wanted=self.settings.sagas,
            ended=len(ends),
            seconds=max(until - began, 0.001),
            gap=longest_gap(ends, began, until),
            step_gap=longest_gap(step_ends, began, until),
            messages_a_step=self._pushed() / len(step_ends) if step_ends else None,
            transactions=counted.transactions,
            statements=sent(self.run.directory) - sent_before,
            fsyncs=counted.fsyncs,
            statuses={str(status): int(count) for status, count in self.run.ask(STATUSES)},
        )

    # -- what kinds do

    def start_sagas(self, deadline: float | None = None) -> None:
        """All of them, from as many processes as the settings say."""
        options = [] if deadline is None else ["--deadline", str(deadline)]
        OURS.start(self.run, self.kind.saga, self.settings.sagas, *options, processes=self.settings.starters)

    @contextmanager
    def nothing_goes_on(self) -> Iterator[None]:
        """The block is an outage: its time does not count."""
        began = time.time()
        yield
        self.outage = Outage(began=began, ended=time.time())

    def reinforce(self) -> None:
        """A worker of many slots comes; they are threads, as many as the workers have processes that it stands for."""
        pool = ("-P", "threads", "-c", str(self.settings.slots))
        self.later.enter_context(running([self.run.worker(OURS.module, "many", *pool)], ready=False))

    def away(self) -> None:
        pause(self.settings.away)

    def note_pushed(self) -> None:
        """Before a broker ends that will have forgotten what it counted."""
        self.pushed_before = self._pushed()

    # -- how it goes on

    @contextmanager
    def _crew(self) -> Iterator[None]:
        """Workers and a beat; the drain begins when the first worker is ready."""
        number, processes = (1, 1) if self.kind.alone else (self.settings.workers, self.settings.processes)
        self.workers = [self.run.worker(OURS.module, f"worker{each}", "-c", str(processes)) for each in range(number)]
        with running([self.run.beat(OURS.module)], ready=False), running(self.workers), self.later:
            self.began = min(worker.ready_at or time.time() for worker in self.workers)
            try:
                yield
            finally:
                self.kind.after(self)

    def _drain(self) -> float:
        """Watch until all have ended, or the time is over. Returns when that was."""
        if self.kind.begins is not None:
            self.began = self.kind.begins(self)
        limit = max(0.0, self.began - time.time()) + self.settings.limit
        strikes_at = self.settings.sagas * self.kind.steps / 10
        strike = self.kind.at_a_tenth

        def is_over() -> bool:
            nonlocal strike
            ended, steps = self._progress()
            if strike is not None and steps >= strikes_at:
                strike(self)
                strike = None
            return ended >= self.settings.sagas

        within(limit, is_over, every=max(EVERY, self.settings.sagas / SAGAS_A_SECOND))
        return time.time()

    def _progress(self) -> tuple[int, int]:
        """How many sagas and steps have ended; none while the database is away."""
        try:
            ((ended, steps),) = self.run.ask(PROGRESS)
        except psycopg2.OperationalError:
            self.run.observer.close()
            return 0, 0
        return ended, steps

    def _pushed(self) -> int:
        with self.run.broker() as broker:
            return self.pushed_before + pushed(broker)

    def _moments(self, question: str) -> list[float]:
        return [self._still(moment) for (moment,) in self.run.ask(question)]

    def _still(self, moment: float) -> float:
        return moment if self.outage is None else self.outage.without(moment)
