"""When to try again and how long to wait: arithmetic over plain values, no clock and no dice of its own."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

#: Answers of a remote service whose outcome is unknown, or which ask to come again later.
RETRYABLE_HTTP = frozenset({408, 425, 429, 500, 502, 503, 504})

ANY_ERROR = "builtins.Exception"
PERMANENT = "sagas.errors.PermanentError"


class Verdict(StrEnum):
    """What one failed execution says about its effect."""

    CLEAN_NO = "clean_no"  # raised before any effect; not done, no retry
    RETRYABLE = "retryable"  # connection, timeout, 5xx: the effect may exist; in doubt
    TIMEOUT = "timeout"  # over its time limit: in doubt
    INTERRUPTED = "interrupted"  # the process was told to stop; in doubt, counts as a loss, not as a failure
    UNUSABLE = "unusable"  # the body returned, its result cannot be kept: done, never run again


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """A retry policy as it is stored in the plan: error types by qualified name, times in seconds."""

    max_attempts: int = 3
    on: tuple[str, ...] = ("builtins.ConnectionError", "builtins.TimeoutError", "http")
    never_on: tuple[str, ...] = ()
    backoff: float = 1.0
    factor: float = 2.0
    max_backoff: float = 60.0
    jitter: float = 0.5

    def delay(self, failures: int, dice: float) -> float:
        """Seconds to wait after the ``failures``-th failure (counted from 1).

        ``dice`` in [0, 1) is the caller's random number. ``jitter`` is the share of the delay that it may
        take away: 0 is none, 1 is AWS's "full jitter".
        """
        exponent = min(max(failures, 1) - 1, 64)
        capped = min(self.max_backoff, self.backoff * self.factor**exponent)
        return capped * (1.0 - self.jitter * dice)

    def classify(self, lineage: Iterable[str], http_status: int | None) -> Verdict:
        """Judge an exception by the qualified names of its classes (its MRO) and its HTTP status, if any.

        ``never_on`` wins over ``on``; ``PermanentError`` is a clean no unless ``on`` names it.
        """
        names = set(lineage)
        if names & set(self.never_on):
            return Verdict.CLEAN_NO
        if PERMANENT in names and not names & (set(self.on) - {ANY_ERROR}):
            return Verdict.CLEAN_NO
        if names & set(self.on):
            return Verdict.RETRYABLE
        if "http" in self.on and http_status in RETRYABLE_HTTP:
            return Verdict.RETRYABLE
        return Verdict.CLEAN_NO

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        return cls(**{**stored, "on": tuple(stored["on"]), "never_on": tuple(stored["never_on"])})
