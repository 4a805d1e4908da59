"""How many sagas a second a contender drains, and what that costs in CPU, transactions, fsyncs and WAL."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks.applications.noted_times import BEGAN, BENCH, ENDS, TIMES, WARM
from tests.benchmarks.applications.statements import sent
from tests.benchmarks.bench_servers import BenchServers, Run
from tests.benchmarks.contenders import Contender
from tests.benchmarks.processes import Program, running
from tests.support.workers import within

EVERY = 0.01  # seconds between two looks at the noted times


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One drain. CPU, transactions and so on are per saga; the CPU is that of the drain alone."""

    ended: int
    rate: float | None
    worker_cpu: float
    postgres_cpu: float
    drain_wal: float
    #: With their starts and the workers' own beginning.
    transactions: float
    statements: float | None
    fsyncs: float
    wal_bytes: float
    starts: float
    start_cpu: float
    memory_before: float
    memory: float


def drain(bench_servers: BenchServers, contender: Contender, count: int, *, warm: int, limit: float) -> Measured:
    """Queue ``count``, let warm workers loose on them, and wait until they have ended or the limit is over."""
    with bench_servers.run(contender.name.replace(" ", "-").replace(",", "")) as run:
        return _drain(run, contender, count, warm, limit)


def _drain(run: Run, contender: Contender, count: int, warm: int, limit: float) -> Measured:
    application = contender.application
    application.prepare(run)
    before = run.observer.counters()
    (started,) = application.start(run, contender.what(BENCH), count)
    programs = contender.executors(run, application)
    with running(programs):
        if warm:
            application.start(run, contender.what(WARM), warm)
            wait_for_ends(run, warm, limit)
        memory_before = _memory(programs)
        workers_before, postgres_before = _cpu(programs), run.postgres_cpu()
        wal_before = run.observer.wal()
        began = contender.release(run)
        ended = wait_for_ends(run, warm + count, limit) - warm
        workers, postgres = _cpu(programs) - workers_before, run.postgres_cpu() - postgres_before
        wal = run.observer.wal() - wal_before
        memory = _memory(programs)
    run.observer.wait_until_alone()
    counted = run.observer.counters().since(before)
    seconds = last_end(run) - (began or first_beginning(run))
    return Measured(
        ended=ended,
        rate=ended / seconds if ended == count else None,
        worker_cpu=workers / count,
        postgres_cpu=postgres / count,
        drain_wal=wal / count,
        transactions=counted.transactions / (count + warm),
        # By those who send them, if PostgreSQL cannot tell; others than sagas do not.
        statements=((sent(run.directory) if counted.statements is None else counted.statements) / (count + warm))
        or None,
        fsyncs=counted.fsyncs / (count + warm),
        wal_bytes=counted.wal_bytes / (count + warm),
        starts=(count - 1) / started["seconds"],
        start_cpu=started["cpu"] / max(count - 1, 1),
        memory_before=memory_before,
        memory=memory,
    )


def wait_for_ends(run: Run, wanted: int, limit: float) -> int:
    """Until so many have ended, or the limit is over. Returns how many have."""
    with run.broker(TIMES) as noted_times:
        within(limit, lambda: noted_times.llen(ENDS) >= wanted, every=EVERY)
        return int(noted_times.llen(ENDS))


def last_end(run: Run) -> float:
    with run.broker(TIMES) as noted_times:
        newest = noted_times.lindex(ENDS, -1)
    return float(newest) if newest is not None else time.time()


def first_beginning(run: Run) -> float:
    with run.broker(TIMES) as noted_times:
        oldest = noted_times.get(BEGAN)
    assert oldest is not None, "nothing has begun"
    return float(oldest)


def _cpu(programs: list[Program]) -> float:
    return sum(program.cpu() for program in programs)


def _memory(programs: list[Program]) -> float:
    """Resident bytes of the largest process that runs steps."""
    figures = [program.memory() for program in programs]
    return max(float(max(children or [parent])) for parent, *children in figures)


#: What is asked of each contender; the columns of the table, and how they come out of a drain.
COLUMNS: dict[str, Callable[[Measured], float | None]] = {
    "sagas/s": lambda one: one.rate,
    "worker, ms": lambda one: one.worker_cpu * 1000,
    "database, ms": lambda one: one.postgres_cpu * 1000,
    "transactions": lambda one: one.transactions,
    "statements": lambda one: one.statements,
    "fsyncs": lambda one: one.fsyncs,
    "WAL, KB": lambda one: one.wal_bytes / 1000,
    "starts/s": lambda one: one.starts,
    "start, ms": lambda one: one.start_cpu * 1000,
    "MB": lambda one: one.memory / 1e6,
}
