"""Whatever happens, in whatever order: the rules against an independent record of what really happened."""

import copy
import math
from dataclasses import replace
from uuid import UUID, uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from sagas.model import (
    FINAL,
    Address,
    ExecutionStatus,
    Failed,
    Holder,
    MailKind,
    Misdelivered,
    Parked,
    Plan,
    RetryRequested,
    SagaStatus,
    Stop,
    StopKind,
    StopRequested,
    Tick,
    UndoOutcome,
    Verdict,
    decide,
)
from tests.support.seen import seen
from tests.unit.model.generated import SIGNALS, plans
from tests.unit.model.story import error
from tests.unit.model.truth import Kid, Run
from tests.unit.model.world import World

outcomes = st.sampled_from([None, None, None, None, *Verdict])
waits = st.sampled_from([0.0, 0.0, 100.0, 1e20, math.inf])
keys = st.sampled_from([(), (), (), ("price",), ("price", "seat")])
payloads = st.sampled_from([None, None, "7", '{"price": 1}', '{"seat": 2}'])
how_far = st.sampled_from(
    [UndoOutcome.FULL, UndoOutcome.FULL, UndoOutcome.FULL, UndoOutcome.PARTIAL, UndoOutcome.MANUAL]
)


class Machine(RuleBasedStateMachine):
    """Arbitrary events with right, stale and foreign tokens, evidence true or false, crashes, and time."""

    world: World

    @initialize(
        plan=plans(),
        deadline=st.sampled_from([None, None, 60.0, 4000.0]),
        done=st.integers(0, 8),
        is_child=st.sampled_from([False, False, True]),
        is_locked=st.sampled_from([False, False, False, True]),
    )
    def starts(self, plan: Plan, deadline: float | None, done: int, is_child: bool, is_locked: bool) -> None:
        if is_locked:
            plan = replace(plan, locks=("account",))
        self.world = World(plan, deadline, parent=uuid4() if is_child else None, awaits_lock=is_locked)
        for step in plan.steps[:done]:
            if (run := self.world.takes(Address(step.position, step.branch))) is not None:
                self.world.succeeds(run)

    # -- what workers do

    @rule(data=st.data(), moves=st.integers(1, 6))
    def workers_work(self, data: st.DataObject, moves: int) -> None:
        """What is unclaimed is claimed, what runs ends, mostly well."""
        for _ in range(moves):
            self.world.later()
            rows = [row for row in self.world.state.steps if row.is_live]
            live = [row.address for row in rows if self.world.plan_step(row.address).is_task]
            if not live:
                return
            row = self.world.row(data.draw(st.sampled_from(live)))
            if row.status is ExecutionStatus.PENDING:
                self.world.takes(row.address)
            else:
                self.ends(self.world.run_of(row), data)

    @rule(moves=st.integers(1, 30), pick=st.integers(0, 5), outcome=how_far, no=st.sampled_from([None, *Verdict]))
    def all_goes_well(self, moves: int, pick: int, outcome: UndoOutcome, no: Verdict | None) -> None:
        """Until one body does not."""
        for _ in range(moves):
            self.world.goes_on(pick, outcome)
        running = [row for row in self.world.state.steps if row.status is ExecutionStatus.RUNNING]
        if running and no is not None:
            self.world.fails(self.world.run_of(running[pick % len(running)]), no)
            self.world.tick()

    def ends(self, run: Run, data: st.DataObject) -> None:
        verdict = data.draw(outcomes)
        if run.skipped or (not run.succeeded and self.may_be_skipped(run) and data.draw(st.booleans())):
            self.world.skips_itself(run)
        elif verdict is None:
            self.world.succeeds(run, data.draw(keys), data.draw(how_far))
        else:
            dice, wait = data.draw(st.sampled_from([0.0, 0.999])), data.draw(waits)
            self.world.fails(run, verdict, dice, wait)

    def may_be_skipped(self, run: Run) -> bool:
        """Conditions are the application's: they may change their mind from one attempt to the next."""
        return run.address.is_action and self.world.plan_step(run.address).when is not None and run.verdict is None

    @precondition(lambda self: self.world.runs)
    @rule(data=st.data())
    def a_body_reports(self, data: st.DataObject) -> None:
        """Any body that ever ran, now: its claim may be gone for long, and it may have reported before."""
        run = data.draw(st.sampled_from(self.world.runs))
        if run.verdict is None or (not run.verdict.is_clean and data.draw(st.booleans())):
            self.ends(run, data)
        elif not run.succeeded:
            self.world.fails(run, run.verdict)

    @precondition(lambda self: self.world.runs)
    @rule(data=st.data(), lacks_result=st.booleans(), for_good=st.booleans())
    def a_body_does_not_fit(self, data: st.DataObject, lacks_result: bool, for_good: bool) -> None:
        run = data.draw(st.sampled_from(self.world.runs))
        if not run.is_over:
            self.world.parks(run, lacks_result=lacks_result, for_good=for_good)

    @rule(data=st.data())
    def an_old_message_arrives(self, data: st.DataObject) -> None:
        self.world.takes(self.an_address(data))

    def an_address(self, data: st.DataObject) -> Address:
        anywhere = [Address(step.position, step.branch) for step in self.world.plan.steps]
        there = [row.address for row in self.world.state.steps] or anywhere
        later_rounds = st.builds(replace, st.sampled_from(anywhere), round=st.integers(0, 3))
        return data.draw(st.sampled_from(there) | later_rounds)

    @precondition(lambda self: self.world.runs)
    @rule(data=st.data(), verdict=outcomes)
    def a_stranger_reports(self, data: st.DataObject, verdict: Verdict | None) -> None:
        """Of any action: also of a pivot that has said no, or of which a person says that it did not happen."""
        actions = [row.address for row in self.world.state.actions() if self.world.plan_step(row.address).is_task]
        if actions:
            self.world.is_of_a_stranger(data.draw(st.sampled_from(actions)), verdict)

    @precondition(lambda self: self.world.moment % 3 == 2)
    @rule(data=st.data(), token=st.uuids(), what=st.sampled_from(["no", "parked"]))
    def a_stranger_says_that_nothing_happened(self, data: st.DataObject, token: UUID, what: str) -> None:
        address, before = self.an_address(data), self.world.state
        if what == "no":
            self.world.happens(Failed(address=address, token=token, error=error(), verdict=Verdict.CLEAN_NO))
        else:
            self.world.happens(Parked(address=address, token=token, error=error()))
        assert not self.world.said.accepted
        if not before.evidence.inbox and not any(note.event == "deadline_passed" for note in self.world.said.notes):
            assert self.world.state.steps == before.steps, "it was listened to"

    @precondition(lambda self: self.world.moment % 3 == 2)
    @rule(data=st.data())
    def a_worker_without_the_task_drops_its_message(self, data: st.DataObject) -> None:
        address = self.an_address(data)
        if self.world.plan_step(address).is_task:
            self.world.happens(Misdelivered(address=address, error=error("no such task")))

    # -- what others have to say

    @rule(name=st.sampled_from(SIGNALS), payload=payloads, times=st.sampled_from([1, 1, 2]), looked_at=st.booleans())
    def signals_arrive(self, name: str, payload: str | None, times: int, looked_at: bool) -> None:
        for _ in range(times):
            self.world.arrives(MailKind.SIGNAL, name, payload)
        if looked_at:
            self.world.tick()

    @precondition(lambda self: any(kid.may_become() for kid in self.world.kids.values()))
    @rule(data=st.data(), result=payloads, looked_at=st.booleans())
    def a_child_gets_on(self, data: st.DataObject, result: str | None, looked_at: bool) -> None:
        kid: Kid = data.draw(st.sampled_from([kid for kid in self.world.kids.values() if kid.may_become()]))
        self.world.child_becomes(kid, data.draw(st.sampled_from(kid.may_become())), result)
        if looked_at:
            self.world.tick()

    @precondition(lambda self: self.world.state.evidence.awaits_lock and self.world.state.status.is_forward)
    @rule()
    def what_it_waits_for_is_free(self) -> None:
        self.world.is_granted()

    @precondition(lambda self: self.world.moment % 3 == 1)
    @rule(looked_at=st.booleans())
    def somebody_posts_a_cancel(self, looked_at: bool) -> None:
        self.world.arrives(MailKind.CANCEL, "changed mind")
        if looked_at:
            self.world.tick()

    @precondition(lambda self: self.world.state.status is SagaStatus.COMPLETED and self.world.plan.pivot is None)
    @rule()
    def its_parent_has_it_undone(self) -> None:
        """Without a parent nobody can."""
        self.world.arrives(MailKind.UNDO).tick()
        assert (self.world.state.status is SagaStatus.COMPLETED) is (self.world.state.parent is None)

    # -- what the sweep finds

    @rule(holder=st.sampled_from([Holder.DEAD, Holder.SILENT]))
    def everything_is_lost(self, holder: Holder) -> None:
        for row in self.world.state.steps:
            if row.status is ExecutionStatus.RUNNING:
                self.world.evidence(row.address, holder=holder)
            elif row.status is ExecutionStatus.PENDING and self.world.plan_step(row.address).is_task:
                self.world.evidence(row.address, dispatched_at=None)
        self.world.tick()

    @rule(data=st.data())
    def a_sweep_looks(self, data: st.DataObject) -> None:
        for row in self.world.state.steps:
            if row.status is ExecutionStatus.RUNNING:
                self.world.evidence(row.address, holder=data.draw(st.sampled_from(list(Holder)[1:])))
            elif row.status is ExecutionStatus.PENDING and self.world.plan_step(row.address).is_task:
                lost, crashed = data.draw(st.booleans()), data.draw(st.sampled_from([False, False, True]))
                sent_at = None if lost else row.dispatched_at
                crashed = crashed or row.evidence.epoch_changed
                self.world.evidence(row.address, dispatched_at=sent_at, epoch_changed=crashed)
        self.world.tick()

    @precondition(lambda self: self.world.moment % 3 == 0)
    @rule(outage=st.sampled_from([None, None, 30.0]), lasts=st.booleans())
    def somebody_asks(self, outage: float | None, lasts: bool) -> None:
        """The error callback, a message that found no work; or the first sweep after an outage."""
        if outage is not None:
            self.world.outage(outage, lasts=lasts)
        self.world.happens(Tick())

    @rule(claimed=st.booleans())
    def the_database_crashes(self, claimed: bool) -> None:
        """Mostly right after a claim, which it forgets; the body runs on, and may report."""
        for row in self.world.state.steps if claimed else ():
            if self.world.plan_step(row.address).is_task:
                self.world.takes(row.address)
        self.world.crashes()

    @rule(data=st.data())
    def a_message_is_not_published(self, data: st.DataObject) -> None:
        rows = [row for row in self.world.state.steps if row.status is ExecutionStatus.PENDING]
        pending = [row.address for row in rows if self.world.plan_step(row.address).is_task]
        if pending:
            self.world.evidence(data.draw(st.sampled_from(pending)), dispatched_at=None)

    @precondition(lambda self: self.world.moment % 3 == 0)
    @rule(kind=st.sampled_from(StopKind))
    def somebody_cancels(self, kind: StopKind) -> None:
        self.world.happens(StopRequested(stop=Stop(kind=kind, reason="changed mind")))

    @precondition(lambda self: self.world.state.status is SagaStatus.FAILED)
    @rule(is_superseded=st.booleans())
    def another_one_has_its_key(self, is_superseded: bool) -> None:
        """For a while, or no more: it was purged, say."""
        self.world.state = seen(self.world.state, is_superseded=is_superseded)

    @precondition(lambda self: self.world.state.status is SagaStatus.FAILED or self.world.moment % 7 == 0)
    @rule(is_full=st.booleans())
    def an_operator_retries(self, is_full: bool) -> None:
        """Others may have taken its place meanwhile; an undo needs none."""
        event = RetryRequested(reason="repaired")
        would = decide(self.world.plan, self.world.state, event, self.world.now).state.status
        if is_full and self.world.state.status is SagaStatus.FAILED and would.is_forward:
            self.world.is_full()
        self.world.happens(event)

    @precondition(lambda self: self.world.state.status is SagaStatus.FAILED or self.world.moment % 7 == 1)
    @rule(data=st.data(), result=st.sampled_from([None, None, None, "{}"]), undone=st.booleans())
    def an_operator_skips(self, data: st.DataObject, result: str | None, undone: bool) -> None:
        """By name, or without one where there is only one; now and then the wrong one."""
        names = st.sampled_from([None, *(step.name for step in self.world.plan.steps)])
        self.world.skips(data.draw(names), result, undone=undone)

    @rule(data=st.data(), undo=st.booleans(), result=st.sampled_from([None, '{"key": 1}']))
    def a_person_answers(self, data: st.DataObject, undo: bool, result: str | None) -> None:
        """Truthfully; by name, or without one where there is only one; now and then about the wrong step."""
        names = st.sampled_from([None, *(step.name for step in self.world.plan.steps)])
        self.world.answers(data.draw(names), result, undo=undo)

    @rule(seconds=st.sampled_from([1.0, 6.0, 61.0, 700.0, 3700.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.later(seconds)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        for says_no in (False, True):
            for silently in (False, True):
                world = copy.deepcopy(self.world)
                world.comes_to_an_end(says_no=says_no, silently=silently)
                world.a_person_ends_it()
                # Also what is reported after a person has vouched for its undo.
                world.strangers_report(Verdict.UNKNOWN if says_no else None)
                world.comes_to_an_end(says_no=says_no, silently=silently)
        assert self.world.state.status in FINAL or self.world.state.due_at is not None


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
