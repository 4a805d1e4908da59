"""What many sagas cost that wait, and what a worker keeps in memory of those that it has run."""

from tests.benchmarks.parts.plan import Plan
from tests.benchmarks.table import Table, ratio
from tests.benchmarks.throughput import drain


def backlog(plan: Plan) -> Table:
    table = Table(
        "What a saga costs in the drain of a short queue and of a long one",
        ("contender, queued", "sagas/s", "worker, ms", "database, ms", "WAL, KB", "× worker", "× database"),
    )
    for contender in plan.chains():
        short = None
        for queued in plan.size.backlogs:
            one = drain(plan.bench_servers, contender, queued, warm=plan.amount.warm, limit=_limit(plan, queued))
            short = short or one
            table.add_row(
                {
                    "contender, queued": f"{contender.name}, {queued:,}",
                    "sagas/s": one.rate,
                    "worker, ms": one.worker_cpu * 1000,
                    "database, ms": one.postgres_cpu * 1000,
                    "WAL, KB": one.drain_wal / 1000,
                    "× worker": ratio(one.worker_cpu, short.worker_cpu),
                    "× database": ratio(one.postgres_cpu, short.postgres_cpu),
                }
            )
    table.notes.append("One drain each; WAL without the starts.")
    return table


def memory(plan: Plan) -> Table:
    count = plan.size.memory
    table = Table(
        f"Resident memory of the largest pool process, before and after {count:,} sagas",
        ("contender", "before, MB", "after, MB", "grown, MB"),
    )
    for contender in plan.chains():
        one = drain(plan.bench_servers, contender, count, warm=plan.amount.warm, limit=_limit(plan, count))
        table.add_row(
            {
                "contender": contender.name,
                "before, MB": one.memory_before / 1e6,
                "after, MB": one.memory / 1e6,
                "grown, MB": (one.memory - one.memory_before) / 1e6,
            }
        )
    return table


def _limit(plan: Plan, count: int) -> float:
    """Seconds that this many may take, at ten a second."""
    return max(plan.amount.limit, count / 10)
