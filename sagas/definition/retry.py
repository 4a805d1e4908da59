"""Retry policies, as a user writes them."""

import dataclasses
import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Self

from sagas.engine import qualified
from sagas.errors import DefinitionError
from sagas.model import RetryPolicy

LONGEST_TIMEOUT = 7 * 24 * 3600.0
LIMITS = (("backoff", 0, LONGEST_TIMEOUT), ("factor", 1, 100), ("max_backoff", 0, LONGEST_TIMEOUT), ("jitter", 0, 1))


def number(value: Any, what: str, least: float, most: float) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DefinitionError(f"{what}: {value!r} is not a number of seconds")
    if not least <= value <= most:
        raise DefinitionError(f"{what}: {value!r} must be between {least:g} and {most:g}")
    return float(value)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """When a step (or a compensation) is tried again, and how long it waits. Times are in seconds.

    An option left out keeps the default of its place: ``compensation_retry=Retry(max_attempts=2)`` is tried twice, on
        any error, as compensations are.

    ============= ============================== ==================== ==============
    left out      an action                      `Retriable`          a compensation
    ============= ============================== ==================== ==============
    max_attempts  3                              20                   6
    on            connection errors, timeouts,   any error            any error
                  HTTP 408, 425, 429 and 5xx
    never_on      nothing                        nothing              nothing
    backoff       1                              1                    0.5
    factor        2                              2                    2
    max_backoff   60                             300                  60
    jitter        0.5                            0.5                  0.5
    ============= ============================== ==================== ==============

    A `PermanentError` is never tried again, unless ``on`` names it explicitly. In an action it says that nothing was
    done; in a compensation it says that trying again is useless, and the saga ends `failed` for a person.

    Args:
        max_attempts: executions that may end in an error, including the first. Executions lost with their process are
            counted separately.
        on: exception classes worth another try. Their outcome is unknown, so a step given up after one of them is
            compensated too.
        never_on: exception classes that are never tried again, whatever ``on`` says.
        backoff: the first delay.
        factor: the factor by which each further delay grows.
        max_backoff: the longest delay.
        jitter: the share of a delay that may randomly be taken away, 0 to 1 (``True`` is 1).
    """

    max_attempts: int | None = None
    on: tuple[type[BaseException], ...] | None = None
    never_on: tuple[type[BaseException], ...] | None = None
    backoff: float | None = None
    factor: float | None = None
    max_backoff: float | None = None
    jitter: float | None = None

    def __post_init__(self) -> None:
        attempts = 1 if self.max_attempts is None else self.max_attempts
        if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
            raise DefinitionError(
                f"Retry(max_attempts={self.max_attempts!r}): it counts the first try too; pass 1 or more"
            )
        for name, least, most in LIMITS:
            if (given := getattr(self, name)) is not None:
                given = float(given) if name == "jitter" and isinstance(given, bool) else given
                object.__setattr__(self, name, number(given, f"Retry({name}=…)", least, most))
        for name in ("on", "never_on"):
            given = getattr(self, name)
            if given is None:
                continue
            classes = (given,) if isinstance(given, type) else given
            if not isinstance(classes, Iterable) or isinstance(classes, str):
                raise DefinitionError(f"Retry({name}={given!r}): pass a tuple of exception classes")
            classes = tuple(classes)
            for item in classes:
                if not (isinstance(item, type) and issubclass(item, BaseException)):
                    raise DefinitionError(f"Retry({name}=…) contains {item!r}, which is not an exception class")
            object.__setattr__(self, name, classes)

    def with_defaults(self, default: Self) -> Self:
        """Return the same policy, with the options that it leaves out from ``default``."""
        return dataclasses.replace(default, **self._given_options())

    def policy(self) -> RetryPolicy:
        """Return the policy as the plan stores it."""
        given = self._given_options()
        return RetryPolicy(
            **given | {name: tuple(map(qualified, given[name])) for name in ("on", "never_on") if name in given}
        )

    def _given_options(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}


#: The defaults of an action are those of `RetryPolicy`.
ACTION_RETRY = Retry()
#: An undo has to succeed, whatever goes wrong with it.
COMPENSATION_RETRY = Retry(max_attempts=6, on=(Exception,), backoff=0.5)
#: Past the pivot there is no way back: about an hour of patience before a person must look.
RETRIABLE_RETRY = Retry(max_attempts=20, on=(Exception,), max_backoff=300.0)
