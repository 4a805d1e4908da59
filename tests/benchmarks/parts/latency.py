"""How long one saga takes alone, from its start to its last step."""

from tests.benchmarks.applications.noted_times import WARM
from tests.benchmarks.parts.plan import Plan
from tests.benchmarks.processes import running
from tests.benchmarks.table import Table, percentile, ratio


def latency(plan: Plan) -> Table:
    count = plan.size.latencies
    table = Table(
        f"One saga of three no-op steps at a time, {count:,} of them, from its start to its last step",
        ("contender", "p50, ms", "p99, ms", "× bare, p50"),
    )
    medians: dict[str, float | None] = {}
    for contender in plan.of_three_steps():
        application = contender.application
        with plan.bench_servers.run(f"latency-{contender.name.replace(' ', '-')}") as run:
            application.prepare(run)
            with running(contender.executors(run, application)):
                (taken,) = application.start(run, contender.what(WARM), count + 5, "--one-by-one")
        seconds = taken["seconds"][5:]  # the first ones connect
        medians[contender.name] = median = percentile(seconds, 0.5)
        table.add_row(
            {
                "contender": contender.name,
                "p50, ms": None if median is None else median * 1000,
                "p99, ms": 1000 * (percentile(seconds, 0.99) or 0.0),
                "× bare, p50": ratio(median, medians.get(contender.against)),
            }
        )
    return table
