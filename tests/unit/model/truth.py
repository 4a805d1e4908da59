"""What really happened, kept apart from what the rules believe: which bodies ran, when, and what is left of them.

An effect is what a body may have done: one that was claimed, ran, and neither ended in a clean no nor found its
condition false. It lands at the latest when its end is reported; one that never reports landed right after its claim
(whatever lands after its undo and is never reported is beyond any orchestrator, see guarantee 4).
"""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from sagas.model import (
    FINAL,
    Address,
    ChildState,
    Claimed,
    Completed,
    Decision,
    Event,
    ExecutionStatus,
    Failed,
    InstanceState,
    MailKind,
    Parked,
    Plan,
    PlanStep,
    RetryRequested,
    SagaStatus,
    StepKind,
    StepState,
    UndoOutcome,
    Verdict,
)
from tests.support.seen import seen
from tests.unit.model.story import Story, error

BACKWARD = (SagaStatus.COMPENSATING, SagaStatus.COMPENSATED)


@dataclass(kw_only=True)
class Run:
    """One body that was called, or is about to be."""

    address: Address
    token: UUID
    began: int
    landed: int  # the moment after which its effect can not land any more, as far as anybody will know
    clean: bool = False  # it had no effect
    verdict: Verdict | None = None
    succeeded: bool = False
    skipped: bool = False  # it found its condition false
    keys: tuple[str, ...] = ()  # the names in its result
    is_stranger: bool = False

    @property
    def is_over(self) -> bool:
        return self.succeeded or self.skipped or self.verdict is not None


@dataclass(kw_only=True)
class Kid:
    """A child saga."""

    id: UUID
    address: Address
    status: SagaStatus = SagaStatus.RUNNING
    completed: bool = False  # whether it ever was
    to_be_undone: bool = False
    result: str | None = None

    def may_become(self) -> list[SagaStatus]:
        """By itself, by its cancel, or because a person has resolved it."""
        if self.status is SagaStatus.COMPLETED:
            return [SagaStatus.COMPENSATING, SagaStatus.COMPENSATED] if self.to_be_undone else []
        if self.status is SagaStatus.COMPENSATED:
            return []
        if self.completed or self.status is SagaStatus.COMPENSATING:
            ends = [SagaStatus.COMPENSATED, SagaStatus.FAILED]
        else:
            ends = [SagaStatus.COMPLETED, SagaStatus.COMPENSATED, SagaStatus.COMPENSATING, SagaStatus.FAILED]
        return [status for status in ends if status is not self.status]


