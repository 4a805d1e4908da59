"""The results of `decide`: a new state to save, executions to send, entries for the history."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sagas.model.state import Address, InstanceState, Mail
from sagas.model.vocabulary import HistoryEvent


@dataclass(frozen=True, kw_only=True, slots=True)
class Send:
    """Send the message of one execution, after ``countdown`` seconds (a few at most)."""

    address: Address
    countdown: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """An entry of the append-only history: facts that cannot be read off the rows."""

    event: HistoryEvent
    address: Address | None = None
    step: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    at: datetime | None = None  # when it happened, for a fact that a row held until now; None: now


@dataclass(frozen=True, kw_only=True, slots=True)
class StartChild:
    """Insert the child saga of a step, in the same transaction."""

    address: Address
    id: UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class Post:
    """Put an entry into another instance's inbox, in the same transaction; its row is not locked for that."""

    to: UUID
    mail: Mail


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The answer of `decide`: a value; another module performs it."""

    state: InstanceState
    sends: tuple[Send, ...] = ()
    notes: tuple[Note, ...] = ()
    children: tuple[StartChild, ...] = ()
    posts: tuple[Post, ...] = ()
    consumed: frozenset[int] = frozenset()  # entries of the inbox that have had their effect
    stops: tuple[Address, ...] = ()  # running actions whose workers are told to stop
    accepted: bool = True  # False: the reporting execution no longer held its claim
