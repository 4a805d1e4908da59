"""The state of an instance and of its steps, and the one table of legal transitions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from sagas.model.limits import Limits


class SagaStatus(StrEnum):
    """Where an instance stands. Each line: who moves it on; what if everything dies in it."""

    PENDING = "pending"  # started, nothing completed yet; the first completion moves it on; the sweep sends again
    RUNNING = "running"  # forward; completions move it on; the sweep takes over what died
    COMPLETED = "completed"  # final: every step done
    COMPENSATING = "compensating"  # backward, after the draining of what still runs; the sweep takes over
    COMPENSATED = "compensated"  # final: everything done or in doubt was undone
    FAILED = "failed"  # a person must look: an undo, a pivot in doubt or a step past the pivot would not succeed

    @property
    def is_forward(self) -> bool:
        return self in FORWARD

    @property
    def is_final(self) -> bool:
        return self in FINAL


FORWARD = frozenset({SagaStatus.PENDING, SagaStatus.RUNNING})
FINAL = frozenset({SagaStatus.COMPLETED, SagaStatus.COMPENSATED, SagaStatus.FAILED})

#: Every legal change of an instance's status; code and documentation share it.
TRANSITIONS: dict[SagaStatus, frozenset[SagaStatus]] = {
    SagaStatus.PENDING: frozenset(
        {
            SagaStatus.RUNNING,
            SagaStatus.COMPLETED,
            SagaStatus.COMPENSATING,
            SagaStatus.COMPENSATED,
            SagaStatus.FAILED,
        }
    ),
    SagaStatus.RUNNING: frozenset(
        {SagaStatus.COMPLETED, SagaStatus.COMPENSATING, SagaStatus.COMPENSATED, SagaStatus.FAILED}
    ),
    SagaStatus.COMPENSATING: frozenset({SagaStatus.COMPENSATED, SagaStatus.FAILED}),
    # A stray effect only; at once to a person, where only a person can tell whether it happened.
    SagaStatus.COMPENSATED: frozenset({SagaStatus.COMPENSATING, SagaStatus.FAILED}),
    # An operator, who may skip what was last; or a stray effect.
    SagaStatus.FAILED: frozenset(
        {SagaStatus.RUNNING, SagaStatus.COMPLETED, SagaStatus.COMPENSATING, SagaStatus.COMPENSATED}
    ),
    # As a child saga, which its parent undoes as one unit; at once where it has nothing to undo.
    SagaStatus.COMPLETED: frozenset({SagaStatus.COMPENSATING, SagaStatus.COMPENSATED}),
}


class StepStatus(StrEnum):
    """Where a step stands. A stored row is one *execution* (an action, or one round of its compensation) and
    uses the first five; `compensating` and `compensated` are how an undone step reads from outside.
    """

    # Dispatched and unclaimed: a claim moves it on, the sweep dispatches again. Or it waits for time, a signal or
    # another saga: the sweep moves it on, or whoever sends the signal, or the other saga's end.
    PENDING = "pending"
    RUNNING = "running"  # claimed; its holder moves it on; the sweep voids a dead holder's claim
    COMPLETED = "completed"  # final: the result is stored
    FAILED = "failed"  # given up, with `doubt` when the effect may exist
    SKIPPED = "skipped"  # never ran: its condition was false, or it was voided; or an operator vouched for it
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"


#: How an execution ends that nobody has to look at: it happened, or it was not wanted, or a person vouches for it.
RESOLVED = frozenset({StepStatus.COMPLETED, StepStatus.SKIPPED})


class Holder(StrEnum):
    """What is known of the process that claimed a row (evidence, never stored)."""

    NONE = "none"  # nobody holds it
    ALIVE = "alive"  # nothing speaks against it
    SILENT = "silent"  # its worker was declared dead for silence: it may still be acting behind a cut cable
    DEAD = "dead"  # proven: its own worker reports that this execution is over


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorInfo:
    """An error as it is kept: type, text, traceback, and the step that raised it.

    The type is the qualified name of an exception class, or a `Reason` where the library itself decided.
    """

    type: str
    message: str
    traceback: str = ""
    step: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, "message": self.message, "traceback": self.traceback, "step": self.step}

    def __str__(self) -> str:
        return f"{self.type}: {self.message}"


#: As PostgreSQL's integers can hold them.
_ADDRESS = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}")


@dataclass(frozen=True, order=True, slots=True)
class Address:
    """Which execution of an instance: round 0 is the action, 1 its compensation, 2 and up later rounds of it."""

    position: int
    branch: int = 0
    round: int = 0

    @property
    def is_action(self) -> bool:
        return self.round == 0

    @property
    def action(self) -> "Address":
        """That of the action which it undoes; its own, if it is one."""
        return Address(self.position, self.branch)

    def __str__(self) -> str:
        return f"{self.position}.{self.branch}.{self.round}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """The address that `str` has written. Raises ValueError for whatever else stands in a message."""
        if not isinstance(text, str) or not _ADDRESS.fullmatch(text):
            raise ValueError(f"{text!r:.80} is no address of an execution")
        position, branch, round_ = (int(part) for part in text.split("."))
        return cls(position, branch, round_)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepState:
    """One execution: a row of ``saga_step``, born when it is dispatched."""

    address: Address
    name: str
    status: StepStatus = StepStatus.PENDING
    token: UUID | None = None
    attempts: int = 0  # claims that were not parked
    losses: int = 0  # claims whose holder died
    polls: int = 0  # attempts that asked to come again, and use up none
    polled_since: datetime | None = None  # when the first of these was claimed
    parked_since: datetime | None = None  # since when it cannot be called
    forgiven: int = 0  # attempts before a person let it try again: told, and no part of any budget
    doubt: bool = False
    stray: bool = False
    dispatches: int = 1
    dispatched_at: datetime | None = None  # None: nothing was sent
    not_before: datetime | None = None
    claimed_at: datetime | None = None
    first_claimed_at: datetime | None = None
    finished_at: datetime | None = None
    result: Any = None
    error: ErrorInfo | None = None
    # What its row was born with, or its claim has written; never stored from here.
    limits: Limits | None = None  # None: its row is not born yet, and the plan has to do
    delivery: str | None = None  # the task id of the message that claimed it
    # Evidence gathered with the row; never stored.
    holder: Holder = Holder.NONE
    worker: str | None = None  # the name of the one that claimed it last
    epoch_changed: bool = False  # the database crashed since the dispatch: a claim may have been lost

    @property
    def is_live(self) -> bool:
        return self.status in (StepStatus.PENDING, StepStatus.RUNNING)

    @property
    def is_parked(self) -> bool:
        """It waits for a person since it cannot be called: nobody has said no, and nothing turns back by that."""
        return self.status is StepStatus.FAILED and self.parked_since is not None

    @property
    def failures(self) -> int:
        """Attempts that ended in an error; losses and polls have limits of their own."""
        return self.attempts - self.forgiven - self.losses - self.polls


class StopKind(StrEnum):
    CANCELLED = "cancelled"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """A recorded wish to end forward work: a cancel or a passed deadline."""

    kind: StopKind
    reason: str

    def to_json(self) -> dict[str, str]:
        return {"kind": self.kind.value, "reason": self.reason}


class MailKind(StrEnum):
    """What others have to say to an instance. Whoever writes it needs no lock on the instance's row."""

    SIGNAL = "signal"  # from outside; kept until a step waits for it
    CANCEL = "cancel"  # asked for inside somebody's transaction, or by the parent
    UNDO = "undo"  # to a completed child saga, by its parent
    CHILD = "child"  # to the parent: a child saga has ended
    WAKE = "wake"  # what it waits for may be free


