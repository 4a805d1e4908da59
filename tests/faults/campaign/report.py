"""What a campaign found, as Markdown for people and as JSON for whoever compares."""

import platform
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.faults.campaign.books import Counts, Violation
from tests.faults.campaign.settings import Settings


@dataclass(kw_only=True)
class Report:
    """The outcome."""

    settings: Settings
    minutes: float
    strikes: dict[str, int]
    groups: dict[str, dict[str, int]]
    sagas: dict[str, dict[str, int]]
    starts_returned: int
    named_failures: dict[str, int]
    mended: int
    excluded: int
    settled_after: float | None
    violations: list[Violation]
    unbalanced: list[str]
    noticed: list[float]
    ran_again: list[float]
    ran_again_undisturbed: list[float]
    ran_again_calm: list[float]
    held_up: dict[str, list[float]]
    losses: dict[str, int]
    exits: dict[str, dict[str, int]]
    most: dict[str, int]
    events: dict[str, int]
    errors: dict[str, int]
    said: dict[str, int]
    #: Completed executions, and how many messages brought them.
    messages: tuple[int, int] = (0, 0)
    left_out: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not self.violations and not self.unbalanced and self.settled_after is not None

    def count(self, counts: Counts) -> int:
        """Violations of this sort."""
        return sum(violation.counts is counts for violation in self.violations)

    @property
    def kills(self) -> int:
        """How often a worker or one of its processes was killed."""
        return sum(
            count for name, count in self.strikes.items() if name.startswith("SIGKILL of a") and "Postgre" not in name
        )

    def to_json(self) -> dict[str, Any]:
        stored = asdict(self)
        stored["settings"]["logs"] = str(self.settings.logs) if self.settings.logs else None
        stored |= {"counts": {counts: self.count(counts) for counts in Counts}, "clean": self.is_clean}
        stored["recovery"] = {
            name: percentiles(seconds) for name, seconds in (("noticed", self.noticed), ("ran", self.ran_again))
        }
        return stored

    @property
    def ends(self) -> Counter[str]:
        """How many sagas have each status."""
        found = Counter[str]()
        for by_status in self.sagas.values():
            found.update(by_status)
        return found

    # -- as Markdown

    def to_readme(self) -> str:
        """What somebody wants to know who has one minute."""
        struck = [
            (
                GROUPS.get(group, group),
                ", ".join(f"{name} {count}" for name, count in most_first(faults)),
                sum(faults.values()),
            )
            for group, faults in sorted(self.groups.items(), key=lambda item: -sum(item[1].values()))
        ]
        recoveries = [
            ("the others have capacity to spare, nothing else goes wrong", *percentiles(self.ran_again_calm)),
            ("all kills, whatever else went wrong meanwhile, waiting in queues included", *percentiles(self.ran_again)),
        ]
        restarts = [
            (f"shut down {how} and away for up to 8 s", *percentiles(seconds)) for how, seconds in self.held_up.items()
        ]
        ends = self.ends
        reasons = "; ".join(f"{count}: {name}" for name, count in self.named_failures.items()) or "none"
        return "\n\n".join(
            part
            for part in [
                table(
                    ("sagas", "faults", "of these kills", *Counts),
                    [
                        (
                            f"{sum(ends.values()):,}",
                            f"{sum(self.strikes.values()):,}",
                            f"{self.kills:,}",
                            *(self.count(counts) for counts in Counts),
                        )
                    ],
                ),
                table(("faults", "which", "times"), struck),
                table(
                    ("SIGKILL of a whole worker → its step runs again on another", *SECONDS),
                    recoveries,
                ),
                table(
                    ("PostgreSQL is back → a step that it held up has ended", *SECONDS),
                    restarts,
                ),
                f"{ends['completed']:,} completed, {ends['compensated']:,} compensated, {ends['failed']:,} failed as "
                f"they had to ({reasons}; {self.mended} more were mended by a person and then compensated). "
                f"{self.excluded} were spoilt by hand and are left out.",
            ]
            if part
        )

    def to_markdown(self) -> str:
        settings = self.settings
        ends = self.ends
        waiting = ", which waited when the workers came" if settings.backlog else ""
        title = (
            f"Seed {settings.seed}, {self.minutes:.1f} minutes, {settings.broker}, heartbeat and sweep "
            f"{settings.heartbeat:g} s / {settings.sweep_every:g} s, {settings.workers} × prefork "
            f"-c {settings.children} and one of threads, {settings.at_once} in flight{waiting}, "
            f"{settings.continuation}, "
            f"a fault each {settings.gap:g} s, Python {platform.python_version()}."
        )
        settled = "never" if self.settled_after is None else f"{self.settled_after:.0f} s"
        parts = [
            "# Campaign: " + ("clean" if self.is_clean else "BROKEN"),
            title,
            table(
                ("sagas", "completed", "compensated", "failed", "of these named", *Counts),
                [
                    (
                        sum(ends.values()),
                        ends["completed"],
                        ends["compensated"],
                        ends["failed"],
                        sum(self.named_failures.values()),
                        *(self.count(counts) for counts in Counts),
                    )
                ],
            ),
            f"{self.starts_returned} starts returned; {sum(self.strikes.values())} faults, {self.kills} of them "
            f"kills of workers; all settled {settled} after the last; {self.mended} failed ones mended by a person and "
            f"compensated since; {self.excluded} spoilt by hand and left out. "
            f"{self.messages[1]} messages brought the {self.messages[0]} executions that completed.",
            table(
                ("saga", *STATUSES), [(saga, *(by.get(it, 0) for it in STATUSES)) for saga, by in self.sagas.items()]
            ),
            table(("fault", "times"), most_first(self.strikes)),
            table(
                ("after the SIGKILL of a whole worker", *SECONDS),
                [
                    ("noticed", *percentiles(self.noticed)),
                    ("running again", *percentiles(self.ran_again)),
                    ("running again, no other fault meanwhile", *percentiles(self.ran_again_undisturbed)),
                    ("running again, the others free", *percentiles(self.ran_again_calm)),
                ],
            ),
            table(("step of a killed worker", "times"), self.losses.items()),
            table(("process", "ends, by status"), [(name, text_of(by)) for name, by in self.exits.items()]),
            table(("most at once", ""), self.most.items()),
            table(("event in the histories", "times"), self.events.items()),
            table(("error of an attempt", "times"), self.errors.items()),
            table(("warnings and errors in the logs", "times"), self.said.items()),
            *([f"Left out: {'; '.join(self.left_out)}."] if self.left_out else []),
        ]
        if self.named_failures:
            parts.insert(4, table(("failed, as it must be", "sagas"), self.named_failures.items()))
        for violation in self.violations[:50]:
            parts.append(f"**Broken** {violation}")
        parts += [f"**Unbalanced meanwhile** {text}" for text in self.unbalanced[:20]]
        return "\n\n".join(part for part in parts if part)


