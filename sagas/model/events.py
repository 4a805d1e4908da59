"""The events that can happen to an instance: everything enters `decide` as one of these values."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from sagas.model.retry import Verdict
from sagas.model.state import Address, ErrorInfo, Stop


class UndoOutcome(StrEnum):
    """How far a compensation got, as it reports itself."""

    FULL = "full"
    PARTIAL = "partial"  # as far as it can be undone; the rest stays
    MANUAL = "manual"  # a person has to do it

    @classmethod
    def of(cls, value: Any) -> Self:
        """Read the outcome off a compensation's return value: the word, or a dict with the word under ``outcome``."""
        outcome = value.get("outcome") if isinstance(value, Mapping) else value
        return cls(outcome) if outcome in ("full", "partial", "manual") else cls("full")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A question about what is to be done now: from the sweep, an error callback, or a message that found no work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """A worker takes an execution. The claim statement is this event compiled to SQL."""

    address: Address
    token: UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """An execution returned. The complete statement is this event compiled to SQL for the happy path.

    ``keys`` are the names in the result, where parallel branches must not return the same name. ``skipped`` says that
    the step's condition was false. ``outcome`` is what a compensation reports. ``rolled_back`` says that its effect is
    gone again: without its claim it is not even a late success.
    """

    address: Address
    token: UUID
    result: Any = None
    keys: tuple[str, ...] = ()
    skipped: bool = False
    rolled_back: bool = False
    outcome: UndoOutcome = UndoOutcome.FULL


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A body asked to be tried again, after ``wait`` seconds (None: the policy's delay).

    ``polls``: again and again, within the step's ``poll_for``; it does not count as a failure.
    """

    wait: float | None = None
    polls: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """An execution raised. ``dice`` in [0, 1) is the jitter; ``retry_after`` is in seconds, if the service named it.

    ``unheard`` says that its process ends with it: no error callback will follow.
    """

    address: Address
    token: UUID
    error: ErrorInfo
    verdict: Verdict
    dice: float = 0.0
    retry_after: float = 0.0
    asked: Asked | None = None
    unheard: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The worker ended an execution, named by its ``delivery``, and reports why: its time was over, or a person stopped
    it. Nothing of it still runs.
    """

    delivery: str
    error: ErrorInfo
    verdict: Verdict
    dice: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked:
    """A claimed execution could not be called (its parameters do not fit): it waits, and no attempt is counted.

    ``lacks_result``: a compensation has a parameter that only its action's result could provide. ``for_good``: the
    saga's data lacks a value that the code it was started by requires, so no deploy will cure it.
    """

    address: Address
    token: UUID
    error: ErrorInfo
    lacks_result: bool = False
    for_good: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Misdelivered:
    """A worker got the message of an execution whose task it does not know, and could only drop it.

    ``task`` is the name in the message; None: not checked.
    """

    address: Address
    error: ErrorInfo
    task: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StopRequested:
    """A cancel was requested."""

    stop: Stop
    by: str = "application"


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryRequested:
    """An operator asks for a failed instance to go on."""

    reason: str
    by: str = "operator"


@dataclass(frozen=True, kw_only=True, slots=True)
class SkipRequested:
    """An operator vouches for the step at which a failed instance is stuck: it counts as done from here on.

    ``step`` names it, and may be None if there is only one; ``result`` stands in for its return value. ``undone`` says
    that it was undone by hand, which only applies to a compensation.
    """

    reason: str
    step: str | None = None
    result: Any = None
    undone: bool = False
    by: str = "operator"


@dataclass(frozen=True, kw_only=True, slots=True)
class DoubtResolved:
    """A person has found out whether an action in doubt happened.

    ``result`` stands in for its return value. ``undo`` says that what happened is to be undone now, if the saga has
    turned back; otherwise a person has done that too.
    """

    happened: bool
    reason: str
    step: str | None = None
    result: Any = None
    undo: bool = True
    by: str = "operator"


Event = (
    Tick
    | Claimed
    | Completed
    | Failed
    | Ended
    | Parked
    | Misdelivered
    | StopRequested
    | RetryRequested
    | SkipRequested
    | DoubtResolved
)
