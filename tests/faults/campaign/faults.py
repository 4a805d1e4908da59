"""What a fault is: a function that strikes, waits by `yield <seconds>`, and cures behind `finally`.

The faults themselves are in `kills`, `outages`, `messages`, `lines` and `operations`; `catalogue` has them all.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults.campaign.fault_environment import FaultEnvironment
from tests.faults.campaign.processes import Kept

if TYPE_CHECKING:
    from tests.faults.campaign.fault_runner import Strike
    from tests.faults.campaign.recoveries import Recoveries

Course = Iterator[float]
Strikes = Callable[[FaultEnvironment, "Strike", "Recoveries"], Course]


class NotNow(Exception):
    """There is nothing to strike at just now; another fault's turn."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that can go wrong.

    Attributes:
        group: what it belongs to, for choosing.
        subject: what it holds for as long as it lasts: of one subject no two faults at a time. None: over at once.
        weight: how often it strikes, among the others.
        quick: short enough for a campaign of a minute.
        broker: the only one that it can be done to.
    """

    name: str
    group: str
    subject: str | None
    weight: float
    quick: bool
    broker: str | None
    strike: Strikes


FAULTS: dict[str, Fault] = {}


def fault(
    name: str,
    group: str,
    *,
    subject: str | None = None,
    weight: float = 1.0,
    quick: bool = False,
    broker: str | None = None,
) -> Callable[[Strikes], Strikes]:
    """Registers a fault."""

    def register(strike: Strikes) -> Strikes:
        FAULTS[name] = Fault(
            name=name, group=group, subject=subject, weight=weight, quick=quick, broker=broker, strike=strike
        )
        return strike

    return register


def awake(environment: FaultEnvironment, workers: list[Kept], *, older_than: float = 0.0) -> list[Kept]:
    """Those that run and are not frozen."""
    found = [kept for kept in workers if kept.pid and not kept.frozen and kept.age >= older_than]
    if not found:
        raise NotNow
    return found
