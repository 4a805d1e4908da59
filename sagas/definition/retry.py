"""Retry policies, as a user writes them."""

import dataclasses
import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from sagas.engine import qualified
from sagas.errors import DefinitionError
from sagas.model import RetryPolicy

LONGEST_TIMEOUT = 7 * 24 * 3600.0


def number(value: Any, what: str, least: float, most: float) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DefinitionError(f"{what}: {value!r} is no number of seconds")
    if not least <= value <= most:
        raise DefinitionError(f"{what}: {value!r} must be between {least:g} and {most:g}")
    return float(value)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """When a step (or a compensation) is tried again, and how long it waits. Times in seconds.

    Args:
        max_attempts: executions that may end in an error, the first one included. Executions lost with their
            process are counted apart.
        on: exception classes worth another try; ``None`` takes connection errors, timeouts, and HTTP 408, 425,
            429 and 5xx. Their outcome is unknown, so a step given up after one of them is compensated too.
        never_on: exception classes that are never tried again, whatever ``on`` says.
        backoff: the first delay.
        factor: what each further delay is multiplied with.
        max_backoff: the longest delay.
        jitter: the share of a delay that chance may take away, 0 to 1 (``True`` is 1).
    """

    max_attempts: int = 3
    on: tuple[type[BaseException], ...] | None = None
    never_on: tuple[type[BaseException], ...] = ()
    backoff: float = 1.0
    factor: float = 2.0
    max_backoff: float = 60.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.max_attempts, int) or isinstance(self.max_attempts, bool) or self.max_attempts < 1:
            raise DefinitionError(
                f"Retry(max_attempts={self.max_attempts!r}): it counts the first try too; pass 1 or more"
            )
        number(self.backoff, "Retry(backoff=…)", 0, LONGEST_TIMEOUT)
        number(self.factor, "Retry(factor=…)", 1, 100)
        number(self.max_backoff, "Retry(max_backoff=…)", 0, LONGEST_TIMEOUT)
        jitter = float(self.jitter) if isinstance(self.jitter, bool) else self.jitter
        number(jitter, "Retry(jitter=…)", 0, 1)
        for name in ("on", "never_on"):
            given = getattr(self, name)
            if given is None and name == "on":
                continue
            classes = (given,) if isinstance(given, type) else given
            if not isinstance(classes, Iterable) or isinstance(classes, str):
                raise DefinitionError(f"Retry({name}={given!r}): pass a tuple of exception classes")
            classes = tuple(classes)
            for item in classes:
                if not (isinstance(item, type) and issubclass(item, BaseException)):
                    raise DefinitionError(f"Retry({name}=…) contains {item!r}, which is no exception class")
            object.__setattr__(self, name, classes)

    def policy(self) -> RetryPolicy:
        """The policy as the plan stores it."""
        on = RetryPolicy().on if self.on is None else tuple(qualified(kind) for kind in self.on)
        return RetryPolicy(
            max_attempts=self.max_attempts,
            on=on,
            never_on=tuple(qualified(kind) for kind in self.never_on),
            backoff=float(self.backoff),
            factor=float(self.factor),
            max_backoff=float(self.max_backoff),
            jitter=float(self.jitter),
        )


#: An undo is wanted whatever went wrong with it.
COMPENSATION_RETRY = Retry(max_attempts=6, on=(Exception,), backoff=0.5)
#: Past the pivot there is no way back: about an hour of patience before a person must look.
RETRIABLE_RETRY = Retry(max_attempts=20, on=(Exception,), max_backoff=300.0)
