"""The state of a choreographed run: an instance whose executions are deliveries, and its numbered events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sagas.model.commands import Decision
from sagas.model.state import InstanceEvidence, InstanceState, StepEvidence, StepState

#: Events that one look numbers at most, so that a flooded run starves no other.
NUMBERED_AT_ONCE = 100
#: An event that is so many causes away from its run's beginning goes round in a loop.
LONGEST_CHAIN = 100


class Letter(StrEnum):
    """Why an event was recorded and delivered to no handler. A person has to look, except at a muted one."""

    EARLY = "early"  # its run does not exist, and has not come in time
    LATE = "late"  # its run had ended, or had turned back
    TOO_MANY = "too many"  # its run has had as many events as its choreography allows
    LOOP = "loop"  # see `LONGEST_CHAIN`
    MUTED = "muted"  # the handler that returned it was closed while it ran, and is undone


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """An event. ``payload`` is JSON text; None: the library publishes it, and fills it from the run's first event."""

    id: UUID
    type: str
    version: int = 1
    payload: str | None = None
    cause: int | None = None  # the number of the event that its publisher reacted to; None: it is from outside
    depth: int = 0  # how many causes it is away from an event from outside
    caused_by: str | None = None  # what published it, if that was not a handler of its run: a step's idempotency key


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrived(Published):
    """An event in the run's inbox that has no number yet."""

    row: int
    by_key: bool = False  # it was published for the run of a key, which may not have been started then
    after_late: bool = False  # its publisher reacted to a late event


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbered:
    """The number that an event of the inbox gets: its place in the run, for good."""

    row: int
    number: int
    letter: Letter | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """An event to insert, in the same transaction. ``number`` is None if others wait for theirs, or it is muted."""

    event: Published
    number: int | None = None
    letter: Letter | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryEvidence(StepEvidence):
    """Facts found with a delivery."""

    is_late: bool = False  # of an action: its event came after the end, and a person has it delivered


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery(StepState):
    """One event for one handler: a row of ``saga_step`` at the event's number and the handler's place.

    Round 0 is the handler's action, and later rounds undo it.
    """

    event: UUID  # the id of the event
    dead_at: datetime | None = None  # since when it is a dead letter
    edits: int = 0  # how often a person has given it another payload, each of which has a key of its own
    input: str | None = None  # such a payload, to be stored with it; never loaded
    evidence: DeliveryEvidence = DeliveryEvidence()


@dataclass(frozen=True, kw_only=True, slots=True)
class LateEvent:
    """A late event that no person has answered."""

    number: int
    id: UUID
    type: str
    since: datetime  # when it became a letter


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEvidence(InstanceEvidence):
    """Facts found with a run."""

    arrived: tuple[Arrived, ...] = ()  # the first events without a number
    has_more: bool = False  # there are further ones
    late_event: LateEvent | None = None  # that the event is about, if no person has answered it
    is_whole: bool = True  # False: completed deliveries are left out, except the one that the event is about


@dataclass(frozen=True, kw_only=True, slots=True)
class RunState(InstanceState):
    """One run with its deliveries, or those of them that a decision needs."""

    numbered: int = 0  # how many events have a number
    closed: Mapping[str, int] = field(default_factory=dict)  # handlers that begin nothing any more, by what closed them
    ended_by: int | None = None  # the number of the first event that ends or refuses
    turned_at: datetime | None = None
    came: frozenset[str] = frozenset()  # the awaited types of which an event has come
    quiet_from: datetime | None = None  # from when on it is quiet, if nothing happens; None: it moves, or has ended
    quiet_at: datetime | None = None  # when that was announced, once a run
    evidence: RunEvidence = RunEvidence()


@dataclass(frozen=True, kw_only=True, slots=True)
class RunDecision(Decision):
    """The answer of `decide_run`: a value; another module performs it."""

    state: RunState
    numbered: tuple[Numbered, ...] = ()
    published: tuple[Recorded, ...] = ()
    needs_whole: bool = False  # to be asked again with all deliveries: something may have to be undone
    refusal: str | None = None  # why a person's wish was not accepted
    answered: int | None = None  # the number of a late event that is delivered
