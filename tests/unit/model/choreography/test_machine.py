"""Whatever happens to a run, in whatever order: the rules against an independent record of what really happened."""

import copy

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from sagas.model import Address, ExecutionStatus, Holder, Verdict
from sagas.model.choreography import ChoreographyPlan
from sagas.model.choreography.events import Edit
from sagas.model.choreography.state import Delivery
from tests.unit.model.choreography.graphs import TYPES, graphs
from tests.unit.model.choreography.legal import ENDED
from tests.unit.model.choreography.truth import World
from tests.unit.model.story import LEASE, START

types = st.lists(st.sampled_from(TYPES), max_size=1)
outcomes = st.sampled_from([None, None, None, *Verdict])


class Machine(RuleBasedStateMachine):
    """Events from outside, workers with right and stale tokens, losses, crashes, cancels, people, and time."""

    world: World

    @initialize(plan=graphs(), deadline=st.sampled_from([None, None, 60.0, 4000.0]), early=types)
    def starts(self, plan: ChoreographyPlan, deadline: float | None, early: list[str]) -> None:
        self.world = World(plan, deadline, started=False)
        for type_ in early:
            self.world.arrives(type_)
        self.world.arrives(plan.starts).tick()

    @rule(
        came=st.lists(st.sampled_from(TYPES), max_size=4),
        depth=st.sampled_from([0, 0, 0, 101]),
        looked_at=st.booleans(),
    )
    def events_come(self, came: list[str], depth: int, looked_at: bool) -> None:
        for type_ in came:
            self.world.arrives(type_, depth=depth)
        if looked_at:
            self.world.tick()

    @rule(data=st.data(), moves=st.integers(1, 6))
    def workers_work(self, data: st.DataObject, moves: int) -> None:
        for _ in range(moves):
            live = [row.address for row in self.world.state.steps if row.is_live]
            if not live:
                return
            address = data.draw(st.sampled_from(live))
            body = self.world.body_of(address)
            row = self.world.state.at(address)
            assert row is not None
            if row.status is ExecutionStatus.PENDING:
                self.world.begins(address)
            elif body is not None:
                self.ends(body, data)

    def ends(self, body: object, data: st.DataObject) -> None:
        verdict = data.draw(outcomes)
        if verdict is None:
            self.world.succeeds(body, *data.draw(types))  # type: ignore[arg-type]
        else:
            self.world.fails_of(body, verdict)  # type: ignore[arg-type]

    @precondition(lambda self: self.world.bodies)
    @rule(data=st.data())
    def a_body_reports(self, data: st.DataObject) -> None:
        """Any body that ever ran, now: its claim may be gone for long, and it may have reported before."""
        body = data.draw(st.sampled_from(self.world.bodies))
        if body.returned is not None:
            self.world.succeeds(body)
        elif body.verdict is not None:
            self.world.fails_of(body, body.verdict)
        else:
            self.ends(body, data)

    @rule(data=st.data())
    def an_old_message_arrives(self, data: st.DataObject) -> None:
        there = [row.address for row in self.world.state.steps]
        self.world.begins(data.draw(st.sampled_from([*there, Address(1, 0), Address(9, 0, 1)])))

    @rule(data=st.data())
    def a_sweep_looks(self, data: st.DataObject) -> None:
        for row in self.world.state.steps:
            if row.status is ExecutionStatus.RUNNING:
                self.world.evidence(row.address, holder=data.draw(st.sampled_from(list(Holder)[1:])))
            elif row.status is ExecutionStatus.PENDING and data.draw(st.booleans()):
                self.world.evidence(row.address, dispatched_at=None)
        self.world.tick()

    @rule(data=st.data())
    def the_database_crashes(self, data: st.DataObject) -> None:
        running = [row.address for row in self.world.state.steps if row.status is ExecutionStatus.RUNNING]
        self.world.crashes([address for address in running if data.draw(st.booleans())])

    @precondition(lambda self: self.world.decisions % 5 == 0)
    @rule(by_mail=st.booleans())
    def somebody_cancels(self, by_mail: bool) -> None:
        if by_mail:
            self.world.posts_a_cancel()
        else:
            self.world.cancels()

    @rule(data=st.data(), edited=st.booleans())
    def a_person_answers_a_letter(self, data: st.DataObject, edited: bool) -> None:
        """Truthfully: with another payload it has another key, so it is vouched only for what has not happened."""
        letters = [row for row in self.world.state.steps if isinstance(row, Delivery) and row.dead_at is not None]
        if not letters:
            return
        row = data.draw(st.sampled_from(letters))
        if data.draw(st.booleans()):
            self.world.lets_go(row)
            return
        did = [body for body in self.world.bodies if body.address == row.address and body.may_have_happened]
        vouched = edited and not did
        if vouched:
            self.world.vouched[row.address] = self.world.moment + 1
        place = (row.address.position, row.name, row.address.round)
        self.world.replays(
            *place, edit=Edit(payload="{}", vouched=vouched) if edited and row.address.is_action else None
        )

    @precondition(lambda self: self.world.late)
    @rule(data=st.data(), takes=st.booleans(), unseen=st.sampled_from([False, False, False, True]))
    def a_person_has_a_late_event_delivered(self, data: st.DataObject, takes: bool, unseen: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.world.late)))
        name = data.draw(st.sampled_from([*(handler.name for handler in self.world.plan.handlers), "nobody"]))
        said = self.world.delivers(number, name, takes=takes, **({"seen": START - LEASE} if unseen else {}))
        if said.accepted:
            assert self.world.has(number, name)
            assert not unseen
        else:
            assert said.refusal

    @rule(seconds=st.sampled_from([1.0, 6.0, 61.0, 700.0, 3700.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.waits(seconds)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        for by_skipping in (False, True):
            world = copy.deepcopy(self.world)
            world.comes_to_an_end(by_skipping=by_skipping)
            # Everything that ever ran reports once more, or for the first time.
            for body in list(world.bodies):
                if body.may_have_happened:
                    world.succeeds(body)
            world.comes_to_an_end(by_skipping=by_skipping)
            assert world.status in ENDED


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
