"""What can happen to an instance. Everything enters `decide` as one of these values."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from sagas.model.retry import Verdict
from sagas.model.state import Address, ErrorInfo, Stop


class Outcome(StrEnum):
    """How far a compensation got, as it says itself."""

    FULL = "full"
    PARTIAL = "partial"  # as far as it can be undone; what is left stays
    MANUAL = "manual"  # a person has to do it

    @classmethod
    def of(cls, value: Any) -> Self:
        """What a compensation says of itself: it returns the word, or a dict that has it under ``outcome``."""
        said = value.get("outcome") if isinstance(value, Mapping) else value
        return cls(said) if said in ("full", "partial", "manual") else cls("full")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """Somebody asks what is to be done now: the sweep, an error callback, a message that found no work."""


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
class Asked:
    """A body asked to be tried again, after ``wait`` seconds (None: as the policy says).

    ``polls``: for as long as it takes, within the step's ``poll_for``; it uses up no attempt.
    """

    wait: float | None = None
    polls: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """An execution raised. ``dice`` in [0, 1) is the jitter; ``retry_after`` seconds, when the service named it.

    ``unheard`` says that its process ends with it: no error callback will ask what follows.
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
    """The worker has ended an execution, named by its ``delivery``, and reports why: its time was over, or a person
    has stopped it. Nothing of it runs any more.
    """

    delivery: str
    error: ErrorInfo
    verdict: Verdict
    dice: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked:
    """A claimed execution could not even be called (its parameters do not fit): it waits, uncounted.

    ``lacks_result``: of a compensation, a parameter that only its action's result could have given. ``for_good``: the
    saga's data lacks what the code asks for by which it was started, so that no deploy is on its way.
    """

    address: Address
    token: UUID
    error: ErrorInfo
    lacks_result: bool = False
    for_good: bool = False


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


@dataclass(frozen=True, kw_only=True, slots=True)
class DoubtResolved:
    """A person has found out whether an action in doubt happened.

    ``result`` stands in for what it would have returned. ``undo`` says that what happened is to be undone now, where
    the saga has turned back; else a person has done that too.
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
