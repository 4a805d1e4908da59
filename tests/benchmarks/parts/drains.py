"""Throughput: the table that compares all contenders."""

from tests.benchmarks.parts.plan import Plan
from tests.benchmarks.rounds import play, throughput_table
from tests.benchmarks.table import Table


def throughput(plan: Plan) -> Table:
    figures = play(plan.bench_servers, plan.contenders, plan.amount)
    table = throughput_table(
        f"{plan.amount.sagas:,} sagas of no-op steps, prequeued, and a warm worker of two processes: medians of "
        f"{plan.amount.pairs} interleaved rounds",
        plan.contenders,
        figures,
    )
    table.notes += [
        "Ratios are to a bare chain of as many steps, late acks, prefetch 1 and an error callback, within the round.",
        "Milliseconds a saga are CPU in the drain, of all processes of the workers and of PostgreSQL. Transactions,",
        "statements, fsyncs and WAL a saga are PostgreSQL's own count, the start included. One process starts them,",
        "while no worker runs. MB are those of the largest process that runs steps, after the drain.",
    ]
    if not plan.bench_servers.counts_statements:
        table.notes.append("Statements are not counted: this PostgreSQL has no pg_stat_statements.")
    return table
