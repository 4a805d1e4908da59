"""What a pass of the sweep costs that finds many sagas to be moved, alone and beside many that have ended."""

from tests.benchmarks.applications.noted_times import WARM
from tests.benchmarks.bench_servers import Run
from tests.benchmarks.contenders import Contender, ours
from tests.benchmarks.parts.plan import Plan
from tests.benchmarks.processes import running
from tests.benchmarks.starting import finished
from tests.benchmarks.table import Table
from tests.benchmarks.throughput import wait_for_ends
from tests.support.workers import eventually

#: Those whose sleep is not over.
WAITING = """SELECT (SELECT count(*) FROM sagas.saga_instance WHERE due_at > clock_timestamp())
    + (SELECT count(*) FROM sagas.saga_step WHERE not_before > clock_timestamp())"""
COLUMNS = """SELECT column_name::text FROM information_schema.columns
    WHERE table_schema = 'sagas' AND table_name = %s AND is_generated = 'NEVER' ORDER BY ordinal_position"""
#: Copies of one ended instance under other ids.
COPY = """INSERT INTO sagas.{table} ({columns})
    SELECT {values} FROM sagas.{table}, generate_series(%s, %s) AS number
    WHERE {id} = (SELECT min(id::text)::uuid FROM sagas.saga_instance WHERE finished_at IS NOT NULL)"""
AT_ONCE = 100_000


def sweep(plan: Plan) -> Table:
    size = plan.size
    table = Table(
        f"One pass over {size.stuck:,} sagas whose sleep is over",
        ("beside", "seconds", "moved", "transactions", "WAL, KB", "PostgreSQL CPU, s"),
    )
    for ended in (0, size.ended):
        with plan.bench_servers.run("sweep") as run:
            figures = measure(run, ours("sagas"), size.stuck, ended)
            table.add_row({"beside": f"{ended:,} ended ones", **figures})
    return table


def measure(run: Run, contender: Contender, stuck: int, ended: int) -> dict[str, float]:
    application = contender.application
    application.prepare(run)
    if ended:
        with running(contender.executors(run, application)):
            application.start(run, contender.what(WARM), 1)
            wait_for_ends(run, 1, 60)
        fill(run, ended)
    application.start(run, "sleeping", stuck)
    eventually(lambda: run.ask(WAITING) == [(0,)], "all to be due")
    run.observer.wait_until_alone()
    before, used = run.observer.counters(), run.postgres_cpu()
    (swept,) = finished([application.starter(run, "sweep", "sweep", "1")], 600)
    run.observer.wait_until_alone()
    counted = run.observer.counters().since(before)
    return {
        "seconds": swept["seconds"],
        "moved": int(swept["moved"]),
        "transactions": counted.transactions,
        "WAL, KB": counted.wal_bytes / 1000,
        "PostgreSQL CPU, s": run.postgres_cpu() - used,
    }


def fill(run: Run, ended: int) -> None:
    """Copy the ended instance and its steps so many times."""
    for table, identifier in (("saga_instance", "id"), ("saga_step", "instance_id")):
        columns = [name for (name,) in run.ask(COLUMNS, table)]
        values = ["md5(number::text)::uuid" if name == identifier else f'"{name}"' for name in columns]
        copy = COPY.format(
            table=table, columns=", ".join(f'"{name}"' for name in columns), values=", ".join(values), id=identifier
        )
        for first in range(0, ended, AT_ONCE):
            run.ask(copy, first, min(first + AT_ONCE, ended) - 1)
    run.ask("VACUUM ANALYZE")
