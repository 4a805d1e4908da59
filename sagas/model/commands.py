"""What `decide` wants done: a new state to save, executions to send, entries for the history."""

from dataclasses import dataclass, field
from typing import Any

from sagas.model.state import Address, InstanceState


@dataclass(frozen=True, kw_only=True, slots=True)
class Send:
    """Send the message of one execution, after ``countdown`` seconds (a few at most)."""

    address: Address
    countdown: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """An entry of the append-only history: what cannot be read off the rows."""

    event: str
    address: Address | None = None
    step: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The answer of `decide`: a value; another module performs it."""

    state: InstanceState
    sends: tuple[Send, ...] = ()
    notes: tuple[Note, ...] = ()
    accepted: bool = True  # False: the reporting execution no longer held its claim
