"""Whatever happens, in whatever order: the rules against an independent record of what really happened."""

import copy
import math
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from sagas.model import (
    FINAL,
    Address,
    Failed,
    Holder,
    Parked,
    Plan,
    RetryRequested,
    SagaStatus,
    StepKind,
    StepStatus,
    Stop,
    StopKind,
    StopRequested,
    Verdict,
)
from tests.unit.model.story import error, pivot, plan_of, retriable, step, tries
from tests.unit.model.world import Run, World

outcomes = st.sampled_from([None, None, None, None, *Verdict])
waits = st.sampled_from([0.0, 0.0, 100.0, 1e20, math.inf])
options = st.fixed_dictionaries(
    {
        "retry": st.builds(
            tries, st.integers(1, 3), backoff=st.sampled_from([0.0, 1.0, 30.0]), jitter=st.sampled_from([0.0, 1.0])
        ),
        "timeout": st.sampled_from([1.0, 30.0, 3600.0]),
        "idempotent": st.sampled_from([True, True, False]),
        "max_losses": st.integers(0, 2),
    }
)
ways_back = st.fixed_dictionaries(
    {
        "compensation": st.sampled_from(["undo", "undo", "undo", None]),
        "compensation_timeout": st.sampled_from([1.0, 3600.0]),
        "compensation_retry": st.builds(
            tries, st.integers(1, 3), on=st.just(("builtins.Exception",)), backoff=st.sampled_from([1.0, 30.0])
        ),
    }
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """1 to 6 steps; those from a pivot on, if there is one, go only forward."""
    length = draw(st.integers(1, 6))
    place = draw(st.integers(0, 2 * length))
    steps = []
    for position in range(length):
        if position < place:
            steps.append(step(**draw(options), **draw(ways_back)))
        else:
            steps.append((pivot if position == place else retriable)(**draw(options)))
    return plan_of(*steps)


class Machine(RuleBasedStateMachine):
    """Arbitrary events with right, stale and foreign tokens, evidence true or false, crashes, and time."""

    world: World

    @initialize(plan=plans(), deadline=st.sampled_from([None, None, 60.0, 4000.0]), done=st.integers(0, 5))
    def starts(self, plan: Plan, deadline: float | None, done: int) -> None:
        self.world = World(plan, deadline)
        for position in range(min(done, len(plan.steps))):
            if (run := self.world.takes(Address(position))) is not None:
                self.world.succeeds(run)

    # -- what workers do

    @rule(data=st.data(), moves=st.integers(1, 6))
    def workers_work(self, data: st.DataObject, moves: int) -> None:
        """What is unclaimed is claimed, what runs ends, mostly well."""
        for _ in range(moves):
            self.world.later()
            live = [row.address for row in self.world.state.steps if row.is_live]
            if not live:
                return
            row = self.world.row(data.draw(st.sampled_from(live)))
            if row.status is StepStatus.PENDING:
                self.world.takes(row.address)
            else:
                self.ends(next(run for run in self.world.runs if run.token == row.token), data)

    def ends(self, run: Run, data: st.DataObject) -> None:
        verdict = data.draw(outcomes)
        if verdict is None:
            self.world.succeeds(run)
        else:
            dice, wait = data.draw(st.sampled_from([0.0, 0.999])), data.draw(waits)
            self.world.fails(run, verdict, dice, wait)

    @precondition(lambda self: self.world.runs)
    @rule(data=st.data())
    def a_body_reports(self, data: st.DataObject) -> None:
        """Any body that ever ran, now: its claim may be gone for long, and it may have reported before."""
        run = data.draw(st.sampled_from(self.world.runs))
        if run.verdict is None or (run.verdict is not Verdict.CLEAN_NO and data.draw(st.booleans())):
            self.ends(run, data)
        elif not run.succeeded:
            self.world.fails(run, run.verdict)

    @precondition(lambda self: self.world.runs)
    @rule(data=st.data())
    def a_body_does_not_fit(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.world.runs))
        if not run.succeeded and run.verdict is None:
            self.world.parks(run)

    @rule(data=st.data())
    def an_old_message_arrives(self, data: st.DataObject) -> None:
        self.world.takes(self.an_address(data))

    def an_address(self, data: st.DataObject) -> Address:
        positions = st.integers(0, len(self.world.plan.steps) - 1)
        there = st.sampled_from([row.address for row in self.world.state.steps])
        return data.draw(there | st.builds(Address, positions, st.just(0), st.integers(0, 3)))

    @precondition(lambda self: self.world.runs)
    @rule(data=st.data(), verdict=outcomes)
    def a_stranger_reports(self, data: st.DataObject, verdict: Verdict | None) -> None:
        """Only where the rows do not prove that there can be none: a pivot that is known to have said no."""
        row = self.world.row(data.draw(st.sampled_from([row.address for row in self.world.state.steps])))
        is_known = row.status in (StepStatus.FAILED, StepStatus.SKIPPED) and not row.doubt
        is_known = is_known and row.address not in self.world.vouched
        is_pivot = self.world.plan.step(row.address.position).kind is StepKind.PIVOT
        if row.address.is_action and not (is_pivot and is_known):
            self.world.is_of_a_stranger(row.address, verdict)

    @rule(data=st.data(), token=st.uuids(), what=st.sampled_from(["no", "parked"]))
    def a_stranger_says_that_nothing_happened(self, data: st.DataObject, token: UUID, what: str) -> None:
        address, before = self.an_address(data), self.world.state
        if what == "no":
            self.world.happens(Failed(address=address, token=token, error=error(), verdict=Verdict.CLEAN_NO))
        else:
            self.world.happens(Parked(address=address, token=token, error=error()))
        assert not self.world.said.accepted
        assert self.world.state.steps == before.steps, "it was listened to"

    # -- what the sweep finds

    @rule(holder=st.sampled_from([Holder.DEAD, Holder.SILENT]))
    def everything_is_lost(self, holder: Holder) -> None:
        for row in self.world.state.steps:
            if row.status is StepStatus.RUNNING:
                self.world.evidence(row.address, holder=holder)
            elif row.status is StepStatus.PENDING:
                self.world.evidence(row.address, overtaken=True)
        self.world.tick()

    @rule(data=st.data())
    def a_sweep_looks(self, data: st.DataObject) -> None:
        for row in self.world.state.steps:
            if row.status is StepStatus.RUNNING:
                self.world.evidence(row.address, holder=data.draw(st.sampled_from(list(Holder)[1:])))
            elif row.status is StepStatus.PENDING:
                lost, crashed = data.draw(st.booleans()), data.draw(st.sampled_from([False, False, True]))
                self.world.evidence(row.address, overtaken=lost, epoch_changed=row.epoch_changed or crashed)
        self.world.tick()

    @rule()
    def the_error_callback_asks(self) -> None:
        self.world.tick()

    @rule(claimed=st.booleans())
    def the_database_crashes(self, claimed: bool) -> None:
        """Mostly right after a claim, which it forgets; the body runs on, and may report."""
        for row in self.world.state.steps if claimed else ():
            self.world.takes(row.address)
        self.world.crashes()

    @rule(data=st.data())
    def a_message_is_not_published(self, data: st.DataObject) -> None:
        pending = [row.address for row in self.world.state.steps if row.status is StepStatus.PENDING]
        if pending:
            self.world.evidence(data.draw(st.sampled_from(pending)), dispatched_at=None)

    @precondition(lambda self: self.world.moment % 3 == 0)
    @rule(kind=st.sampled_from(StopKind))
    def somebody_cancels(self, kind: StopKind) -> None:
        self.world.happens(StopRequested(stop=Stop(kind=kind, reason="changed mind")))

    @precondition(lambda self: self.world.state.status is SagaStatus.FAILED or self.world.moment % 7 == 0)
    @rule()
    def an_operator_retries(self) -> None:
        self.world.happens(RetryRequested(reason="repaired"))

    @precondition(lambda self: self.world.state.status is SagaStatus.FAILED or self.world.moment % 7 == 1)
    @rule(data=st.data(), result=st.sampled_from([None, None, None, "{}"]))
    def an_operator_skips(self, data: st.DataObject, result: str | None) -> None:
        """By name, or without one where there is only one; now and then the wrong one."""
        self.world.skips(data.draw(st.sampled_from([None, *(step.name for step in self.world.plan.steps)])), result)

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
    max_examples=300,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
