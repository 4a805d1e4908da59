"""The events that can happen to a run: those of any instance, and its own."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sagas.model.choreography.state import Published
from sagas.model.events import (
    Claimed,
    Completed,
    Ended,
    Failed,
    Misdelivered,
    Parked,
    StopRequested,
    Tick,
)
from sagas.model.state import Address


@dataclass(frozen=True, kw_only=True, slots=True)
class Handled(Completed):
    """A delivery returned, with the events that it publishes."""

    published: tuple[Published, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PutOff:
    """A claimed delivery did not begin, since its handler is paused."""

    address: Address
    token: UUID
    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """Another payload for one delivery; its event stays as it is."""

    payload: str  # as it is stored
    fields: tuple[str, ...] = ()  # the names of those that differ
    vouched: bool = False  # the person says that the delivery, which is in doubt, has not happened


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayRequested:
    """A person has a dead letter delivered again, perhaps with another payload.

    ``seen`` is its ``dead_at`` as the person saw it.
    """

    address: Address
    seen: datetime
    reason: str
    by: str = "operator"
    edit: Edit | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LetterSkipped:
    """A person lets a dead letter go: later events pass, and an undo counts as done by hand."""

    address: Address
    seen: datetime
    reason: str
    by: str = "operator"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryRequested:
    """A person has a late event delivered to one handler, once.

    ``seen`` is since when it is a letter, as the person saw it. ``takes`` says that the code at hand declares the
    handler for events of this type, even if it does not hear them.
    """

    number: int
    handler: str
    seen: datetime
    reason: str
    by: str = "operator"
    takes: bool = False


RunEvent = (
    Tick
    | Claimed
    | Completed
    | Handled
    | Failed
    | Ended
    | Parked
    | Misdelivered
    | PutOff
    | StopRequested
    | ReplayRequested
    | LetterSkipped
    | DeliveryRequested
)
