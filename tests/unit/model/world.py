"""What must hold whatever happens: the rules' own record against what really happened, after every event."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

from sagas.model import (
    FINAL,
    Address,
    Decision,
    Event,
    ExecutionStatus,
    Holder,
    InstanceState,
    MailKind,
    Misdelivered,
    Parked,
    Plan,
    RetryRequested,
    SagaStatus,
    SkipRequested,
    StepKind,
    StepRole,
    StepState,
    Tick,
    Verdict,
    child_id,
)
from tests.support.seen import seen
from tests.unit.model.truth import BACKWARD, Run, Truth

Place = tuple[int, int]


class World(Truth):
    """A story whose truth is recorded and compared after every event."""

    def __init__(self, plan: Plan, deadline: float | None = None, **options: Any) -> None:
        self.vouched: dict[Address, tuple[int, ExecutionStatus]] = {}  # what a person resolved, when and how
        self.answered: set[Address] = set()  # about which a person is answering
        self.by_hand: set[Address] = set()  # and says that it has been undone by hand
        self.uncertain: set[Address] = set()  # nobody remembers when they began
        self.doubted: set[Address] = set()  # actions that at some time may have happened
        self.taken: set[int] = set()  # mails that have had their effect
        self.unfit: set[Address] = set()  # actions that ended since they could not be called
        super().__init__(plan, deadline, **options)

    # -- events

    def happens(self, event: Event) -> Decision:
        before, turned_back = self.state, self.turned_back
        said = super().happens(event)
        self.doubted |= {row.address for row in self.state.actions() if row.doubt}
        if isinstance(event, RetryRequested) and before.evidence.is_superseded:
            assert not said.accepted, "it goes on beside its successor"
        if isinstance(event, SkipRequested):
            self.check_skip(event, before, said)
        self.remember_unfit(event, before)
        self.check(before, said, turned_back=turned_back)
        self.check_waits(event, before, said)
        return said

    def remember_unfit(self, event: Event, before: InstanceState) -> None:
        ended = {row.address for row in self.state.actions() if row.status is ExecutionStatus.FAILED}
        known = {row.address for row in before.actions() if row.status is ExecutionStatus.FAILED}
        if isinstance(event, Parked | Misdelivered) and event.address in ended - known:
            self.unfit.add(event.address)
        self.unfit &= ended

    def takes(self, address: Address) -> Run | None:
        turned_back = self.turned_back
        run = super().takes(address)
        if run is not None:
            self.check_claim(run, turned_back=turned_back)
        return run

    def crashes(self) -> None:
        self.uncertain |= set(self.unsynced)
        super().crashes()

    def skips(self, step: str | None = None, result: Any = None, *, undone: bool = False) -> bool:
        """An operator vouches for what it is stuck at: of an action that it is done, of an undo that none is needed."""
        return self.skip(step, result, undone=undone).accepted

    def answers(self, name: str | None, result: str | None, *, undo: bool) -> None:
        """A person says whether an action in doubt happened, and says the truth."""
        self.tick()  # what has come meanwhile is read first, and may be what it fails of
        meant = [row for row in self.stuck(self.state) if name in (None, row.name)]
        happened = any(bool(self.effects(row.address.action)) for row in meant)
        before, told = self.state, result if happened else None
        self.answered = {row.address.action for row in meant}
        self.by_hand = self.answered if happened and not undo else set()
        said = self.resolve(name, happened=happened, result=told, undo=undo)
        self.answered = self.by_hand = set()
        if not said.accepted:
            if not before.evidence.inbox and not any(note.event == "deadline_passed" for note in said.notes):
                assert (said.state.status, said.state.steps, said.notes) == (before.status, before.steps, ())
            return
        row = meant[0]
        was, action = before.at(row.address.action), said.state.at(row.address.action)
        assert len(meant) == 1
        assert was is not None
        assert action is not None
        assert was.doubt or (happened and not row.address.is_action), "there was no doubt"
        assert not action.doubt
        assert action.status is (ExecutionStatus.COMPLETED if happened else ExecutionStatus.FAILED)
        self.vouched[action.address] = self.moment, action.status
        if not row.address.is_action and not (happened and undo):
            done = said.state.at(row.address)
            assert done is not None
            assert done.status is (ExecutionStatus.COMPLETED if happened else ExecutionStatus.SKIPPED)
            self.vouched[row.address] = self.moment, done.status

    # -- what must hold

    def is_undone(self, effect: Run) -> bool:
        """A round of its compensation that began after the effect landed is done: an earlier one may have missed it.

        Or a person vouched for it after it had landed.
        """
        step = self.plan_step(effect.address)
        if (step.compensation is None and step.kind is not StepKind.PIVOT) or effect.address in self.by_hand:
            return True
        return any(
            (row.status is ExecutionStatus.COMPLETED and self.first_claim.get(row.address, 0) > effect.landed)
            or self.vouched.get(row.address, (-1, None))[0] >= effect.landed
            for row in self.rounds(effect.address)
        )

    def needs_undo(self, action: Address) -> bool:
        if self.plan_step(action).role is StepRole.CHILD:
            return any(kid.status is not SagaStatus.COMPENSATED for kid in self.kids.values() if kid.address == action)
        return not all(self.is_undone(effect) for effect in self.effects(action))

    def check(self, before: InstanceState, said: Decision, *, turned_back: bool) -> None:
        after = said.state
        if self.is_past_pivot():
            assert after.status not in BACKWARD, "backwards although the pivot may have happened"
        if after.status is SagaStatus.COMPENSATED:
            left = [str(row.address) for row in after.actions() if self.needs_undo(row.address)]
            assert not left, f"compensated, and the effects of {left} may exist"
        if after.status is SagaStatus.COMPLETED:
            for row in after.actions():
                assert self.is_really_done(row), f"completed, and {row.address} is not done"
        if after.status in FINAL:
            assert not any(row.is_live for row in after.steps), f"{after.status}, and something is on its way"
        if self.turned_back:
            waiting = [row for row in after.actions() if row.status is ExecutionStatus.PENDING]
            assert all(self.plan_step(row.address).role is StepRole.CHILD for row in waiting), "it may still begin"
        for address, (moment, status) in self.vouched.items():
            vouched_for = after.at(address)
            assert vouched_for is not None, f"{address} is gone"
            same = vouched_for.status is status or self.was_heard_of_since(moment, vouched_for)
            assert same, f"{address} was vouched for, and is {vouched_for.status}"
        self.check_commands(before, said, turned_back=turned_back)
        self.check_keys(after)
        self.check_posts(before, said)

    def is_really_done(self, row: StepState) -> bool:
        step, address = self.plan_step(row.address), row.address
        if address in self.vouched or address in self.answered:
            return True
        if row.status is ExecutionStatus.FAILED:
            return step.best_effort
        if row.status is ExecutionStatus.SKIPPED:
            return any(run.skipped for run in self.runs if run.address == address)
        if step.role is StepRole.CHILD:
            return self.kids[child_id(self.state.id, row)].status is SagaStatus.COMPLETED
        return not step.is_task or any(run.succeeded for run in self.effects(address))

    def check_keys(self, after: InstanceState) -> None:
        """No two lanes of a position have returned the same name, of those whose results are kept."""
        whose: dict[tuple[int, str], int] = {}
        by_token = {run.token: run for run in self.runs}
        for row in after.actions():
            lane, run = self.plan_step(row.address).lane, by_token.get(row.token) if row.token else None
            came = json.loads(row.result or "null") if self.plan.is_parallel(row.address.position) else None
            names = run.keys if run else came if isinstance(came, dict) else ()
            for key in names if row.status is ExecutionStatus.COMPLETED and row.address not in self.vouched else ():
                assert whose.setdefault((row.address.position, key), lane) == lane, f"{key!r} was returned twice"

    def check_posts(self, before: InstanceState, said: Decision) -> None:
        """Children are undone only when they are completed; a parent hears of every end but that for a person."""
        for post in said.posts:
            if post.mail.kind is MailKind.UNDO:
                assert self.kids[post.to].completed, "undone, and never completed"
        ended = said.state.status in (SagaStatus.COMPLETED, SagaStatus.COMPENSATED)
        is_news = ended and said.state.status is not before.status and before.parent is not None
        told = [post for post in said.posts if post.mail.kind is MailKind.CHILD]
        assert [post.to for post in told] == ([before.parent] if is_news else [])

    def check_waits(self, event: Event, before: InstanceState, said: Decision) -> None:
        """Time ends a sleep, one signal ends one wait, and a signal that is there is not waited for."""
        assert not said.consumed & self.taken, "taken twice"
        self.taken |= said.consumed
        late = {note.detail["number"] for note in said.notes if note.event == "signal_too_late"}
        came = [mail for mail in before.evidence.inbox if mail.kind is MailKind.SIGNAL]
        taken = [mail.name for mail in came if mail.id in said.consumed - late]
        new = {mail.id for mail in came if not mail.seen and mail.id not in said.consumed - late}
        assert late <= new, "what was kept, or taken, is not late"
        if said.state.status in (*BACKWARD, SagaStatus.COMPLETED):
            assert late == new, "a signal came in vain, and nothing tells it"
        assert said.state.status.is_forward or late <= said.consumed, "it is refused, and kept"
        waits = {self.plan_step(row.address).signal for row in said.state.actions() if row.is_live}
        missed = waits & {mail.name for mail in came if mail.id in late}
        assert not (said.state.status.is_forward and missed), f"{missed} is waited for, and not late"
        received = {note.address for note in said.notes if note.event == "signal_received"}
        timed_out = {note.address for note in said.notes if note.event == "signal_timed_out"}
        known = {row.address: row for row in before.steps if not row.is_live}
        ended = [row for row in said.state.actions() if not row.is_live and row.address not in known]
        assert Counter(taken) == Counter(self.plan_step(it).signal for it in received if it), "one signal ends one wait"
        for row in ended:
            step = self.plan_step(row.address)
            has_waited = step.role is StepRole.SLEEP or row.address in timed_out
            if has_waited and row.status is not ExecutionStatus.SKIPPED:
                assert row.first_claimed_at is not None
                assert (self.now - row.first_claimed_at).total_seconds() >= (step.seconds or 0), "too early"
            elif step.role is StepRole.WAIT and row.status is not ExecutionStatus.SKIPPED:
                assert row.address in received, "nothing had come"
        if isinstance(event, Tick):
            there = {mail.name for mail in self.state.evidence.inbox if mail.kind is MailKind.SIGNAL}
            waits = [self.plan_step(row.address).signal for row in self.state.actions() if row.is_live]
            assert not there & set(waits), "what it waits for is there"

    # -- commands: what is sent to a worker, started, or asked of a child

    def check_commands(self, before: InstanceState, said: Decision, *, turned_back: bool) -> None:
        known = {row.address: row for row in before.steps}
        begun = [child.address for child in said.children] + [it.address for it in said.sends if it.address.is_action]
        assert not (begun and before.evidence.awaits_lock), "it begins without its place"
        for address in begun:
            assert not turned_back, f"{address} begins after compensation had begun"
            assert said.state.status not in BACKWARD, f"{address} begins as compensation does"
        for row in said.state.compensations():
            if is_commanded(row) and not is_commanded(known.get(row.address)):
                self.check_order(said, row)
        for row in said.state.compensations():
            if row.address.round == 1 and row.address not in known:
                self.check_reason(row.address.action)

    def check_reason(self, action: Address) -> None:
        """Nothing is undone of which nobody can think that it happened: least of all what was skipped."""
        was_there = bool(self.effects(action)) or action in self.crashed | self.doubted
        assert was_there or self.plan_step(action).role is StepRole.CHILD, f"{action} is undone, and never was"

    def check_order(self, said: Decision, row: StepState) -> None:
        """A compensation is commanded: beside none but those of other lanes, when nothing goes before it."""
        after, own = said.state, row.address.action
        assert not any(it.is_live for it in after.actions()), f"{own} undone before the drain was over"
        others = [it for it in after.compensations() if is_commanded(it) and it.address != row.address]
        for other in others:
            assert self.are_beside(own, other.address.action), f"{own} is undone beside {other.address}"
        failed = [it for it in after.actions() if self.has_failed_undo(it.address)]
        assert not (failed and self.plan.stop_at_failed_undo), f"{own} is undone, and that of {failed} has failed"
        for it in after.actions():
            if self.goes_before(it.address, own):
                left = self.needs_undo(it.address) and not self.is_given_up(it.address)
                assert not left, f"{own} is undone before {it.address}"

    def is_given_up(self, action: Address) -> bool:
        last = self.last_round(action)
        return last is not None and last.status is ExecutionStatus.FAILED

    def has_failed_undo(self, action: Address) -> bool:
        """It ran and failed for good; one that waits for an answer keeps no other from running."""
        last = self.last_round(action)
        waits = last is not None and last.error is not None and last.error.type == "sagas.InDoubt"
        return self.is_given_up(action) and not waits

    def are_beside(self, one: Address, other: Address) -> bool:
        """May they be undone at the same time?"""
        if self.place(one) == self.place(other):
            return False
        return self.plan.undo_at_once or (one.position == other.position and self.plan_step(one).undo_at_once)

    def goes_before(self, later: Address, earlier: Address) -> bool:
        """Must the one be undone before the other? In a lane always; else the last begun first, if not side by side."""
        if self.place(later) == self.place(earlier):
            return later.branch > earlier.branch
        if self.are_beside(later, earlier):
            return False
        if later.position != earlier.position:
            return later.position > earlier.position
        if {later, earlier} & self.uncertain or not {later, earlier} <= set(self.first_claim):
            return False
        if self.row(later).first_claimed_at == self.row(earlier).first_claimed_at:
            return False  # in the same moment
        return self.first_claim[later] > self.first_claim[earlier]

    def place(self, address: Address) -> Place:
        return address.position, self.plan_step(address).lane

    def check_claim(self, run: Run, *, turned_back: bool) -> None:
        address, step = run.address, self.plan_step(run.address)
        assert step.is_task, f"{address} was claimed, and is no work"
        assert not (address.is_action and self.state.evidence.awaits_lock), f"{address} was claimed without its place"
        if address.is_action:
            assert not turned_back, f"{address} claimed after compensation had begun"
            # `idempotent=False`: never twice, unless an operator says so, or the first time was not a call at all.
            others = (it for it in self.effects(address) if it is not run and not it.is_stranger)
            earlier = [it for it in others if it.began > self.retried_at]
            assert step.idempotent or not earlier, f"{step.name} is not idempotent and runs again"
        else:
            running = [row for row in self.state.compensations() if row.status is ExecutionStatus.RUNNING]
            for other in running:
                assert other.address == address or self.are_beside(other.address.action, address.action)

    # -- a person

    def check_skip(self, event: SkipRequested, before: InstanceState, said: Decision) -> None:
        """Accepted exactly where it is clear what is meant; refused, it changes nothing."""
        meant = [row for row in self.stuck(before) if event.step in (None, row.name)]
        fits = [row for row in meant if (not event.undone if row.address.is_action else event.result is None)]
        may_be = len(meant) == len(fits) == 1 and (event.undone or not before.evidence.is_superseded)
        assert said.accepted is may_be, f"{event} of {before}"
        if not may_be:
            # The inbox is read, and a deadline found passed, whatever the event.
            if not before.evidence.inbox and not any(note.event == "deadline_passed" for note in said.notes):
                assert (said.state.status, said.state.steps, said.notes) == (before.status, before.steps, ())
            return
        address = meant[0].address
        skipped = said.state.at(address)
        assert skipped is not None
        assert not skipped.doubt
        if event.undone:
            assert skipped.status is ExecutionStatus.COMPLETED
        else:
            assert (skipped.status, skipped.result) == (ExecutionStatus.SKIPPED, event.result)
        for row in before.steps:
            # An effect that was reported before the skip is undone in another round, and no stray any more.
            assert row.address == address or said.state.at(row.address) in (row, replace(row, stray=False)), row
        self.vouched[address] = self.moment, skipped.status

    def stuck(self, state: InstanceState) -> list[StepState]:
        """What a person is waited for with, by the rows alone."""
        if state.status is not SagaStatus.FAILED:
            return []
        forward = []
        for row in state.actions():
            step = self.plan_step(row.address)
            no_way_back = step.kind is StepKind.RETRIABLE or (step.kind is StepKind.PIVOT and row.doubt)
            no_way_back = no_way_back and not self.turned_back
            no_way_back = no_way_back or (not self.turned_back and row.address in self.unfit)
            if row.status is ExecutionStatus.FAILED and no_way_back and not step.best_effort:
                forward.append(row)
        last = {row.address.action: row for row in state.compensations()}  # of each step's rounds
        return forward or [row for row in last.values() if row.status is ExecutionStatus.FAILED]

    # -- liveness

    def a_person_ends_it(self) -> None:
        """Whoever skips what it is stuck at, one after the other, gets any instance out of `failed`."""
        self.state = seen(self.state, is_superseded=False)
        for _ in self.plan.steps:
            if self.state.status is SagaStatus.FAILED:
                names = [None, *(step.name for step in self.plan.steps)]  # without one where there is only one
                assert any(self.skips(name) for name in names), f"nothing can be skipped: {self.state}"
                self.comes_to_an_end(says_no=False, silently=False)
        assert self.state.status is not SagaStatus.FAILED

    def comes_to_an_end(self, *, says_no: bool, silently: bool) -> None:
        """Everything dies; what is then claimed ends well (or says no). A bounded number of moves must do.

        More time passes after each look that finds nothing to do: what runs an hour is looked at every few seconds.
        """
        moves, pause = 0, 0.0
        while self.state.status not in FINAL:
            before, moves = self.state.steps, moves + 1
            assert moves <= 60 + 20 * len(self.state.steps), f"{self.state.status} for ever: {self.state}"
            assert self.state.due_at is not None
            self.now = max(self.now, self.state.due_at)
            self.later(pause)
            self.granted()
            for row in self.state.steps:
                if row.status is ExecutionStatus.RUNNING:
                    self.evidence(row.address, holder=Holder.SILENT if silently else Holder.DEAD)
                elif row.status is ExecutionStatus.PENDING and self.plan_step(row.address).is_task:
                    self.evidence(row.address, dispatched_at=None)
            self.tick()
            for send in self.sends:
                if (run := self.takes(send.address)) is not None:
                    if says_no and self.plan_step(send.address).kind is not StepKind.RETRIABLE:
                        self.fails(run, Verdict.CLEAN_NO)
                    else:
                        self.succeeds(run)
            for kid in self.kids.values():
                ways = kid.may_become()
                ends = [way for way in (SagaStatus.COMPLETED, SagaStatus.COMPENSATED) if way in ways]
                if ends:
                    self.child_becomes(kid, ends[-1] if says_no else ends[0])
            pause = 2 * pause + 1.0 if self.state.steps == before else 0.0


def is_commanded(undo: StepState | None) -> bool:
    """Sent, or to be sent again: it does not merely wait for its turn."""
    if undo is None:
        return False
    waits = undo.status is ExecutionStatus.PENDING and (undo.dispatched_at is not None or undo.not_before is not None)
    return undo.status is ExecutionStatus.RUNNING or waits