@dataclass(frozen=True, kw_only=True, slots=True)
class Mail:
    """One entry of an instance's inbox. ``payload`` is JSON text, or None."""

    kind: MailKind
    id: int = 0
    name: str = ""
    payload: str | None = None
    by: str = "application"
    seen: bool = False  # somebody has looked at it before, and kept it


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildState:
    """How a child saga stands, as its parent sees it (evidence, never stored). ``result`` is JSON text."""

    id: UUID
    status: SagaStatus
    error: ErrorInfo | None = None
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which no sweep ran, so that nobody could do anything (evidence, never stored with an instance)."""

    began: datetime
    ended: datetime | None = None  # None: it lasts


def pardoned(deadline: datetime, outages: Sequence[Outage], now: datetime) -> datetime:
    """A deadline that passed in an outage: what was left of it when that began is left when it has ended."""
    for outage in outages:
        ended = outage.ended or now
        if outage.began <= deadline < ended:
            deadline += ended - outage.began
    return deadline


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceState:
    """One instance with all its executions, in the order of their addresses."""

    id: UUID
    status: SagaStatus = SagaStatus.PENDING
    error: ErrorInfo | None = None
    stop: Stop | None = None
    deadline: datetime | None = None
    deadline_seconds: float | None = None  # until the first step began, which makes it a deadline
    due_at: datetime | None = None
    pending: int = 1
    written: Mapping[str, int] | None = None  # which branch of the current position returned which key
    finished_at: datetime | None = None
    parent: UUID | None = None
    steps: tuple[StepState, ...] = field(default=())
    # Evidence gathered with the row; never stored with it.
    inbox: tuple[Mail, ...] = ()  # what has not been consumed
    children: tuple[ChildState, ...] = ()
    awaits_lock: bool = False  # others hold what it names, or came before it
    was_granted: bool = False  # it had to wait for that until now
    is_superseded: bool = False  # another one was started with its business key
    outages: tuple[Outage, ...] = ()  # the last that ended, and one that lasts

    def at(self, address: Address) -> StepState | None:
        return next((step for step in self.steps if step.address == address), None)

    def actions(self) -> tuple[StepState, ...]:
        return tuple(step for step in self.steps if step.address.is_action)

    def compensations(self) -> tuple[StepState, ...]:
        return tuple(step for step in self.steps if not step.address.is_action)


def child_id(parent: UUID, step: StepState) -> UUID:
    """The id of the saga that a step starts; another one only when a person has it tried again."""
    return uuid5(parent, f"{step.name}:{step.attempts}")
