"""How long, how much, and with which faults."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a campaign is told.

    Attributes:
        seed: of all dice: what is started, how it goes wrong by itself, which faults strike.
        minutes: for how long faults strike at most; they stop when all sagas have ended.
        sagas: how many are started.
        in_flight: how many at once.
        backlog: so many are started before the first worker comes, and as many are kept in flight from then on.
        continuation: of all sagas: `chain` or `inline`.
        gap: seconds between two strikes, on average.
        pace: what the pauses of the sagas' own steps are multiplied by.
        faults: names or groups of faults; empty means all.
        without: names or groups of faults that stay away.
        deal: as cards are dealt, each fault once before any comes again; otherwise by chance and weight.
        strikes: so many faults at most; None: as many as there is time for.
        patience: seconds that the sagas have to end in after the last fault.
        recoveries: so many workers are killed beforehand, one at a time, while the others have little to do: what
            a recovery takes where nothing waits for its turn.
        restarts: so many times PostgreSQL is shut down beforehand, in order or at once: what that costs besides the
            time for which it was away.
        workers: so many prefork workers; one with threads comes on top.
        children: of each of them.
        approval: seconds that a saga waits for a signal, which one in ten never gets.
        timeout: seconds that a step may take, of most sagas.
        logs: where logs are kept; by default they are thrown away.
    """

    seed: int = 7
    minutes: float = 10.0
    sagas: int = 1000
    broker: str = "valkey"
    in_flight: int = 100
    backlog: int = 0
    continuation: str = "chain"
    gap: float = 3.0
    pace: float = 1.0
    faults: tuple[str, ...] = field(default=())
    without: tuple[str, ...] = field(default=())
    deal: bool = False
    strikes: int | None = None
    patience: float = 300.0
    recoveries: int = 0
    restarts: int = 0
    workers: int = 3
    children: int = 2
    approval: float = 30.0
    timeout: float = 60.0
    heartbeat: float = 2.0
    sweep_every: float = 2.0
    logs: Path | None = None

    @property
    def at_once(self) -> int:
        """How many are in flight while there are more to start."""
        return max(self.in_flight, self.backlog)

    def but(self, **changes: Any) -> "Settings":
        """The same with some changes."""
        return replace(self, **changes)
