"""A table of figures: medians, ratios, and how they are written."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: A figure that was not or could not be measured is None, and is written so.
MISSING = "–"


def median(values: Sequence[float | None]) -> float | None:
    """The median of what was measured; None if nothing was."""
    measured = [value for value in values if value is not None]
    return statistics.median(measured) if measured else None


def ratio(value: float | None, base: float | None) -> float | None:
    """How many times ``base``; None where either is missing or the base is zero."""
    return value / base if value is not None and base else None


def median_ratio(values: Sequence[float | None], bases: Sequence[float | None]) -> float | None:
    """The median of the ratios of pairs that were measured in one round.

    Not the ratio of two medians: what slows the machine down for a round slows both of its pair.
    """
    return median([ratio(value, base) for value, base in zip(values, bases, strict=True)])


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of all does not exceed."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def written(value: float | int | str | None) -> str:
    """A figure with three digits that count, or all digits before the point."""
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


@dataclass
class Table:
    """Rows under named columns, as Markdown that reads well in a terminal too.

    A column for which nothing was measured is left out.
    """

    title: str
    columns: Sequence[str]
    rows: list[Mapping[str, float | int | str | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, **values: float | int | str | None) -> None:
        """Add a row from ``column=value``; see `add_row` for columns that are no identifiers."""
        self.add_row(values)

    def add_row(self, values: Mapping[str, float | int | str | None]) -> None:
        unknown = set(values) - set(self.columns)
        if unknown:
            raise ValueError(f"{self.title}: there is no column {', '.join(sorted(unknown))}")
        self.rows.append(values)

    def __str__(self) -> str:
        columns = [
            name for name in self.columns if not self.rows or any(row.get(name) is not None for row in self.rows)
        ]
        cells = [columns, *([written(row.get(name)) for name in columns] for row in self.rows)]
        widths = [max(len(line[number]) for line in cells) for number in range(len(columns))]
        head, *body = (self._line(line, widths) for line in cells)
        rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
        return "\n".join([f"## {self.title}", "", head, rule, *body, "", *self.notes])

    @staticmethod
    def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
        first, *figures = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in figures)]
        return "| " + " | ".join(padded) + " |"
