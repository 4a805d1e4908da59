"""What really happened, kept apart from what the rules believe: which bodies ran, when, and what is left of them.

An effect is what a body may have done: one that was claimed, ran, and did not end in a clean no. It lands at
the latest when its end is reported; one that never reports landed right after its claim (whatever lands after its
undo and is never reported is beyond any orchestrator, see guarantee 4).
"""

from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from sagas.model import (
    FINAL,
    Address,
    Claimed,
    Completed,
    Decision,
    Event,
    Failed,
    Holder,
    InstanceState,
    Parked,
    Plan,
    RetryRequested,
    SagaStatus,
    StepKind,
    StepState,
    StepStatus,
    Verdict,
)
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
    is_stranger: bool = False


class World(Story):
    """A story whose truth is recorded and compared after every event."""

    def __init__(self, plan: Plan, deadline: float | None = None) -> None:
        self.moment = 0
        self.runs: list[Run] = []
        self.first_claim: dict[Address, int] = {}  # of every execution, also when the database lost it
        self.unsynced: dict[Address, StepState] = {}  # rows as they were before claims that a crash would lose
        self.stale: set[Address] = set()  # rows last dispatched before a crash
        self.turned_back = False
        self.retried_at = 0
        super().__init__(plan=plan)
        if deadline is not None:
            self.state = replace(self.state, deadline=self.later(deadline).now)
            self.later(-deadline)

    # -- events, and what they mean in truth

    def happens(self, event: Event) -> Decision:
        self.moment += 1
        before = self.state
        said = super().happens(event)
        if isinstance(event, RetryRequested) and said.accepted:
            self.retried_at = self.moment
        if not isinstance(event, Claimed):
            self.unsynced.clear()  # a durable commit takes everything before it along
        self.check(before, said)
        self.turned_back |= said.state.status in BACKWARD
        return said

    def reloaded(self, state: InstanceState) -> InstanceState:
        for row in state.steps:
            known = self.state.at(row.address)
            if known is None or known.dispatched_at != row.dispatched_at is not None:
                self.stale.discard(row.address)
        steps = tuple(
            replace(row, epoch_changed=row.status is StepStatus.PENDING and row.address in self.stale)
            for row in super().reloaded(state).steps
        )
        return replace(state, steps=steps)

    def takes(self, address: Address) -> Run | None:
        """A worker got a message of this execution; it runs if the claim is accepted."""
        before = self.state.at(address)
        token = uuid4()
        if not self.happens(Claimed(address=address, token=token)).accepted or before is None:
            return None
        self.check_claim(address)
        self.unsynced.setdefault(address, before)
        self.first_claim.setdefault(address, self.moment)
        step = self.plan.step(address.position)
        if before.epoch_changed and address.is_action and not step.idempotent:
            # The worker sees that a claim may have been lost, and does not call the body.
            self.happens(Failed(address=address, token=token, error=error("lost"), verdict=Verdict.UNUSABLE))
            return None
        run = Run(address=address, token=token, began=self.moment, landed=self.moment)
        self.runs.append(run)
        self.check_run_once(run)
        return run

    def succeeds(self, run: Run) -> None:
        if not run.succeeded:
            run.landed, run.succeeded = self.moment + 1, True
        self.happens(Completed(address=run.address, token=run.token, result={"a": 1}))

    def fails(self, run: Run, verdict: Verdict, dice: float = 0.0, retry_after: float = 0.0) -> None:
        if not run.succeeded and run.verdict is None:
            run.verdict = verdict
            run.clean = verdict is Verdict.CLEAN_NO
            run.landed = self.moment + 1
        self.happens(
            Failed(
                address=run.address,
                token=run.token,
                error=error(),
                verdict=verdict,
                dice=dice,
                retry_after=retry_after,
            )
        )

    def parks(self, run: Run) -> None:
        run.clean, run.verdict = True, Verdict.CLEAN_NO
        self.happens(Parked(address=run.address, token=run.token, error=error("does not fit")))

    def is_of_a_stranger(self, address: Address, verdict: Verdict | None) -> None:
        """The end of a body under a token that the rows never saw: its claim was lost, with all that is known of it."""
        run = Run(address=address, token=uuid4(), began=self.moment, landed=self.moment, is_stranger=True)
        self.runs.append(run)
        if verdict is None:
            self.succeeds(run)
        else:
            self.fails(run, verdict)

    def crashes(self) -> None:
        rows = (self.unsynced.get(row.address, row) for row in self.state.steps)
        self.state = replace(self.state, steps=tuple(rows))
        self.unsynced.clear()
        self.stale |= {row.address for row in self.state.steps if row.is_live}
        self.state = self.reloaded(self.state)

    # -- what must hold

    def effects(self, position: int) -> list[Run]:
        """Bodies of an action whose effect may exist."""
        runs = [run for run in self.runs if run.address == Address(position)]
        return [run for run in runs if not run.clean]

    def is_undone(self, effect: Run) -> bool:
        """A round of its compensation that began after the effect landed is done: an earlier one may have missed it."""
        if self.plan.step(effect.address.position).compensation is None:
            return True
        return any(
            row.status is StepStatus.COMPLETED and self.first_claim.get(row.address, 0) > effect.landed
            for row in self.rounds(effect.address.position)
        )

    def rounds(self, position: int) -> list[StepState]:
        return [row for row in self.state.compensations() if row.address.position == position]

    def needs_undo(self, position: int) -> bool:
        return not all(self.is_undone(effect) for effect in self.effects(position))

    def check(self, before: InstanceState, said: Decision) -> None:
        status = said.state.status
        pivot = self.plan.pivot
        if pivot is not None and self.effects(pivot.position):
            assert status not in BACKWARD, "backwards although the pivot may have happened"
        if status is SagaStatus.COMPENSATED:
            left = [str(row.address) for row in said.state.actions() if self.needs_undo(row.address.position)]
            assert not left, f"compensated, and the effects of {left} may exist"
        if status is SagaStatus.COMPLETED:
            assert [row.status for row in said.state.actions()] == [StepStatus.COMPLETED] * len(self.plan.steps)
            assert all(any(run.succeeded for run in self.effects(step.position)) for step in self.plan.steps)
        for send in said.sends:
            if send.address.is_action:
                assert not self.turned_back, f"{send} after compensation had begun"
                assert status not in BACKWARD, f"{send} as compensation begins"
            else:
                self.check_order(before, said, send.address)

    def check_order(self, before: InstanceState, said: Decision, address: Address) -> None:
        """A compensation is commanded: alone, and nothing that began later is still to be undone."""
        assert not any(row.is_live for row in said.state.actions()), f"{address} commanded before the drain was over"
        others = [row for row in said.state.compensations() if row.is_live and row.address != address]
        assert not any(row.dispatched_at or row.not_before for row in others), f"{address} commanded beside {others}"
        known = before.at(address)
        if known is not None and (
            known.status is StepStatus.RUNNING or (known.is_live and (known.dispatched_at or known.not_before))
        ):
            return  # sent again: commanded long ago
        for position in range(address.position + 1, len(self.plan.steps)):
            last = max(self.rounds(position), default=None, key=lambda row: row.address.round)
            given_up = last is not None and last.status is StepStatus.FAILED
            assert given_up or not self.needs_undo(position), f"{address} commanded before the undo of {position}"

    def check_claim(self, address: Address) -> None:
        if address.is_action:
            assert not self.turned_back, f"{address} claimed after compensation had begun"
        else:
            running = [row for row in self.state.compensations() if row.status is StepStatus.RUNNING]
            assert len(running) == 1, f"{len(running)} compensations at once"

    def check_run_once(self, run: Run) -> None:
        """`idempotent=False`: never twice, unless an operator says so, or the first time was not a call at all."""
        step = self.plan.step(run.address.position)
        if run.address.is_action and not step.idempotent:
            others = (it for it in self.effects(run.address.position) if it is not run and not it.is_stranger)
            earlier = [it for it in others if it.began > self.retried_at]
            assert not earlier, f"{step.name} is not idempotent and runs again"

    # -- liveness

    def comes_to_an_end(self, *, says_no: bool, silently: bool) -> None:
        """Everything dies; what is then claimed ends well (or says no). A bounded number of moves must do."""
        moves = 0
        while self.state.status not in FINAL:
            moves += 1
            assert moves <= 40 + 8 * len(self.state.steps), f"{self.state.status} for ever: {self.state}"
            assert self.state.due_at is not None
            self.now = max(self.now, self.state.due_at)
            for row in self.state.steps:
                if row.status is StepStatus.RUNNING:
                    self.evidence(row.address, holder=Holder.SILENT if silently else Holder.DEAD)
                elif row.status is StepStatus.PENDING:
                    self.evidence(row.address, overtaken=True)
            self.tick()
            for send in self.sends:
                if (run := self.takes(send.address)) is not None:
                    if says_no and self.plan.step(send.address.position).kind is not StepKind.RETRIABLE:
                        self.fails(run, Verdict.CLEAN_NO)
                    else:
                        self.succeeds(run)
