"""How often workers report and the sweep looks, and the times that follow from it."""

from dataclasses import dataclass
from datetime import timedelta

from sagas.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of liveness, in seconds: `heartbeat` between two heartbeats, `sweep_every` between two sweeps."""

    heartbeat: float = 2.0
    sweep_every: float = 2.0
    parked_after: float = 300.0  # how long a step that cannot be called may wait, before it waits for a person

    def __post_init__(self) -> None:
        for name in ("heartbeat", "sweep_every"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value <= 3600:
                raise ConfigurationError(f"{name}={value!r} must be a number of seconds above 0 and up to 3600")

        if not isinstance(self.parked_after, int | float) or not 0 < self.parked_after <= 30 * 86400:
            raise ConfigurationError(f"parked_after={self.parked_after!r} must be seconds above 0, and 30 days at most")

    @property
    def patience(self) -> timedelta:
        """How long a step that cannot be called may wait."""
        return timedelta(seconds=self.parked_after)

    @property
    def lease(self) -> timedelta:
        """How long anything may stand still before it is looked at."""
        return timedelta(seconds=2 * self.heartbeat)

    @property
    def silence(self) -> timedelta:
        """The age of a heartbeat from which its worker is suspected; nothing follows from that yet."""
        return timedelta(seconds=1.2 * self.heartbeat)

    @property
    def outage(self) -> timedelta:
        """The time without a sweep that counts as an outage: the database was away, so silence proves nothing."""
        return self.lease + timedelta(seconds=2 * self.sweep_every)

    @property
    def pause(self) -> float:
        """Seconds between two passes of one worker, at most.

        Before there was a line, each worker looked at everything that waits, unless a pass had begun within 0.8 of the
        interval. If such a worker is still alive, this gives it no reason to look.
        """
        return 0.75 * self.sweep_every

    @property
    def lately(self) -> timedelta:
        """The age of the last pass up to which timers sweep, so that beat's message makes none.

        A pass says that it goes on; so where timers sweep, the last mark is never twice as old as the pause.
        """
        return max(self.lease, timedelta(seconds=2 * self.pause))

    @property
    def budget(self) -> float:
        """How long a pass of the sweep may take, in seconds; the next pass does the rest."""
        return min(2.0, 0.75 * self.sweep_every)

    @property
    def hold(self) -> timedelta:
        """How long the worker that fills the queues holds its lease without renewing it."""
        return min(self.lease, timedelta(seconds=max(2 * self.sweep_every, 1.0)))
