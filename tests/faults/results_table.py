"""The results of a fault's rounds: the table that is printed at the end of a run."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from config.demo.books import Violation


@dataclass
class FaultResults:
    """Counts over the rounds of one fault; everything but `rounds`, `sagas` and `seconds` must stay empty."""

    fault: str
    rounds: int = 0
    sagas: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    stuck: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """From the kill to the claim with which a step ran again, both by the database's clock."""

    def add_violations(self, violations: Iterable[Violation]) -> None:
        for violation in violations:
            (self.twice if "twice" in violation.kind else self.lost).append(str(violation))

    def add_end(self, status: str) -> None:
        self.sagas += 1
        self.ends[status] = self.ends.get(status, 0) + 1

    def row(self) -> str:
        p50 = f"{median(self.seconds):.1f}" if self.seconds else "-"
        longest = f"{max(self.seconds):.1f}" if self.seconds else "-"
        ends = ", ".join(f"{count} {status}" for status, count in sorted(self.ends.items()))
        return (
            f"{self.fault:32} {self.rounds:6} {self.sagas:6} {len(self.lost):5} {len(self.twice):6} {len(self.stuck):6}"
            f" {len(self.seconds):6} {p50:>7} {longest:>7}  {ends}"
        )


HEADER = (
    f"{'fault':32} {'rounds':>6} {'sagas':>6} {'lost':>5} {'twice':>6} {'stuck':>6}"
    f" {'re-run':>6} {'p50 s':>7} {'max s':>7}  ends"
)
