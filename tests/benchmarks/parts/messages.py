"""How large a message is that starts a saga."""

from dataclasses import replace
from typing import Any

from tests.benchmarks.applications.noted_times import BENCH
from tests.benchmarks.parts.plan import Plan
from tests.benchmarks.table import Table

LENGTHS = (3, 10, 50, 100)


def messages(plan: Plan) -> Table:
    columns = {length: f"{length} steps" for length in LENGTHS}
    table = Table("Bytes of the first message of a saga", ("contender", *columns.values()))
    for contender in plan.chains():
        row: dict[str, float | int | str | None] = {"contender": contender.name}
        with plan.bench_servers.run("messages") as run:
            contender.application.prepare(run)
            for length, column in columns.items():
                contender.application.start(run, replace(contender, length=length).what(BENCH), 1)
                with run.broker() as broker:
                    message: Any = broker.lpop(BENCH)
                row[column] = len(message)
        table.add_row(row)
    return table
