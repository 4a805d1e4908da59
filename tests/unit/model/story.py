"""The language of the tests of the model: a plan, an instance of it, a clock, and what happens to it.

Every event goes through `decide`, and every state that comes back is held against the database's constraints
and the table of legal transitions, so that no test can pass on a state that could not be saved.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID, uuid4

from sagas.model import (
    Address,
    ChildState,
    Claimed,
    Completed,
    Decision,
    DoubtResolved,
    ErrorInfo,
    Event,
    ExecutionStatus,
    Failed,
    Holder,
    InstanceState,
    Mail,
    MailKind,
    OnTimeout,
    Outage,
    Parked,
    Plan,
    PlanStep,
    Post,
    RetryPolicy,
    RetryRequested,
    SagaStatus,
    Send,
    SkipRequested,
    StepKind,
    StepRole,
    StepState,
    Stop,
    StopKind,
    StopRequested,
    Tick,
    UndoOutcome,
    Verdict,
    child_id,
    decide,
    first,
)
from tests.support.seen import seen
from tests.unit.model.legal import assert_legal

START = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=5)

Described = dict[str, Any]
Lane = Described | Sequence[Described]


def act(position: int, branch: int = 0) -> Address:
    """The action of a step."""
    return Address(position, branch)


def undo(position: int, round_: int = 1, branch: int = 0) -> Address:
    """A round of the compensation of a step."""
    return Address(position, branch, round_)


def step(**options: Any) -> Described:
    """A compensatable step that is tried once, unless ``retry`` says more."""
    return options


def pivot(**options: Any) -> Described:
    return {"kind": StepKind.PIVOT, "compensation": None, **options}


def retriable(**options: Any) -> Described:
    return {"kind": StepKind.RETRIABLE, "compensation": None, **options}


def sleep(seconds: float, **options: Any) -> Described:
    return {"role": StepRole.SLEEP, "task": None, "compensation": None, "seconds": seconds, **options}


def wait(signal: str = "approved", seconds: float = 3600.0, *, then: str = "compensate", **options: Any) -> Described:
    """Wait for a signal; ``then`` says what follows when it does not come."""
    waits = {"role": StepRole.WAIT, "signal": signal, "on_timeout": OnTimeout(then)}
    return sleep(seconds) | waits | options


def child(*steps: Described, **options: Any) -> Described:
    """A step that starts another saga, of one step unless they are given."""
    other = plan_of(*(steps or [step()]), saga="child")
    return {"role": StepRole.CHILD, "task": None, "compensation": None, "child": other, **options}


def beside(*lanes: Lane, **for_all: Any) -> list[list[Described]]:
    """Lanes of one or several steps side by side."""
    return [[for_all | one for one in ([lane] if isinstance(lane, dict) else lane)] for lane in lanes]


def tries(attempts: int, **options: Any) -> RetryPolicy:
    return RetryPolicy(max_attempts=attempts, **{"backoff": 1.0, "jitter": 0.0, **options})


def plan_of(*steps: Described | list[list[Described]], **options: Any) -> Plan:
    """A plan of what `step`, `pivot`, `retriable`, `beside` and the others describe."""
    made: list[PlanStep] = []
    for position, described in enumerate(steps):
        lanes = [[described]] if isinstance(described, dict) else described
        placed = [(lane, number, one) for lane, those in enumerate(lanes) for number, one in enumerate(those)]
        for branch, (lane, number, one) in enumerate(placed):
            where = f"{position}{'abcdefgh'[lane]}{number or ''}" if len(lanes) > 1 else str(position)
            usual = {
                "position": position,
                "branch": branch,
                "lane": lane,
                "name": f"step{where}",
                "task": f"do{where}",
                "compensation": f"undo{where}",
                "retry": tries(1),
                "compensation_retry": tries(1, on=("builtins.Exception",)),
            }
            made.append(PlanStep(**usual | one))
    return Plan(**{"saga": "order", "version": 1, **options}, steps=tuple(made))


def error(text: str = "no") -> ErrorInfo:
    return ErrorInfo(type="shop.Refused", message=text, traceback="Traceback …", step="some step")


class Story:
    """One instance and what happens to it. The last decision is ``said``; all notes are in ``notes``."""

    def __init__(
        self,
        *steps: Described | list[list[Described]],
        plan: Plan | None = None,
        deadline: timedelta | None = None,
        parent: UUID | None = None,
        awaits_lock: bool = False,
        **options: Any,
    ) -> None:
        self.plan = plan or plan_of(*steps, **options)
        self.now = START
        self.mails = 0
        self.posts: list[Post] = []
        empty = InstanceState(id=uuid4(), deadline=START + deadline if deadline else None, parent=parent)
        self.said = first(self.plan, self.now, seen(empty, awaits_lock=awaits_lock), lease=LEASE)
        self.state = self.said.state
        self.notes = list(self.said.notes)
        if not self.plan.begins_at_once:
            self.tick()  # as whoever started it does after the commit

    # -- what happens

    def happens(self, event: Event) -> Decision:
        before = self.state
        self.said = decide(self.plan, before, event, self.now, lease=LEASE)
        assert_legal(self.plan, before, self.said, self.now, looked=isinstance(event, Tick))
        self.state = self.reloaded(self.said.state)
        self.notes += self.said.notes
        self.posts += self.said.posts
        return self.said

    def reloaded(self, state: InstanceState) -> InstanceState:
        """Evidence is gathered anew with every load; what a decision left of the last one is not stored."""
        fresh = (
            seen(
                it,
                holder=Holder.ALIVE if it.status is ExecutionStatus.RUNNING else Holder.NONE,
                epoch_changed=False,
            )
            for it in state.steps
        )
        found = state.evidence
        unread = tuple(replace(mail, seen=True) for mail in found.inbox if mail.id not in self.said.consumed)
        lasting = () if any(outage.ended is None for outage in found.outages) else found.outages
        return seen(state, steps=tuple(fresh), inbox=unread, outages=lasting, was_granted=False)

    def later(self, seconds: float = 1.0) -> Self:
        self.now += timedelta(seconds=seconds)
        return self

    def evidence(self, address: Address, **found: Any) -> Self:
        """What the next event will find out about an execution: `holder`, `dispatched_at`, `epoch_changed`."""
        steps = tuple(seen(it, **found) if it.address == address else it for it in self.state.steps)
        self.state = replace(self.state, steps=steps)
        return self

    def outage(self, seconds: float, *, lasts: bool = False) -> Self:
        """No sweep ran for so long, until now; or it is not over."""
        outage = Outage(self.now - timedelta(seconds=seconds), None if lasts else self.now)
        self.state = seen(self.state, outages=(outage,))
        return self

    def tick(self) -> Decision:
        return self.happens(Tick())

    def claim(self, address: Address) -> UUID:
        """Claim what must be free to claim; a second later than what happened before."""
        self.later()
        token = uuid4()
        assert self.happens(Claimed(address=address, token=token)).accepted, f"{address} could not be claimed"
        return token

    def is_claimable(self, address: Address) -> bool:
        """Would a claim be accepted? Asks only."""
        return decide(self.plan, self.state, Claimed(address=address, token=uuid4()), self.now).accepted

    def complete(self, address: Address, token: UUID, result: Any = None, **more: Any) -> Decision:
        return self.happens(Completed(address=address, token=token, result=result, **more))

    def fail(self, address: Address, token: UUID, verdict: Verdict = Verdict.CLEAN_NO, **more: Any) -> Decision:
        return self.happens(Failed(address=address, token=token, verdict=verdict, **{"error": error(), **more}))

    def park(self, address: Address, token: UUID, **more: Any) -> Decision:
        return self.happens(Parked(address=address, token=token, **{"error": error("does not fit"), **more}))

    def lose(self, address: Address, holder: Holder = Holder.DEAD) -> Decision:
        """A sweep finds out that its holder is dead."""
        return self.evidence(address, holder=holder).tick()

    def crash(self, address: Address, before_the_claim: InstanceState) -> Self:
        """The database crashes: it forgets an unsynced claim, and knows that it may have."""
        self.state = before_the_claim
        return self.evidence(address, epoch_changed=True)

    def cancel(self, reason: str = "changed mind") -> Decision:
        return self.happens(StopRequested(stop=Stop(kind=StopKind.CANCELLED, reason=reason)))

    def arrives(self, kind: MailKind, name: str = "", payload: str | None = None) -> Self:
        """Something is in the inbox; nobody has looked yet."""
        self.mails += 1
        mail = Mail(kind=kind, id=self.mails, name=name, payload=payload, by="maria")
        self.state = seen(self.state, inbox=(*self.state.evidence.inbox, mail))
        return self

    def signal(self, name: str = "approved", payload: str | None = None) -> Decision:
        return self.arrives(MailKind.SIGNAL, name, payload).tick()

    def knows_child(self, address: Address, status: SagaStatus, **more: Any) -> Self:
        """How the child saga of a step stands: what the next event will find."""
        known = ChildState(id=self.child_of(address), status=status, **more)
        others = (it for it in self.state.evidence.children if it.id != known.id)
        self.state = seen(self.state, children=(*others, known))
        return self

    def child_is(self, address: Address, status: SagaStatus, **more: Any) -> Decision:
        """The child saga of a step has got so far, and tells."""
        return self.knows_child(address, status, **more).arrives(MailKind.CHILD).tick()

    def child_of(self, address: Address) -> UUID:
        return child_id(self.state.id, self.row(address.action))

    def is_granted(self) -> Decision:
        """What it names is free, and the loop has taken it."""
        return self.granted().arrives(MailKind.WAKE).tick()

    def granted(self) -> Self:
        """What the next event finds."""
        waits = self.state.evidence.awaits_lock and self.state.status.is_forward
        still_waits = self.state.evidence.awaits_lock and not waits
        self.state = seen(self.state, awaits_lock=still_waits, was_granted=waits)
        return self

    def is_full(self) -> Self:
        """Others have taken its place under the limit of its saga, and the loop has put it into the line again."""
        self.state = seen(self.state, awaits_lock=True)
        return self

    def retry(self) -> Decision:
        return self.happens(RetryRequested(reason="repaired"))

    def skip(self, step: str | None = None, result: Any = None, *, undone: bool = False) -> Decision:
        event = SkipRequested(reason="done by hand", step=step, result=result, undone=undone, by="maria")
        return self.happens(event)

    def resolve(self, step: str | None = None, *, happened: bool, result: Any = None, undo: bool = True) -> Decision:
        """A person has found out whether an action in doubt happened."""
        event = DoubtResolved(step=step, happened=happened, result=result, undo=undo, reason="asked the bank")
        return self.happens(event)

    # -- several at once

    def done(self, *addresses: Address) -> Self:
        for address in addresses:
            self.complete(address, self.claim(address))
        return self

    def skipped(self, *addresses: Address) -> Self:
        """Their conditions are false."""
        for address in addresses:
            self.complete(address, self.claim(address), skipped=True)
        return self

    def undone_as(self, outcome: UndoOutcome, address: Address) -> Self:
        """A compensation says how far it got."""
        self.complete(address, self.claim(address), outcome=outcome)
        return self

    def refused(self, address: Address) -> Self:
        """It says a clean no, and the error callback asks what follows."""
        self.fail(address, self.claim(address), Verdict.CLEAN_NO)
        self.tick()
        return self

    # -- what came of it

    @property
    def status(self) -> SagaStatus:
        return self.state.status

    @property
    def sent(self) -> list[Address]:
        """What the last decision sends."""
        return [send.address for send in self.sends]

    @property
    def sends(self) -> tuple[Send, ...]:
        return self.said.sends

    def row(self, address: Address) -> StepState:
        found = self.state.at(address)
        assert found is not None, f"there is no row {address}"
        return found

    def due_in(self) -> float:
        assert self.state.due_at is not None
        return (self.state.due_at - self.now).total_seconds()

    def noted(self, event: str) -> list[dict[str, Any]]:
        return [note.detail for note in self.notes if note.event == event]

    def undone(self) -> list[Address]:
        """The compensations that completed, in the order of their claims."""
        rows = [it for it in self.state.compensations() if it.status is ExecutionStatus.COMPLETED]
        return [it.address for it in sorted(rows, key=lambda it: it.first_claimed_at or START)]
