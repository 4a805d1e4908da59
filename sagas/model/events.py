"""What can happen to an instance. Everything enters `decide` as one of these values."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from sagas.model.retry import Verdict
from sagas.model.state import Address, ErrorInfo, Stop


class Outcome(StrEnum):
    """How far a compensation got, as it says itself."""

    FULL = "full"
    PARTIAL = "partial"  # as far as it can be undone; what is left stays
    MANUAL = "manual"  # a person has to do it


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """Somebody asks what is to be done now: the sweep, an error callback, a message that found no work.

    ``after_outage``: nobody could do anything for a while, so a deadline that passed meanwhile gets one more chance.
    """

    after_outage: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """A worker takes an execution. The claim statement is this event compiled to SQL."""

    address: Address
    token: UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """An execution returned. The complete statement is this event compiled to SQL for the happy path.

    ``keys`` are the names in the result, where branches run side by side that may not write the same. ``skipped``
    says that the step's condition was false. ``outcome`` is what a compensation says of itself. ``rolled_back`` says
    that its effect is gone again: without its claim it is not even late.
    """

    address: Address
    token: UUID
    result: Any = None
    keys: tuple[str, ...] = ()
    skipped: bool = False
    rolled_back: bool = False
    outcome: Outcome = Outcome.FULL


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """An execution raised. ``dice`` in [0, 1) is the jitter; ``retry_after`` seconds, when the service named it."""

    address: Address
    token: UUID
    error: ErrorInfo
    verdict: Verdict
    dice: float = 0.0
    retry_after: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked:
    """A claimed execution could not even be called (its parameters do not fit): it waits, uncounted."""

    address: Address
    token: UUID
    error: ErrorInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Misdelivered:
    """A worker got the message of an execution whose task it does not know, and could only drop it.

    ``task`` is what the message called it; None: nobody has looked.
    """

    address: Address
    error: ErrorInfo
    task: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StopRequested:
    """A cancel."""

    stop: Stop
    by: str = "application"


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryRequested:
    """An operator wants a failed instance to go on."""

    reason: str
    by: str = "operator"


@dataclass(frozen=True, kw_only=True, slots=True)
class SkipRequested:
    """An operator vouches for what a failed instance is stuck at: it counts as done from here on.

    ``step`` names it, and may be None where there is only one; ``result`` stands in for what it would have returned.
    ``undone`` says that it was undone by hand, which only a compensation can be.
    """

    reason: str
    step: str | None = None
    result: Any = None
    undone: bool = False
    by: str = "operator"


Event = Tick | Claimed | Completed | Failed | Parked | Misdelivered | StopRequested | RetryRequested | SkipRequested
