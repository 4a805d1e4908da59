"""What the moments at which sagas ended tell: rates, and the longest time in which nothing went on."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.benchmarks.table import Table, ratio


@dataclass(frozen=True, kw_only=True)
class Outage:
    """Seconds of the clock in which something was away, so that nothing could go on."""

    began: float
    ended: float

    def without(self, moment: float) -> float:
        """The moment on a clock that stood still during the outage."""
        return moment - max(0.0, min(moment, self.ended) - self.began)


def longest_gap(moments: Sequence[float], began: float, until: float) -> float:
    """The longest time between two of these moments, the beginning and the end of the measurement included."""
    marks = sorted([began, *(moment for moment in moments if began < moment < until), until])
    return max(later - earlier for earlier, later in pairwise(marks))


@dataclass(frozen=True, kw_only=True)
class Drained:
    """One kind's figures; seconds and gaps are without its outage."""

    name: str
    wanted: int
    ended: int
    seconds: float
    gap: float
    step_gap: float
    messages_a_step: float | None
    transactions: float
    statements: float
    fsyncs: float
    statuses: dict[str, int]

    @property
    def rate(self) -> float:
        return self.ended / self.seconds if self.seconds else 0.0


#: The name of the kind that all others are compared with.
PLAIN = "plain"
COLUMNS = (
    "kind",
    "ended",
    "seconds",
    "sagas/s",
    "× plain",
    "messages/step",
    "no saga for",
    "no step for",
    "transactions",
    "statements",
    "fsyncs",
)


def storm_table(title: str, drained: Sequence[Drained]) -> Table:
    """All kinds in their order, each beside the last plain drain before it."""
    table = Table(title, COLUMNS)
    plain = None
    for one in drained:
        plain = one.rate if one.name == PLAIN else plain
        table.add_row(
            {
                "kind": one.name,
                "ended": f"{one.ended:,} of {one.wanted:,}",
                "seconds": one.seconds,
                "sagas/s": one.rate,
                "× plain": ratio(one.rate, plain),
                "messages/step": one.messages_a_step,
                "no saga for": one.gap,
                "no step for": one.step_gap,
                "transactions": one.transactions / one.wanted,
                "statements": one.statements / one.wanted,
                "fsyncs": one.fsyncs / one.wanted,
            }
        )
    return table
