"""When to try again and how long to wait: arithmetic over plain values, without a clock or random numbers."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from sagas.model.releases import known_fields

#: Answers of a remote service whose outcome is unknown, or which ask to come again later.
RETRYABLE_HTTP = frozenset({408, 425, 429, *range(500, 600)})

#: In a policy's ``on``: every lost connection and timeout, and every answer of `RETRYABLE_HTTP`.
CONNECTION, HTTP = "connection", "http"

ANY_ERROR = "builtins.Exception"
PERMANENT = "sagas.errors.PermanentError"


class Verdict(StrEnum):
    """The two answers about a failed execution: is it to be tried again, and is it clean (nothing was done)?

    Doubt is the default: an execution is clean only if something says so.
    """

    CLEAN_NO = "clean_no"  # nothing was done; not again
    CLEAN_RETRYABLE = "clean_retryable"  # nothing was done; the policy tries again
    RETRYABLE = "retryable"  # the policy tries again; until then the effect may exist
    UNKNOWN = "unknown"  # not again; the effect may exist
    TIMEOUT = "timeout"  # over its time limit: tried again whatever the policy names
    INTERRUPTED = "interrupted"  # the process was told to stop; counts as a loss, not as a failure
    STOPPED = "stopped"  # a person ended it: never run again automatically
    UNUSABLE = "unusable"  # the body returned, but its result cannot be kept: done, never run again

    @property
    def is_again(self) -> bool:
        """Whether another try is worth it, as far as attempts are left."""
        return self in (Verdict.CLEAN_RETRYABLE, Verdict.RETRYABLE, Verdict.TIMEOUT)

    @property
    def is_clean(self) -> bool:
        """Whether it is certain that nothing was done."""
        return self in (Verdict.CLEAN_NO, Verdict.CLEAN_RETRYABLE)

    @classmethod
    def of(cls, *, again: bool, clean: bool) -> Self:
        """Return the verdict that gives these two answers."""
        if clean:
            return cls(cls.CLEAN_RETRYABLE if again else cls.CLEAN_NO)
        return cls(cls.RETRYABLE if again else cls.UNKNOWN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Signs:
    """The signs of an exception that a policy judges (see `RetryPolicy.is_again`)."""

    names: frozenset[str]  # the qualified names of its classes
    is_lost: bool = False  # a lost connection or a timeout
    is_refused_for_now: bool = False  # the answer 408, 425, 429 or 5xx, or a client's equivalent
    asks_again: bool = False  # it names a time to wait, or says that it may be retried

    @property
    def is_transient(self) -> bool:
        """Whether the other side may have acted, or may still act."""
        return self.is_lost or self.is_refused_for_now


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """A retry policy as it is stored in the plan: error types by qualified name, times in seconds."""

    max_attempts: int = 3
    on: tuple[str, ...] = (CONNECTION, HTTP)
    never_on: tuple[str, ...] = ()
    backoff: float = 1.0
    factor: float = 2.0
    max_backoff: float = 60.0
    jitter: float = 0.5

    def delay(self, failures: int, dice: float) -> float:
        """Return the seconds to wait after the ``failures``-th failure (counted from 1).

        ``dice`` in [0, 1) is the caller's random number. ``jitter`` is the share of the delay that it may take away:
        0 is none, 1 is AWS's "full jitter".
        """
        exponent = min(max(failures, 1) - 1, 64)
        capped = min(self.max_backoff, self.backoff * self.factor**exponent)
        return capped * (1.0 - self.jitter * dice)

    def is_again(self, signs: Signs) -> bool:
        """Return whether an exception is worth another try; whether it was clean is another question."""
        if self.refuses(signs):
            return False
        by_kind = (CONNECTION in self.on and signs.is_lost) or (
            HTTP in self.on and (signs.is_refused_for_now or signs.asks_again)
        )
        return by_kind or not signs.names.isdisjoint(self.on)

    def refuses(self, signs: Signs) -> bool:
        """Return whether it must not be tried again, whatever caused it.

        ``never_on`` wins over ``on``. A ``PermanentError`` is not tried again, unless ``on`` names it by itself.
        """
        if not signs.names.isdisjoint(self.never_on):
            return True
        return PERMANENT in signs.names and not signs.names & (set(self.on) - {ANY_ERROR})

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        known = known_fields(stored, cls.__dataclass_fields__, "a retry policy of the plan")
        return cls(**{**known, "on": tuple(stored["on"]), "never_on": tuple(stored["never_on"])})
