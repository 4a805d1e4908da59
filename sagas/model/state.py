"""The states of an instance and of its steps, and the table of legal transitions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from sagas.model.limits import Limits


class SagaStatus(StrEnum):
    """The status of an instance. Each comment says who moves it on, and what happens if every process dies in it."""

    PENDING = "pending"  # started, no step completed; the first completion moves it on; the sweep sends again
    RUNNING = "running"  # forward; completions move it on; the sweep takes over dead processes' work
    COMPLETED = "completed"  # final: every step is done
    COMPENSATING = "compensating"  # backward, once running actions have ended; the sweep takes over
    COMPENSATED = "compensated"  # final: every action that was done or in doubt is undone
    FAILED = "failed"  # a person must look: a compensation, a pivot in doubt or a step past the pivot failed

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
    # Only for a stray effect; straight to FAILED where only a person can tell, or nothing undoes it.
    SagaStatus.COMPENSATED: frozenset({SagaStatus.COMPENSATING, SagaStatus.FAILED}),
    # By an operator, who may skip the last step; or for a stray effect.
    SagaStatus.FAILED: frozenset(
        {SagaStatus.RUNNING, SagaStatus.COMPLETED, SagaStatus.COMPENSATING, SagaStatus.COMPENSATED}
    ),
    # For a child saga, which its parent undoes as a unit; straight to COMPENSATED if it has nothing to undo.
    SagaStatus.COMPLETED: frozenset({SagaStatus.COMPENSATING, SagaStatus.COMPENSATED}),
}


class ExecutionStatus(StrEnum):
    """The status of an execution, which is a row: an action, or one round of its compensation. See `StepStatus`."""

    # Only for a delivery: an earlier one of its handler is not done. Whatever ends that one releases it, and so does
    # every look at its run.
    HELD = "held"

    # Dispatched and unclaimed: a claim moves it on, the sweep dispatches again. Or it waits for time, a signal or
    # another saga: the sweep, the sender of the signal, or the end of the other saga moves it on.
    PENDING = "pending"
    RUNNING = "running"  # claimed; its holder moves it on; the sweep voids the claim of a dead holder
    COMPLETED = "completed"  # final: the result is stored
    FAILED = "failed"  # given up, with `doubt` if the effect may exist
    SKIPPED = "skipped"  # never ran: its condition was false, or it was voided; or an operator skipped it


class StepStatus(StrEnum):
    """The status of a step as handles show it: that of its action, or how far it is undone. It is never stored."""

    HELD = "held"
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"


#: Ends of an execution that need no attention: it happened, it was not wanted, or an operator vouches for it.
RESOLVED = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.SKIPPED})


class Holder(StrEnum):
    """The evidence about the process that claimed a row."""

    NONE = "none"  # unclaimed
    ALIVE = "alive"  # no evidence against it
    SILENT = "silent"  # its worker was declared dead for its silence: it may still be acting behind a broken connection
    DEAD = "dead"  # proven: its own worker reports that this execution has ended


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorInfo:
    """A stored error: type, text, traceback, and the step that raised it.

    The type is the qualified name of an exception class, or a `Reason` if the library itself decided.
    """

    type: str
    message: str
    traceback: str = ""
    step: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, "message": self.message, "traceback": self.traceback, "step": self.step}

    def __str__(self) -> str:
        return f"{self.type}: {self.message}"


#: Numbers that fit PostgreSQL's integers.
_ADDRESS = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}")


@dataclass(frozen=True, order=True, slots=True)
class Address:
    """One execution of an instance: round 0 is the action, 1 its compensation, 2 and up later rounds of that."""

    position: int
    branch: int = 0
    round: int = 0

    @property
    def is_action(self) -> bool:
        return self.round == 0

    @property
    def action(self) -> "Address":
        """The address of the action; for an action, the address itself."""
        return Address(self.position, self.branch)

    def __str__(self) -> str:
        return f"{self.position}.{self.branch}.{self.round}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse what `str` wrote. Raises ValueError for any other text in a message."""
        if not isinstance(text, str) or not _ADDRESS.fullmatch(text):
            raise ValueError(f"{text!r:.80} is not the address of an execution")
        position, branch, round_ = (int(part) for part in text.split("."))
        return cls(position, branch, round_)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepEvidence:
    """Facts found with an execution when its row was read. Decisions go by them; saving never writes them."""

    # Columns that its birth or its claim has written, and that no decision changes.
    limits: Limits | None = None  # None: the row is not born yet, and the plan's limits apply
    delivery: str | None = None  # the task id of the message that claimed it
    # Found in other rows.
    worker: str | None = None  # the name of the worker that claimed it last
    holder: Holder = Holder.NONE
    epoch_changed: bool = False  # the database crashed since the dispatch: a claim may have been lost


