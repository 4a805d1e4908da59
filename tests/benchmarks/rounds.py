"""Interleaved rounds: each contender once in each, so that a busy minute of the machine strikes all alike."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.bench_servers import BenchServers
from tests.benchmarks.contenders import Contender
from tests.benchmarks.table import Table, median, median_ratio
from tests.benchmarks.throughput import COLUMNS, Measured, drain


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How much is measured: rounds, sagas of three steps a round (of longer ones fewer), seconds for one drain."""

    pairs: int = 5
    sagas: int = 600
    warm: int = 20
    limit: float = 300.0

    def of(self, contender: Contender) -> int:
        return max(2, self.sagas * 3 // contender.length)


#: Columns that have a ratio to the bare chain's beside them, and how that is called.
RATIOS = {"sagas/s": "× bare", "worker, ms": "× its CPU", "starts/s": "× its starts"}
#: By contender, one for each round; None where it failed.
Figures = dict[str, list[Measured | None]]


def play(bench_servers: BenchServers, contenders: Sequence[Contender], amount: Amount) -> Figures:
    """All rounds; every other one in reverse order, since who comes after whom may matter too."""
    figures: Figures = {contender.name: [] for contender in contenders}
    for number in range(amount.pairs):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            try:
                one = drain(bench_servers, contender, amount.of(contender), warm=amount.warm, limit=amount.limit)
            except AssertionError as error:  # one that cannot be measured must not take the others with it
                figures[contender.name].append(None)
                print(f"round {number + 1}: {contender.name}: {error}", file=sys.stderr, flush=True)
                continue
            figures[contender.name].append(one)
            rate = "not all ended" if one.rate is None else f"{one.rate:.1f}/s"
            print(f"round {number + 1}: {contender.name}: {rate}", file=sys.stderr, flush=True)
    return figures


def throughput_table(title: str, contenders: Sequence[Contender], figures: Figures) -> Table:
    """Medians, and the medians of the ratios within the rounds."""
    columns = [each for column in COLUMNS for each in (column, RATIOS.get(column)) if each]
    table = Table(title, ("contender", *columns))
    for contender in contenders:
        row: dict[str, float | int | str | None] = {"contender": contender.name}
        row |= {column: median(_column(figures[contender.name], column)) for column in COLUMNS}
        for column, ratios in RATIOS.items():
            if contender.against in figures:
                own, base = (_column(figures[name], column) for name in (contender.name, contender.against))
                row[ratios] = median_ratio(own, base)
        table.add_row(row)
    return table


def _column(rounds: Sequence[Measured | None], column: str) -> list[float | None]:
    return [None if one is None else COLUMNS[column](one) for one in rounds]
