"""What really happened in a run, kept apart from what the rules believe: which bodies ran, and what is left of them."""

from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID, uuid4

from sagas.model import Address, Claimed, ExecutionStatus, Failed, SagaStatus, Verdict
from sagas.model.choreography import IfDead
from sagas.model.choreography.events import Handled, RunEvent
from sagas.model.choreography.state import Delivery, Letter, Published, RunDecision
from tests.support.seen import seen
from tests.unit.model.choreography.legal import ENDED
from tests.unit.model.choreography.story import RunStory
from tests.unit.model.story import error


@dataclass
class Body:
    """One execution of a body. It lands at the latest when its end is reported; unreported, right after its claim."""

    address: Address
    token: UUID
    began: int
    landed: int
    returned: tuple[Published, ...] | None = None  # None: it has not succeeded
    verdict: Verdict | None = None

    @property
    def may_have_happened(self) -> bool:
        return self.verdict is None or not self.verdict.is_clean


class World(RunStory):
    """A story whose truth is recorded and compared after every event."""

    moment = 0
    at_once = 2  # a flood of three is one

    def __init__(self, *args: object, **options: object) -> None:
        self.bodies: list[Body] = []
        self.vouched: dict[Address, int] = {}  # what a person let go or denied, and when
        self.sent: set[UUID] = set()  # ids of all events that were committed
        self.claimed: set[Address] = set()
        super().__init__(*args, **options)  # type: ignore[arg-type]

    def happens(self, event: RunEvent) -> RunDecision:
        self.moment += 1
        before = {row.address: row for row in self.state.steps}
        said = super().happens(event)
        for address, row in before.items():
            after = self.state.at(address)
            assert after is not None
            if (
                row.finished_at is not None
                and row.doubt
                and not after.doubt
                and after.status is not ExecutionStatus.COMPLETED
            ):
                assert address in self.vouched, f"{address}: its doubt is gone, and nobody has answered it"
        self.check_events()
        if self.status in ENDED:
            self.check_effects()
        return said

    # -- what workers do

    def begins(self, address: Address) -> Body | None:
        """A message arrives: maybe there is something to claim."""
        row = self.state.at(address)
        in_the_way = self.in_the_way_of(address)
        token = uuid4()
        self.later()
        if not self.happens(Claimed(address=address, token=token)).accepted:
            return None
        assert row is not None
        assert not in_the_way, f"{address} begins before {in_the_way}"
        body = Body(address, token, self.moment, self.moment)
        self.bodies.append(body)
        return body

    def in_the_way_of(self, address: Address) -> list[Address]:
        """Earlier deliveries of an ordered handler that are neither done nor let go, nor delivered again behind it."""
        handler = self.plan.handlers[address.branch]
        if not address.is_action or not handler.is_ordered:
            return []
        passes = handler.if_dead is IfDead.SKIP
        # A dead letter that has turned its run back has had its answer.
        has_turned = handler.if_dead is IfDead.COMPENSATE and self.state.turned_at is not None
        is_late = self.is_late(address)
        found = []
        for row in self.state.actions():
            assert isinstance(row, Delivery)
            other = self.is_late(row.address)
            if row.address.branch != address.branch or (other, row.address) >= (is_late, address):
                continue
            is_passed = (passes or (has_turned and not other)) and (row.dead_at is not None or row.forgiven)
            # A person had this one delivered first, and then that.
            is_passed |= is_late and row.status is ExecutionStatus.HELD
            if not is_passed and (row.finished_at is None or row.dead_at is not None):
                found.append(row.address)
        return found

    def is_late(self, address: Address) -> bool:
        return address.is_action and self.letters.get(address.position) is Letter.LATE

    def succeeds(self, body: Body, *types: str) -> RunDecision:
        if body.returned is None:
            cause = body.address.position
            body.returned = tuple(Published(id=uuid4(), type=type_, cause=cause, depth=1) for type_ in types)
            body.landed = self.moment + 1
        body.verdict = None
        known = {row.address: row for row in self.state.steps}[body.address]
        is_closed = self.plan.handlers[body.address.branch].name in self.state.closed
        said = self.happens(Handled(address=body.address, token=body.token, published=body.returned))
        after = self.state.at(body.address)
        assert after is not None
        is_news = known.status is not ExecutionStatus.COMPLETED and after.status is ExecutionStatus.COMPLETED
        ids = {event.id for event in body.returned}
        if is_news and body.address.is_action and is_closed:
            assert ids <= {event.id for event in self.muted}, "V8: a doomed action tells others to go on"
        elif is_news:
            # An event that came before this look may have closed the handler.
            assert ids <= {event.id for event in (*self.events.values(), *self.inbox, *self.muted)}, "an event is lost"
        return said

    def fails_of(self, body: Body, verdict: Verdict) -> RunDecision:
        body.verdict = verdict
        if not verdict.is_clean:
            body.landed = self.moment + 1
        return self.happens(Failed(address=body.address, token=body.token, error=error(), verdict=verdict))

    def body_of(self, address: Address) -> Body | None:
        """The body that holds the claim; None: a crash has made the world forget it."""
        row = self.state.at(address)
        token = row.token if row else None
        return next((body for body in self.bodies if body.token == token), None)

    # -- what must hold

    def check_events(self) -> None:
        """Every event has one number at most, and none is lost."""
        ids = [event.id for event in (*self.events.values(), *self.inbox, *self.muted)]
        assert len(ids) == len(set(ids)), "an event is there twice"
        assert self.sent <= set(ids), "an event is gone"
        self.sent |= set(ids)
        for number, event in self.events.items():
            if number in self.letters or not self.is_delivered(number):
                continue
            for handler in self.plan.hearers(event.type):
                assert self.state.at(Address(number, handler.place)), f"{handler.name} never hears of event {number}"

    def is_delivered(self, number: int) -> bool:
        ended, turned = self.state.ended_by, self.state.turned_at
        return turned is None and (ended is None or number <= ended)

    def check_effects(self) -> None:
        """What a closed handler did is undone: by an undo that began after it had landed, or by a person's word."""
        for body in self.bodies:
            handler = self.plan.handlers[body.address.branch]
            if not body.address.is_action or not body.may_have_happened or handler.name not in self.state.closed:
                continue
            undone = [
                other
                for other in self.bodies
                if other.address.action == body.address
                and not other.address.is_action
                and other.returned is not None
                and other.landed > body.landed
            ]
            rounds = [row.address for row in self.state.compensations() if row.address.action == body.address]
            by_hand = any(self.vouched.get(it, -1) > body.began for it in (*rounds, body.address))
            assert undone or by_hand, f"{body} was never undone"

    # -- to an end

    def comes_to_an_end(self, *, by_skipping: bool) -> None:
        """Whatever is open is done, letters are answered, and an end comes if one is needed."""
        for _ in range(400):
            if self.status in ENDED and not self.inbox and not any(row.is_live for row in self.state.steps):
                return
            self.moves_on(by_skipping)
        raise AssertionError(f"it does not come to an end: {self.state}")

    def moves_on(self, by_skipping: bool) -> None:
        pending = [row for row in self.state.steps if row.status is ExecutionStatus.PENDING]
        running = [row for row in self.state.steps if row.status is ExecutionStatus.RUNNING]
        letters = [row for row in self.state.steps if isinstance(row, Delivery) and row.dead_at is not None]
        if running:
            body = self.body_of(running[0].address)
            assert body is not None
            self.succeeds(body)
        elif pending:
            self.later(8 * 24 * 3600.0 if pending[0].not_before else 1.0).tick()
            self.begins(pending[0].address)
        elif self.inbox or self.status is not SagaStatus.FAILED:
            ends = [*self.plan.ends, *self.plan.refuses]
            if not self.inbox and self.state.ended_by is None and self.state.turned_at is None and ends:
                self.arrives(ends[0])
            self.tick()
        else:
            self.answers(letters[0], by_skipping)

    def answers(self, row: Delivery, by_skipping: bool) -> None:
        name, number, round_ = row.name, row.address.position, row.address.round
        if not by_skipping and self.replays(number, name, round_).accepted:
            return
        # What was in the inbox may have changed it meanwhile.
        if self.row(number, name, round_).dead_at == row.dead_at:
            self.lets_go(row)

    def lets_go(self, row: Delivery) -> None:
        """A person has looked, and says that nothing is left to be done about it."""
        self.vouched[row.address] = self.moment + 1
        said = self.skips(row.address.position, row.name, row.address.round)
        assert said.accepted or said.consumed or said.numbered, said.refusal

    def crashes(self, forgotten: list[Address]) -> None:
        """The database forgets claims that it had not synced; unclaimed rows are of another epoch."""
        rows = []
        for row in self.state.steps:
            if row.address in forgotten and row.status is ExecutionStatus.RUNNING:
                row = replace(
                    row,
                    status=ExecutionStatus.PENDING,
                    token=None,
                    claimed_at=None,
                    attempts=row.attempts - 1,
                    first_claimed_at=row.first_claimed_at if row.attempts > 1 else None,
                )
            rows.append(seen(row, epoch_changed=row.status is ExecutionStatus.PENDING or row.evidence.epoch_changed))
        pending = sum(row.is_live for row in rows)
        self.state = replace(self.state, steps=tuple(rows), pending=pending)

    def waits(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def letter(self, number: int) -> Letter | None:
        return self.letters.get(number)
