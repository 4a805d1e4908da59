"""What really happened, kept apart from what the rules believe: which bodies ran, when, and what is left of them.

An effect is what a body may have done: one that was claimed, ran, and did not end in a clean no. It lands at
the latest when its end is reported; one that never reports landed right after its claim (whatever lands after its
undo and is never reported is beyond any orchestrator, see guarantee 4).
"""

from dataclasses import dataclass, replace
from typing import Any
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
    SkipRequested,
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
        self.vouched: dict[Address, int] = {}  # what a person skipped, and when
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
        if isinstance(event, SkipRequested):
            self.check_skip(event, before, said)
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

    def skips(self, step: str | None = None, result: Any = None) -> bool:
        """An operator vouches for what it is stuck at: of an action that it is done, of an undo that none is needed."""
        return self.happens(SkipRequested(reason="done by hand", step=step, result=result)).accepted

    def strangers_report(self, verdict: Verdict | None) -> None:
        """Long after it is over, of every action that can be undone, somebody says how it ended."""
        for row in self.state.actions():
            if self.plan.step(row.address.position).kind is StepKind.COMPENSATABLE:
                self.later()
                self.is_of_a_stranger(row.address, verdict)

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
        """A round of its compensation that began after the effect landed is done: an earlier one may have missed it.

        Or a person vouched for it after it had landed.
        """
        if self.plan.step(effect.address.position).compensation is None:
            return True
        return any(
            (row.status is StepStatus.COMPLETED and self.first_claim.get(row.address, 0) > effect.landed)
            or self.vouched.get(row.address, -1) >= effect.landed
            for row in self.rounds(effect.address.position)
        )

    def rounds(self, position: int) -> list[StepState]:
        return [row for row in self.state.compensations() if row.address.position == position]

    def needs_undo(self, position: int) -> bool:
        return not all(self.is_undone(effect) for effect in self.effects(position))

    def check(self, before: InstanceState, said: Decision) -> None:
        status = said.state.status
        pivot = self.plan.pivot
        if pivot is not None and (self.effects(pivot.position) or Address(pivot.position) in self.vouched):
            assert status not in BACKWARD, "backwards although the pivot may have happened"
        if status is SagaStatus.COMPENSATED:
            left = [str(row.address) for row in said.state.actions() if self.needs_undo(row.address.position)]
            assert not left, f"compensated, and the effects of {left} may exist"
        if status is SagaStatus.COMPLETED:
            assert len(said.state.actions()) == len(self.plan.steps)
            for row in said.state.actions():
                done = row.status is StepStatus.COMPLETED and any(
                    run.succeeded for run in self.effects(row.address.position)
                )
                assert done or row.address in self.vouched, f"completed, and {row.address} is not done"
        for address in self.vouched:
            vouched_for = said.state.at(address)
            assert vouched_for is not None, f"{address} is gone"
            assert vouched_for.status is StepStatus.SKIPPED, f"{address} was vouched for, and is {vouched_for.status}"
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

    def check_skip(self, event: SkipRequested, before: InstanceState, said: Decision) -> None:
        """Accepted exactly where it is clear what is meant; refused, it changes nothing."""
        meant = [row for row in self.stuck(before) if event.step in (None, row.name)]
        may_be = len(meant) == 1 and (event.result is None or meant[0].address.is_action)
        assert said.accepted is may_be, f"{event} of {before}"
        if not may_be:
            assert (said.state.status, said.state.steps, said.notes) == (before.status, before.steps, ())
            return
        address = meant[0].address
        skipped = said.state.at(address)
        assert skipped is not None
        assert (skipped.status, skipped.result, skipped.doubt) == (StepStatus.SKIPPED, event.result, False)
        assert [note.address for note in said.notes if note.event == "skip_requested"] == [address]
        assert not any(row.is_live for row in before.steps), "failed, and something is on its way"
        for row in before.steps:
            # An effect that was reported before the skip is undone in another round, and no stray any more.
            assert row.address == address or said.state.at(row.address) in (row, replace(row, stray=False)), row
        self.vouched[address] = self.moment

    def stuck(self, state: InstanceState) -> list[StepState]:
        """What a person is waited for with, by the rows alone."""
        if state.status is not SagaStatus.FAILED:
            return []
        failed = [row for row in state.steps if row.status is StepStatus.FAILED]
        kinds = {row.address: self.plan.step(row.address.position).kind for row in failed if row.address.is_action}
        forward = [
            row
            for row in failed
            if kinds.get(row.address) is StepKind.RETRIABLE or (kinds.get(row.address) is StepKind.PIVOT and row.doubt)
        ]
        last = {row.address.position: row for row in state.compensations()}  # of each step's rounds
        return forward or [row for row in last.values() if row.status is StepStatus.FAILED]

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

    def a_person_ends_it(self) -> None:
        """Whoever skips what it is stuck at, one after the other, gets any instance out of `failed`."""
        for _ in self.plan.steps:
            if self.state.status is SagaStatus.FAILED:
                names = [None, *(step.name for step in self.plan.steps)]  # without one where there is only one
                assert any(self.skips(name) for name in names), f"nothing can be skipped: {self.state}"
                self.comes_to_an_end(says_no=False, silently=False)
        assert self.state.status is not SagaStatus.FAILED

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
