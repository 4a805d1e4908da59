"""How a saga goes on from a completed step to the next: by a message, or at once in the same worker."""

import math
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Inline:
    """Bounds of ``Saga(continuation="inline")``: how far a worker goes on with one message.

    A message that runs long is acknowledged late, keeps others of its queue waiting, and delays a warm shutdown; so a
    further step begins only within both bounds, and is otherwise sent as a message.

    Args:
        seconds: time since the message began within which a further step may begin.
        steps: the most steps that one message runs, its own included.

    Raises:
        ValueError: a bound is not a number within its limits.

    Example:
        ``Saga("order", steps=[…], continuation=Inline(seconds=2, steps=5))``
    """

    seconds: float = 5.0
    steps: int = 10

    def __post_init__(self) -> None:
        if not _is_number(self.seconds) or not 0 < self.seconds <= 600:
            raise ValueError(f"Inline(seconds={self.seconds!r}) must be a number above 0 and up to 600")
        if not _is_number(self.steps) or self.steps != int(self.steps) or not 2 <= self.steps <= 100:
            raise ValueError(f"Inline(steps={self.steps!r}) must be a whole number from 2 to 100")

    def __str__(self) -> str:
        """Return the form that a message's header carries."""
        return f"{self.seconds:g} {int(self.steps)}"

    @classmethod
    def parse(cls, header: object) -> Self | None:
        """Return the bounds that a message carries; None if it runs its own step alone, or was mangled."""
        if not isinstance(header, str):
            return None
        try:
            seconds, steps = header.split()
            return cls(float(seconds), int(steps))
        except ValueError:
            return None


def _is_number(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
