"""How often workers report and the sweep looks, and what follows from it."""

from dataclasses import dataclass
from datetime import timedelta

from sagas.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of liveness, in seconds: `heartbeat` between two heartbeats, `sweep_every` between two sweeps."""

    heartbeat: float = 2.0
    sweep_every: float = 2.0

    def __post_init__(self) -> None:
        for name in ("heartbeat", "sweep_every"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value <= 3600:
                raise ConfigurationError(f"{name}={value!r} must be a number of seconds above 0 and up to 3600")

    @property
    def lease(self) -> timedelta:
        """How long something may stand still before it is looked at."""
        return timedelta(seconds=2 * self.heartbeat)

    @property
    def silence(self) -> timedelta:
        """A worker whose heartbeat is older than this is suspected; nothing follows from it yet."""
        return timedelta(seconds=1.2 * self.heartbeat)

    @property
    def outage(self) -> timedelta:
        """No sweep for this long: the database was away, so everybody's silence proves nothing."""
        return self.lease + timedelta(seconds=2 * self.sweep_every)
