"""How throughput grows with the processes of a worker."""

from tests.benchmarks.contenders import ours
from tests.benchmarks.parts.plan import Plan
from tests.benchmarks.rounds import play
from tests.benchmarks.table import Table, median, median_ratio


def processes(plan: Plan) -> Table:
    contenders = [ours(f"sagas, -c {number}", "-c", str(number)) for number in plan.size.processes]
    figures = play(plan.bench_servers, contenders, plan.amount)
    rates = {name: [None if one is None else one.rate for one in rounds] for name, rounds in figures.items()}
    table = Table(
        f"{plan.amount.sagas:,} sagas of three no-op steps, prequeued, and one worker: medians of {plan.amount.pairs} "
        "interleaved rounds",
        ("processes", "sagas/s", "× the first", "worker, cores", "database, cores", "commits/s", "WAL, KB/s"),
    )
    for number, contender in zip(plan.size.processes, contenders, strict=True):
        rounds = [one for one in figures[contender.name] if one is not None and one.rate is not None]
        table.add_row(
            {
                "processes": number,
                "sagas/s": median(rates[contender.name]),
                "× the first": median_ratio(rates[contender.name], rates[contenders[0].name]),
                "worker, cores": median([one.worker_cpu * (one.rate or 0) for one in rounds]),
                "database, cores": median([one.postgres_cpu * (one.rate or 0) for one in rounds]),
                "commits/s": median([one.fsyncs * (one.rate or 0) for one in rounds]),
                "WAL, KB/s": median([one.drain_wal * (one.rate or 0) / 1000 for one in rounds]),
            }
        )
    table.notes += [
        "Cores are seconds of CPU a second, of the workers' processes and of PostgreSQL, in the drain. Commits are",
        "those that wait for the disk, with the starts', which were before it. docs/scaling.md says what follows.",
    ]
    return table
