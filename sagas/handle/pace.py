"""The pace of a polling loop, which every loop that waits for an instance shares."""

import time
from typing import Self

from sagas.errors import ConfigurationError


class Pace:
    """Tells a loop how long to pause before it looks again, and when its time is over. It never sleeps itself.

    Args:
        timeout: seconds from now; None is for ever.
        pause: seconds before the second look.
        longest: seconds up to which the pauses grow, by half each time; by default they stay as they are.
    """

    def __init__(self, timeout: float | None, pause: float, *, longest: float = 0.0) -> None:
        if timeout is not None and not isinstance(timeout, int | float):
            raise ConfigurationError(f"timeout={timeout!r}: pass seconds, or None to wait without limit")
        self._ends_at = None if timeout is None else time.monotonic() + timeout
        self._pause, self._longest = pause, max(pause, longest)

    @classmethod
    def of_wait(cls, timeout: float | None) -> Self:
        """Return the pace of ``wait``: it looks often at first."""
        return cls(timeout, 0.02, longest=0.5)

    def next(self) -> float | None:
        """Return the seconds until the next look; None when the time is over. The last look is at its very end."""
        pause, self._pause = self._pause, min(self._pause * 1.5, self._longest)
        if self._ends_at is None:
            return pause
        left = self._ends_at - time.monotonic()
        return min(pause, left) if left > 0 else None
