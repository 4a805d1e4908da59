"""What a delivery of an event costs beside a step of a saga, in the same rounds."""

from collections.abc import Callable
from dataclasses import replace

from tests.benchmarks.contenders import Contender
from tests.benchmarks.contenders import deliveries as contenders
from tests.benchmarks.parts.plan import Plan
from tests.benchmarks.rounds import play
from tests.benchmarks.table import Table, median, median_ratio
from tests.benchmarks.throughput import Measured

#: Of one saga or run; the table has them for one step or delivery, with the ratio to a step's.
FIGURES: dict[str, Callable[[Measured], float | None]] = {
    "statements": lambda one: one.statements,
    "transactions": lambda one: one.transactions,
    "fsyncs": lambda one: one.fsyncs,
    "worker, ms": lambda one: one.worker_cpu * 1000,
    "database, ms": lambda one: one.postgres_cpu * 1000,
    "WAL, KB": lambda one: one.wal_bytes / 1000,
}


def deliveries(plan: Plan) -> Table:
    chosen = contenders()
    amount = replace(plan.amount, warm=4)  # a warm run may be fifty deliveries
    figures = play(plan.bench_servers, chosen, amount)
    table = Table(
        f"One delivery beside one step: {amount.sagas * 3:,} of each in each of {amount.pairs} interleaved rounds, and "
        "a warm worker of two processes",
        ("one of", "a second", *(each for column in FIGURES for each in (column, f"× {column}"))),
    )
    for contender in chosen:
        table.add_row(_row(contender, figures[contender.name], figures[contender.against]))
    table.notes += [
        "Medians of what one delivery or step costs, the start included; × is the median of the ratios to a step of",
        "the same round. Statements are counted by those who send them: what is sent together counts once.",
    ]
    return table


def _row(
    contender: Contender, rounds: list[Measured | None], steps: list[Measured | None]
) -> dict[str, float | int | str | None]:
    rates = [None if one is None or one.rate is None else one.rate * contender.length for one in rounds]
    row: dict[str, float | int | str | None] = {"one of": contender.name, "a second": median(rates)}
    for column, figure in FIGURES.items():
        own, base = (_each(figure, some, length) for some, length in ((rounds, contender.length), (steps, _steps())))
        row |= {column: median(own), f"× {column}": median_ratio(own, base)}
    return row


def _steps() -> int:
    return contenders()[0].length


def _each(figure: Callable[[Measured], float | None], rounds: list[Measured | None], length: int) -> list[float | None]:
    whole = [None if one is None else figure(one) for one in rounds]
    return [None if value is None else value / length for value in whole]
