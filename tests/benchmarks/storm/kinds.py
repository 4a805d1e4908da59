"""The kinds of outage, each at its worst moment for a backlog."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks.applications.choreographies import CHAIN
from tests.benchmarks.applications.noted_times import WARM
from tests.benchmarks.storm import figures
from tests.benchmarks.storm.drain import Drain
from tests.support.workers import eventually

HOLDERS = "SELECT table_name FROM information_schema.columns WHERE table_schema = 'sagas' AND column_name = 'holder'"
STALE = """UPDATE sagas.saga_worker SET heartbeat_at = heartbeat_at - interval '1 hour',
    suspected_at = clock_timestamp() - interval '1 hour' WHERE dead_at IS NULL"""
#: Sagas a second that can certainly be started and brought to where they wait, and seconds to spare.
SURELY, SPARE = 50, 15


def nothing(drain: Drain) -> None:
    """Let it be."""


def start(drain: Drain) -> None:
    drain.start_sagas()


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind; each of its functions gets the drain that it is part of.

    Attributes:
        told: what happens, for the notes below the table.
        saga: which one, of `applications.ours`.
        steps: how many tasks of it are executed.
        workers_first: whether the workers are there when the sagas are started.
        alone: whether one worker of one process is all that comes at first.
        start: starts all of them.
        before: after all were started, before the workers come.
        at_a_tenth: when a tenth of all executions are over.
        begins: the moment from which on is measured, where it is not that of the first worker's being ready.
        after: when all is over and the workers still live.
    """

    name: str
    told: str
    saga: str = "plain"
    steps: int = 3
    workers_first: bool = False
    alone: bool = False
    start: Callable[[Drain], None] = start
    before: Callable[[Drain], None] = nothing
    at_a_tenth: Callable[[Drain], None] | None = None
    begins: Callable[[Drain], float] | None = None
    after: Callable[[Drain], None] = nothing


def flush(drain: Drain) -> None:
    with drain.run.broker() as broker:
        broker.flushall()


def broker_goes_away(drain: Drain) -> None:
    drain.note_pushed()
    with drain.nothing_goes_on():
        drain.run.servers.broker.kill()
        drain.away()
        drain.run.servers.broker.start()


def postgres_restarts(drain: Drain) -> None:
    drain.run.observer.close()
    with drain.nothing_goes_on():
        drain.run.servers.postgres.restart()


def postgres_goes_away(drain: Drain) -> None:
    postgres = drain.run.servers.postgres
    drain.run.observer.close()
    with drain.nothing_goes_on():
        assert postgres.pid is not None
        os.kill(postgres.pid, postgres.ends_at)
        eventually(lambda: postgres.pid is None, "PostgreSQL to end")
        drain.away()
        postgres.start()


def heartbeats_stale(drain: Drain) -> None:
    drain.run.ask(STALE)


def start_with_one_deadline(drain: Drain) -> None:
    drain.deadline = time.time() + drain.settings.sagas / SURELY + SPARE
    drain.start_sagas(drain.deadline)


def freeze_the_leader(drain: Drain) -> None:
    """Whole: its timers and its pool. Where no row names a leader, it is the first worker."""
    holders = [
        pid
        for (table,) in drain.run.ask(HOLDERS)
        for (pid,) in drain.run.ask(
            f"SELECT pid FROM sagas.{table} AS lease JOIN sagas.saga_worker AS worker ON worker.id::text = holder::text"
        )
    ]
    leader = next((worker for worker in drain.workers if worker.pid in holders), None)
    if leader is None:
        print("no row names the leader of the sweep: the first worker is frozen", file=sys.stderr, flush=True)
    (leader or drain.workers[0]).freeze()


def thaw_all(drain: Drain) -> None:
    for worker in drain.workers:
        worker.thaw()


RUNS = f"events {WARM} {CHAIN}"
PLAIN = Kind(name=figures.PLAIN, told="nothing happens: the backlog waits in the broker, the workers come")
KINDS = (
    PLAIN,
    Kind(name="flushed", told="FLUSHALL before the workers come", before=flush),
    Kind(name="flushed at work", told="FLUSHALL when a tenth of the steps are done", at_a_tenth=flush),
    Kind(
        name="broker away",
        told="the broker is killed when a tenth of the steps are done, and comes back empty; the outage does not count",
        at_a_tenth=broker_goes_away,
    ),
    Kind(
        name="postgres restarted",
        told="PostgreSQL is restarted when a tenth of the steps are done; the restart itself does not count",
        at_a_tenth=postgres_restarts,
    ),
    Kind(
        name="postgres away",
        told="PostgreSQL is shut down when a tenth of the steps are done, and started again; the outage does not count",
        at_a_tenth=postgres_goes_away,
    ),
    Kind(
        name="heartbeats stale",
        told="at a tenth all heartbeats are an hour old, and suspected for as long",
        at_a_tenth=heartbeats_stale,
    ),
    Kind(
        name="deadlines",
        told="each has done one step and waits for a signal when the deadline of all comes; measured from then on",
        saga="waiting",
        steps=2,
        workers_first=True,
        start=start_with_one_deadline,
        begins=lambda drain: drain.deadline,
    ),
    Kind(name="sleepers", told="each begins with a sleep that is over for all when the workers come", saga="sleeping"),
    Kind(
        name="leader frozen",
        told="FLUSHALL before the workers come; at a tenth SIGSTOP to the worker that leads the sweep, for good",
        before=flush,
        at_a_tenth=freeze_the_leader,
        after=thaw_all,
    ),
    Kind(name="runs", told="choreographed runs of four events in a chain; nothing happens", saga=RUNS, steps=4),
    Kind(name="runs flushed", told="the same, and FLUSHALL before the workers come", saga=RUNS, steps=4, before=flush),
    Kind(
        name="dead letters",
        told="the same, of which every tenth stands behind a dead letter in the end",
        saga=f"letters {WARM} {CHAIN}",
        steps=4,
    ),
    Kind(
        name="scaled out",
        told="FLUSHALL before a worker of one process comes; at a tenth, one of --slots threads, as fifty would be",
        alone=True,
        before=flush,
        at_a_tenth=Drain.reinforce,
    ),
)