#: What the groups of faults are called for readers.
GROUPS = {
    "kills": "processes killed",
    "freezes": "processes frozen for longer than a lease",
    "deploys": "deploys",
    "broker": "broker",
    "database": "PostgreSQL",
    "failover": "PostgreSQL replaced by its standby",
    "cables": "network",
    "messages": "messages",
    "poison": "poison",
    "operations": "heartbeats",
    "clocks": "clocks",
}
#: What `percentiles` says.
SECONDS = ("steps", "p50 s", "p95 s", "max s")
STATUSES = ("completed", "compensated", "failed", "pending", "running", "compensating")


def most_first(counted: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counted.items(), key=lambda item: -item[1])


def percentiles(seconds: list[float]) -> tuple[int, str, str, str]:
    """How many, the median, the 95th percentile, the longest."""
    if not seconds:
        return 0, "-", "-", "-"
    inline = sorted(seconds)
    middle, late = inline[len(inline) // 2], inline[min(len(inline) - 1, int(len(inline) * 0.95))]
    return len(inline), f"{middle:.1f}", f"{late:.1f}", f"{inline[-1]:.1f}"


def table(head: tuple[str, ...], rows: Any) -> str:
    """A Markdown table; nothing where there are no rows."""
    lines = [f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *lines]) if lines else ""


def text_of(exits: dict[str, int]) -> str:
    return ", ".join(f"{count} × {status}" for status, count in exits.items()) or "never"