class Truth(Story):
    """A story and what its events mean in truth."""

    def __init__(
        self,
        plan: Plan,
        deadline: float | None = None,
        *,
        parent: UUID | None = None,
        awaits_lock: bool = False,
    ) -> None:
        self.moment = 0
        self.runs: list[Run] = []
        self.kids: dict[UUID, Kid] = {}
        self.first_claim: dict[Address, int] = {}  # of every execution, also when the database lost it
        self.unsynced: dict[Address, StepState] = {}  # rows as they were before claims that a crash would lose
        self.stale: set[Address] = set()  # rows last dispatched before a crash
        self.crashed: set[Address] = set()  # actions of which a crash may have lost a claim
        self.turned_back = False
        self.turned_at: int | None = None  # the moment after which no effect is a reason to go forward
        self.retried_at = 0
        super().__init__(plan=plan, parent=parent, awaits_lock=awaits_lock)
        if deadline is not None:
            self.state = replace(self.state, deadline=self.later(deadline).now)
            self.later(-deadline)

    # -- what happens

    def happens(self, event: Event) -> Decision:
        self.moment += 1
        said = super().happens(event)
        if isinstance(event, RetryRequested) and said.accepted:
            self.retried_at = self.moment
        if not isinstance(event, Claimed):
            self.unsynced.clear()  # a durable commit takes everything before it along
        for started in said.children:
            self.kids[started.id] = Kid(id=started.id, address=started.address)
            self.first_claim.setdefault(started.address, self.moment)
        for post in said.posts:
            if post.mail.kind is MailKind.UNDO:
                self.kids[post.to].to_be_undone = True
        # One that waits for a person at once has turned back, too, and was never seen to.
        if (said.state.status in BACKWARD or said.state.compensations()) and not self.turned_back:
            self.turned_back, self.turned_at = True, self.moment
        self.sees_children()
        return said

    def sees_children(self) -> None:
        self.state = seen(
            self.state,
            children=tuple(ChildState(id=kid.id, status=kid.status, result=kid.result) for kid in self.kids.values()),
        )

    def reloaded(self, state: InstanceState) -> InstanceState:
        for row in state.steps:
            known = self.state.at(row.address)
            if known is None or known.dispatched_at != row.dispatched_at is not None:
                self.stale.discard(row.address)
        fresh = super().reloaded(state)
        steps = tuple(
            seen(row, epoch_changed=row.status is ExecutionStatus.PENDING and row.address in self.stale)
            for row in fresh.steps
        )
        return replace(fresh, steps=steps)

    def evidence(self, address: Address, **found: Any) -> "Truth":
        if found.get("epoch_changed"):
            self.crashed.add(address)
        super().evidence(address, **found)
        return self

    def takes(self, address: Address) -> Run | None:
        """A worker got a message of this execution; it runs if the claim is accepted."""
        self.later(1e-6)
        before, status = self.state.at(address), self.state.status
        token = uuid4()
        if not self.happens(Claimed(address=address, token=token)).accepted or before is None:
            return None
        if self.state.status is status:
            self.unsynced.setdefault(address, before)
        else:
            self.unsynced.clear()  # it was more than a claim, and durable
        self.first_claim.setdefault(address, self.moment)
        if before.evidence.epoch_changed and address.is_action and not self.plan_step(address).idempotent:
            # The worker sees that a claim may have been lost, and does not call the body.
            self.happens(Failed(address=address, token=token, error=error("lost"), verdict=Verdict.UNUSABLE))
            return None
        run = Run(address=address, token=token, began=self.moment, landed=self.moment)
        self.runs.append(run)
        return run

    def succeeds(self, run: Run, keys: tuple[str, ...] = (), outcome: UndoOutcome = UndoOutcome.FULL) -> None:
        if not run.succeeded:
            run.landed, run.succeeded = self.moment + 1, True
            run.keys = keys if run.address.is_action and self.plan.is_parallel(run.address.position) else ()
        said = outcome if not run.address.is_action else UndoOutcome.FULL
        self.happens(Completed(address=run.address, token=run.token, result="{}", keys=run.keys, outcome=said))

    def skips_itself(self, run: Run) -> None:
        """Its condition is false: the body was not called."""
        run.clean, run.skipped = True, True
        self.happens(Completed(address=run.address, token=run.token, skipped=True))

    def fails(self, run: Run, verdict: Verdict, dice: float = 0.0, retry_after: float = 0.0) -> None:
        if not run.is_over:
            run.verdict = verdict
            run.clean = verdict.is_clean
            run.landed = self.moment + 1
        failed = Failed(address=run.address, token=run.token, error=error(), verdict=verdict)
        self.happens(replace(failed, dice=dice, retry_after=retry_after))

    def parks(self, run: Run, *, lacks_result: bool = False, for_good: bool = False) -> None:
        run.clean, run.verdict = True, Verdict.CLEAN_NO
        parked = Parked(address=run.address, token=run.token, error=error("does not fit"))
        self.happens(replace(parked, lacks_result=lacks_result, for_good=for_good))

    def is_of_a_stranger(self, address: Address, verdict: Verdict | None) -> None:
        """The end of a body under a token that the rows never saw: its claim was lost, with all that is known of it."""
        run = Run(address=address, token=uuid4(), began=self.moment, landed=self.moment, is_stranger=True)
        self.runs.append(run)
        if verdict is None:
            self.succeeds(run)
        else:
            self.fails(run, verdict)

    def strangers_report(self, verdict: Verdict | None) -> None:
        """Long after it is over, of every action that can be undone, and of a pivot, somebody says how it ended."""
        for row in self.state.actions():
            step = self.plan_step(row.address)
            if step.is_task and step.kind is not StepKind.RETRIABLE:
                self.later()
                self.is_of_a_stranger(row.address, verdict)

    def goes_on(self, pick: int, outcome: UndoOutcome = UndoOutcome.FULL) -> None:
        """Something happens that should: a body ends well, a message is taken, a child ends, time passes."""
        self.later()
        live = [row for row in self.state.steps if row.is_live and self.plan_step(row.address).is_task]
        row = live[pick % len(live)] if live else None
        if row is not None and row.status is ExecutionStatus.RUNNING:
            self.succeeds(self.run_of(row), outcome=outcome)
            return
        if row is not None and self.takes(row.address) is not None:
            return
        for kid in self.kids.values():
            ends = [way for way in kid.may_become() if way in (SagaStatus.COMPLETED, SagaStatus.COMPENSATED)]
            if ends:
                self.child_becomes(kid, ends[0])
        self.granted()
        self.now = max(self.now, self.state.due_at or self.now)
        self.tick()

    def run_of(self, row: StepState) -> Run:
        """The body that holds the claim."""
        return next(run for run in self.runs if run.token == row.token)

    def crashes(self) -> None:
        rows = tuple(self.unsynced.get(row.address, row) for row in self.state.steps)
        self.state = replace(self.state, steps=rows)
        self.crashed |= set(self.unsynced) | {row.address for row in rows if row.is_live}
        self.unsynced.clear()
        self.stale |= {row.address for row in rows if row.is_live}
        self.state = self.reloaded(self.state)

    def child_becomes(self, kid: Kid, status: SagaStatus, result: str | None = None) -> None:
        """It tells when it has ended; whoever was to have that looked at may die first."""
        kid.status = status
        kid.result = result if status is SagaStatus.COMPLETED else None
        kid.completed |= status is SagaStatus.COMPLETED
        self.sees_children()
        if status in FINAL and status is not SagaStatus.FAILED:
            self.arrives(MailKind.CHILD)

    # -- what is left of it

    def plan_step(self, address: Address) -> PlanStep:
        return self.plan.step(address.position, address.branch)

    def action_of(self, address: Address) -> StepState:
        return self.row(address.action)

    def effects(self, action: Address) -> list[Run]:
        """Bodies of an action whose effect may exist."""
        return [run for run in self.runs if run.address == action and not run.clean]

    def was_heard_of_since(self, moment: int, row: StepState) -> bool:
        """A body of it has reported since then that it has happened, or may have, and the row says so."""
        runs = [run for run in self.effects(row.address) if run.landed > moment]
        has_happened = row.status is ExecutionStatus.COMPLETED and any(run.succeeded for run in runs)
        return has_happened or (row.status is ExecutionStatus.FAILED and row.doubt and bool(runs))

    def rounds(self, action: Address) -> list[StepState]:
        return [row for row in self.state.compensations() if row.address.action == action]

    def last_round(self, action: Address) -> StepState | None:
        return max(self.rounds(action), default=None, key=lambda row: row.address.round)

    def is_past_pivot(self) -> bool:
        """Or it may be, for all that anybody knows; what is heard once it has turned back turns it round no more."""
        pivot = self.plan.pivot
        if pivot is None:
            return False
        address = Address(pivot.position, pivot.branch)
        row = self.state.at(address)
        is_done = row is not None and row.status in (ExecutionStatus.COMPLETED, ExecutionStatus.SKIPPED)
        known = [run for run in self.effects(address) if not (run.is_stranger and self.is_backward_since(run))]
        return bool(known) or (is_done and not self.turned_back)

    def is_backward_since(self, run: Run) -> bool:
        """It had turned back before anybody heard of this body."""
        return self.turned_at is not None and run.began >= self.turned_at