@dataclass(frozen=True, kw_only=True, slots=True)
class StepState:
    """One execution: a row of ``saga_step``, born when it is dispatched. All but the evidence is stored."""

    address: Address
    name: str
    status: ExecutionStatus = ExecutionStatus.PENDING
    token: UUID | None = None
    attempts: int = 0  # claims that were not parked
    losses: int = 0  # claims whose holder died
    polls: int = 0  # attempts that asked to be polled again, which do not count as failures
    polled_since: datetime | None = None  # when the first of these was claimed
    parked_since: datetime | None = None  # since when it could not be called
    forgiven: int = 0  # attempts before an operator's retry: still shown, but not counted against any limit
    doubt: bool = False
    stray: bool = False
    dispatches: int = 1
    dispatched_at: datetime | None = None  # None: no message was sent
    not_before: datetime | None = None
    claimed_at: datetime | None = None
    first_claimed_at: datetime | None = None
    finished_at: datetime | None = None
    result: Any = None
    error: ErrorInfo | None = None
    evidence: StepEvidence = StepEvidence()

    @property
    def is_live(self) -> bool:
        return self.status in (ExecutionStatus.PENDING, ExecutionStatus.RUNNING)

    @property
    def is_parked(self) -> bool:
        """Whether it waits for a person because it cannot be called; that alone does not turn the saga back."""
        return self.status is ExecutionStatus.FAILED and self.parked_since is not None

    @property
    def failures(self) -> int:
        """Attempts that ended in an error; losses and polls have their own limits."""
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
    """Kinds of message to an instance. Writing one needs no lock on the instance's row."""

    SIGNAL = "signal"  # from outside; kept until a step waits for it
    CANCEL = "cancel"  # requested inside a caller's transaction, or by the parent
    UNDO = "undo"  # to a completed child saga, from its parent
    CHILD = "child"  # to the parent: a child saga has ended
    WAKE = "wake"  # a resource that it waits for may be free


@dataclass(frozen=True, kw_only=True, slots=True)
class Mail:
    """One entry of an instance's inbox. ``payload`` is JSON text, or None."""

    kind: MailKind
    id: int = 0
    name: str = ""
    payload: str | None = None
    by: str = "application"
    seen: bool = False  # it was read before, and kept


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildState:
    """The state of a child saga, as its parent sees it. ``result`` is JSON text."""

    id: UUID
    status: SagaStatus
    error: ErrorInfo | None = None
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which no sweep ran."""

    began: datetime
    ended: datetime | None = None  # None: it has not ended


def pardoned(deadline: datetime, outages: Sequence[Outage], now: datetime) -> datetime:
    """Move a deadline that passed in an outage: the time left when the outage began is left when it has ended."""
    for outage in outages:
        ended = outage.ended or now
        if outage.began <= deadline < ended:
            deadline += ended - outage.began
    return deadline


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceEvidence:
    """Facts found with an instance when its row was locked. Decisions go by them; saving never writes them."""

    inbox: tuple[Mail, ...] = ()  # entries that have not been consumed
    children: tuple[ChildState, ...] = ()
    awaits_lock: bool = False  # others hold a resource that it names, or came before it
    was_granted: bool = False  # it has just been granted the resources that it waited for
    is_superseded: bool = False  # another instance was started with its business key
    outages: tuple[Outage, ...] = ()  # the last one that ended, and one that has not


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceState:
    """One instance with all its executions, in the order of their addresses. All but the evidence is stored."""

    id: UUID
    status: SagaStatus = SagaStatus.PENDING
    error: ErrorInfo | None = None
    stop: Stop | None = None
    deadline: datetime | None = None
    deadline_seconds: float | None = None  # until the first step begins, which turns it into a deadline
    due_at: datetime | None = None
    pending: int = 1
    written: Mapping[str, int] | None = None  # which branch of the current position returned which key
    finished_at: datetime | None = None
    parent: UUID | None = None
    steps: tuple[StepState, ...] = field(default=())
    evidence: InstanceEvidence = InstanceEvidence()

    def at(self, address: Address) -> StepState | None:
        return next((step for step in self.steps if step.address == address), None)

    def actions(self) -> tuple[StepState, ...]:
        return tuple(step for step in self.steps if step.address.is_action)

    def compensations(self) -> tuple[StepState, ...]:
        return tuple(step for step in self.steps if not step.address.is_action)


def child_id(parent: UUID, step: StepState) -> UUID:
    """Return the id of the saga that a step starts; it changes only when a person has the step retried."""
    return uuid5(parent, f"{step.name}:{step.attempts}")
