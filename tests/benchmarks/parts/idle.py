"""What is done while there is nothing to do: by a beat and two workers."""

import time

from tests.benchmarks.bench_servers import Run
from tests.benchmarks.meters import pushed
from tests.benchmarks.parts.plan import Plan
from tests.benchmarks.processes import Program, pause, running
from tests.benchmarks.table import Table

SETTLING = 6.0  # seconds that workers need until they only wait


def idle(plan: Plan) -> Table:
    table = Table(
        f"Nothing to do: a beat and two workers of two, for {plan.size.idle_seconds:g} s",
        (
            "contender",
            "transactions/s",
            "fsyncs/s",
            "WAL, KB/s",
            "messages/s",
            "workers' CPU, %",
            "PostgreSQL's CPU, %",
        ),
    )
    for contender in plan.chains():
        application = contender.application
        with plan.bench_servers.run("idle") as run:
            application.prepare(run)
            given = dict(application.environment)
            workers = [run.worker(application.module, name, "-c", "2", **given) for name in ("one", "two")]
            with running([run.beat(application.module)], ready=False), running(workers):
                pause(SETTLING)
                table.add_row({"contender": contender.name, **watch(run, workers, plan.size.idle_seconds)})
    return table


def watch(run: Run, workers: list[Program], seconds: float) -> dict[str, float]:
    """Figures a second of what is counted meanwhile."""
    before, messages = run.observer.counters(), _pushed(run)
    began, used, postgres = time.monotonic(), sum(worker.cpu() for worker in workers), run.postgres_cpu()
    pause(seconds)
    taken = time.monotonic() - began
    counted = run.observer.counters().since(before)
    return {
        "transactions/s": counted.transactions / taken,
        "fsyncs/s": counted.fsyncs / taken,
        "WAL, KB/s": counted.wal_bytes / 1000 / taken,
        "messages/s": (_pushed(run) - messages) / taken,
        "workers' CPU, %": 100 * (sum(worker.cpu() for worker in workers) - used) / taken,
        "PostgreSQL's CPU, %": 100 * (run.postgres_cpu() - postgres) / taken,
    }


def _pushed(run: Run) -> int:
    with run.broker() as broker:
        return pushed(broker)
