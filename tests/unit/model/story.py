"""The language of the tests of the model: a plan, an instance of it, a clock, and what happens to it.

Every event goes through `decide`, and every state that comes back is held against the database's constraints
and the table of legal transitions, so that no test can pass on a state that could not be saved.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

import sagas.store
from sagas.model import (
    FINAL,
    TRANSITIONS,
    Address,
    Claimed,
    Completed,
    Decision,
    ErrorInfo,
    Event,
    Failed,
    Holder,
    InstanceState,
    Parked,
    Plan,
    PlanStep,
    RetryPolicy,
    RetryRequested,
    SagaStatus,
    Send,
    SkipRequested,
    StepKind,
    StepState,
    StepStatus,
    Stop,
    StopKind,
    StopRequested,
    Tick,
    Verdict,
    decide,
    first,
)
from sagas.model.state import RESOLVED

START = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=5)

_ENDED = (StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED)
_MIGRATION = Path(sagas.store.__file__).parent / "migrations" / "0001_initial.sql"

#: The CHECK constraints of the migration, by name, as the model must keep them.
INSTANCE_CHECKS: dict[str, Callable[[InstanceState], bool]] = {
    "saga_instance_status": lambda it: it.status in SagaStatus,
    "saga_instance_finished_exactly_when_final": lambda it: (it.finished_at is not None) == (it.status in FINAL),
    "saga_instance_final_is_never_due": lambda it: not (it.status in FINAL and it.due_at is not None),
    "saga_instance_pending_not_negative": lambda it: it.pending >= 0,
}
STEP_CHECKS: dict[str, Callable[[StepState], bool]] = {
    "saga_step_status": lambda it: it.status not in (StepStatus.COMPENSATING, StepStatus.COMPENSATED),
    "saga_step_running_has_token": lambda it: (
        it.status is not StepStatus.RUNNING or (it.token is not None and it.claimed_at is not None)
    ),
    "saga_step_finished_exactly_when_ended": lambda it: (it.finished_at is not None) == (it.status in _ENDED),
    "saga_step_completed_is_not_in_doubt": lambda it: not (it.status is StepStatus.COMPLETED and it.doubt),
    "saga_step_counts": lambda it: min(it.attempts, it.losses, it.dispatches) >= 0,
}


def constraints_of_the_migration() -> set[str]:
    return set(re.findall(r"CONSTRAINT (\w+) CHECK", migration()))


def migration() -> str:
    return _MIGRATION.read_text()


def assert_legal(before: InstanceState, decision: Decision, now: datetime, *, looked: bool) -> None:
    """What holds after every decision, whatever happened. ``looked``: it was a tick that looked at everything."""
    after = decision.state
    broken = [name for name, holds in INSTANCE_CHECKS.items() if not holds(after)]
    broken += [f"{name} at {it.address}" for it in after.steps for name, holds in STEP_CHECKS.items() if not holds(it)]
    assert not broken, f"the database would refuse {broken}: {after}"
    if before.status is not after.status:
        assert after.status in TRANSITIONS[before.status], f"{before.status} must not become {after.status}"
    assert after.pending == sum(it.is_live for it in after.steps), "pending is the number of live rows"
    if after.status not in FINAL:
        assert after.due_at is not None, f"{after.status}, and no sweep will ever look at it"
        assert not looked or after.due_at > now, "a tick that leaves it due at once starves the others"
    assert [it.address for it in after.steps] == sorted(it.address for it in after.steps)
    for send in decision.sends:
        row = after.at(send.address)
        assert row is not None, f"{send} has no row"
        assert row.status is StepStatus.PENDING, f"{send} can not be claimed"
        assert row.dispatched_at is not None, f"{send} is not recorded as dispatched"
    json.dumps([note.detail for note in decision.notes])
    if after.status is SagaStatus.COMPLETED:
        assert all(it.status in RESOLVED and it.address.is_action for it in after.steps)


def act(position: int) -> Address:
    """The action of a step."""
    return Address(position)


def undo(position: int, round_: int = 1) -> Address:
    """A round of the compensation of a step."""
    return Address(position, 0, round_)


def step(**options: Any) -> dict[str, Any]:
    """A compensatable step that is tried once, unless ``retry`` says more."""
    return options


def pivot(**options: Any) -> dict[str, Any]:
    return {"kind": StepKind.PIVOT, "compensation": None, **options}


def retriable(**options: Any) -> dict[str, Any]:
    return {"kind": StepKind.RETRIABLE, "compensation": None, **options}


def tries(attempts: int, **options: Any) -> RetryPolicy:
    return RetryPolicy(max_attempts=attempts, **{"backoff": 1.0, "jitter": 0.0, **options})


def plan_of(*steps: dict[str, Any]) -> Plan:
    """A plan from steps as `step`, `pivot` and `retriable` describe them."""
    return Plan(
        saga="order",
        version=1,
        steps=tuple(
            PlanStep(
                **{
                    "position": position,
                    "name": f"step{position}",
                    "task": f"do{position}",
                    "compensation": f"undo{position}",
                    "retry": tries(1),
                    "compensation_retry": tries(1, on=("builtins.Exception",)),
                    **options,
                }
            )
            for position, options in enumerate(steps)
        ),
    )


def error(text: str = "no") -> ErrorInfo:
    return ErrorInfo(type="shop.Refused", message=text, traceback="Traceback …", step="some step")


class Story:
    """One instance and what happens to it. The last decision is ``said``; all notes are in ``notes``."""

    def __init__(self, *steps: dict[str, Any], plan: Plan | None = None, deadline: timedelta | None = None) -> None:
        self.plan = plan or plan_of(*steps)
        self.now = START
        empty = InstanceState(id=uuid4(), deadline=START + deadline if deadline else None)
        self.said = first(self.plan, self.now, empty, lease=LEASE)
        self.state = self.said.state
        self.notes = list(self.said.notes)

    # -- what happens

    def happens(self, event: Event) -> Decision:
        before = self.state
        self.said = decide(self.plan, before, event, self.now, lease=LEASE)
        assert_legal(before, self.said, self.now, looked=isinstance(event, Tick))
        self.state = self.reloaded(self.said.state)
        self.notes += self.said.notes
        return self.said

    def reloaded(self, state: InstanceState) -> InstanceState:
        """Evidence is gathered anew with every load; what a decision left of the last one is not stored."""
        fresh = (
            replace(
                it,
                holder=Holder.ALIVE if it.status is StepStatus.RUNNING else Holder.NONE,
                overtaken=False,
                epoch_changed=False,
            )
            for it in state.steps
        )
        return replace(state, steps=tuple(fresh))

    def later(self, seconds: float = 1.0) -> Self:
        self.now += timedelta(seconds=seconds)
        return self

    def evidence(self, address: Address, **seen: Any) -> Self:
        """What the next event will find out about an execution: `holder`, `overtaken`, `epoch_changed`."""
        steps = tuple(replace(it, **seen) if it.address == address else it for it in self.state.steps)
        self.state = replace(self.state, steps=steps)
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

    def complete(self, address: Address, token: UUID, result: Any = None) -> Decision:
        return self.happens(Completed(address=address, token=token, result=result))

    def fail(self, address: Address, token: UUID, verdict: Verdict = Verdict.CLEAN_NO, **more: Any) -> Decision:
        return self.happens(Failed(address=address, token=token, verdict=verdict, **{"error": error(), **more}))

    def park(self, address: Address, token: UUID) -> Decision:
        return self.happens(Parked(address=address, token=token, error=error("does not fit")))

    def lose(self, address: Address, holder: Holder = Holder.DEAD) -> Decision:
        """A sweep finds out that its holder is dead."""
        return self.evidence(address, holder=holder).tick()

    def crash(self, address: Address, before_the_claim: InstanceState) -> Self:
        """The database crashes: it forgets an unsynced claim, and knows that it may have."""
        self.state = before_the_claim
        return self.evidence(address, epoch_changed=True)

    def cancel(self, reason: str = "changed mind") -> Decision:
        return self.happens(StopRequested(stop=Stop(kind=StopKind.CANCELLED, reason=reason)))

    def retry(self) -> Decision:
        return self.happens(RetryRequested(reason="repaired"))

    def skip(self, step: str | None = None, result: Any = None) -> Decision:
        return self.happens(SkipRequested(reason="done by hand", step=step, result=result, by="maria"))

    # -- several at once

    def done(self, *addresses: Address) -> Self:
        for address in addresses:
            self.complete(address, self.claim(address))
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
        rows = [it for it in self.state.compensations() if it.status is StepStatus.COMPLETED]
        return [it.address for it in sorted(rows, key=lambda it: it.first_claimed_at or START)]
