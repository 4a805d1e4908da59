"""The language of the tests of runs: a graph, a run of it, a clock, and what happens to it.

Every event goes through `decide_run`, and every state that comes back is held against what must always hold. As the
store does, it loads only what is unfinished or dead at first, and everything if the decision asks for that.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Self
from uuid import UUID, uuid4

from sagas.model import (
    Address,
    Claimed,
    ErrorInfo,
    ExecutionStatus,
    Failed,
    Holder,
    Mail,
    MailKind,
    SagaStatus,
    Stop,
    StopKind,
    StopRequested,
    Tick,
    Verdict,
)
from sagas.model.choreography import ChoreographyPlan
from sagas.model.choreography.decide import decide_run
from sagas.model.choreography.events import DeliveryRequested, Handled, LetterSkipped, ReplayRequested, RunEvent
from sagas.model.choreography.state import (
    NUMBERED_AT_ONCE,
    Arrived,
    Delivery,
    LateEvent,
    Letter,
    Published,
    RunDecision,
    RunState,
)
from tests.support.seen import seen
from tests.unit.model.choreography.legal import assert_legal
from tests.unit.model.story import LEASE, START, error


class RunStory:
    """One run and what happens to it. The last decision is ``said``; all notes are in ``notes``."""

    at_once = NUMBERED_AT_ONCE

    def __init__(self, plan: ChoreographyPlan, deadline: float | None = None, *, started: bool = True) -> None:
        self.plan, self.now = plan, START
        self.state = RunState(id=uuid4(), deadline_seconds=deadline, pending=0, due_at=START)
        self.inbox: list[Arrived] = []  # events without a number, by row
        self.mail: list[Mail] = []
        self.rows = 0
        self.events: dict[int, Published] = {}
        self.letters: dict[int, Letter] = {}
        self.late: dict[int, LateEvent] = {}  # late events that no person has answered
        self.muted: list[Published] = []
        self.notes: list[Any] = []
        self.decisions = 0
        if started:
            self.arrives(plan.starts).tick()

    # -- what happens

    def happens(self, event: RunEvent) -> RunDecision:
        self.decisions += 1
        said = self.asked(event, whole=False)
        if said.needs_whole:
            said = self.asked(event, whole=True)
        assert not said.needs_whole
        before = self.state
        self.said = said
        known = {row.address: row for row in before.steps}
        merged = tuple(
            sorted({**known, **{it.address: it for it in said.state.steps}}.values(), key=lambda it: it.address)
        )
        after = replace(said.state, steps=merged)
        self.take_events(said)
        assert_legal(self.plan, before, replace(said, state=after), self.now, len(self.inbox))
        fresh = (
            seen(
                it,
                holder=Holder.ALIVE if it.status is ExecutionStatus.RUNNING else Holder.NONE,
                # Only a dispatch stamps the epoch anew.
                epoch_changed=it.evidence.epoch_changed and it.status is ExecutionStatus.PENDING,
            )
            for it in merged
        )
        self.state = seen(after, steps=tuple(fresh), arrived=(), has_more=False, inbox=(), is_whole=True)
        self.mail = [mail for mail in self.mail if mail.id not in said.consumed]
        self.notes += said.notes
        return said

    def asked(self, event: RunEvent, *, whole: bool) -> RunDecision:
        arrived = tuple(
            replace(it, after_late=self.letters.get(it.cause or 0) is Letter.LATE) for it in self.inbox[: self.at_once]
        )
        steps = tuple(self.loaded(it) for it in self.state.steps if whole or self.is_loaded(it, event))
        state = seen(
            self.state,
            steps=steps,
            arrived=arrived,
            has_more=len(self.inbox) > len(arrived),
            inbox=tuple(self.mail),
            late_event=self.late.get(event.number) if isinstance(event, DeliveryRequested) else None,
            is_whole=whole,
        )
        return decide_run(self.plan, state, event, self.now, lease=LEASE)

    def loaded(self, row: Any) -> Any:
        """As the store loads it, which tells of what is open or dead whether it came late."""
        is_open = row.finished_at is None or row.dead_at is not None
        is_late = is_open and row.address.is_action and self.letters.get(row.address.position) is Letter.LATE
        return seen(row, is_late=is_late)

    @staticmethod
    def is_loaded(row: Any, event: RunEvent) -> bool:
        asked = getattr(event, "address", None)
        return (
            row.finished_at is None
            or row.dead_at is not None
            or (asked is not None and row.address.action == asked.action)
        )

    def take_events(self, said: RunDecision) -> None:
        by_row = {event.row: event for event in self.inbox}
        for given in said.numbered:
            self.events[given.number] = by_row.pop(given.row)
            self.take_letter(given.number, given.letter)
        self.inbox = [event for event in self.inbox if event.row in by_row]
        for recorded in said.published:
            if recorded.letter is Letter.MUTED:
                self.muted.append(recorded.event)
            elif recorded.number is None:
                self.insert(recorded.event)
            else:
                self.events[recorded.number] = recorded.event
                self.take_letter(recorded.number, recorded.letter)
        if said.answered is not None:
            del self.late[said.answered]

    def take_letter(self, number: int, letter: Letter | None) -> None:
        if letter is not None:
            self.letters[number] = letter
        if letter is Letter.LATE:
            event = self.events[number]
            self.late[number] = LateEvent(number=number, id=event.id, type=event.type, since=self.now)

    def insert(self, event: Published) -> None:
        self.rows += 1
        fields = {name: getattr(event, name) for name in Published.__dataclass_fields__}
        self.inbox.append(Arrived(**fields, row=self.rows))

    def arrives(self, type_: str, **fields: Any) -> Self:
        """An event from outside is committed; nobody has looked yet."""
        self.insert(Published(id=uuid4(), type=type_, **fields))
        return self

    def comes(self, type_: str, **fields: Any) -> Self:
        """An event from outside is committed and looked at."""
        self.arrives(type_, **fields).tick()
        return self

    def later(self, seconds: float = 1.0) -> Self:
        self.now += timedelta(seconds=seconds)
        return self

    def tick(self) -> RunDecision:
        return self.happens(Tick())

    def evidence(self, address: Address, **found: Any) -> Self:
        steps = tuple(seen(it, **found) if it.address == address else it for it in self.state.steps)
        self.state = replace(self.state, steps=steps)
        return self

    # -- what workers do

    def claims(self, address: Address) -> UUID | None:
        token = uuid4()
        self.later()
        return token if self.happens(Claimed(address=address, token=token)).accepted else None

    def takes(self, number: int, name: str, round_: int = 0) -> UUID:
        """A worker claims a delivery, which must be there to be claimed."""
        token = self.claims(self.at(number, name, round_))
        assert token is not None, f"{name} cannot be claimed at {number}: {self.row(number, name, round_)}"
        return token

    def ends(self, number: int, name: str, token: UUID, *types: str, round_: int = 0) -> RunDecision:
        published = tuple(Published(id=uuid4(), type=type_, cause=number, depth=1) for type_ in types)
        self.later()
        return self.happens(Handled(address=self.at(number, name, round_), token=token, published=published))

    def does(self, number: int, name: str, *types: str, round_: int = 0) -> Self:
        """A worker claims a delivery, and returns events of these types."""
        assert self.ends(number, name, self.takes(number, name, round_), *types, round_=round_).accepted
        return self

    def undoes(self, number: int, name: str, *types: str) -> Self:
        return self.does(number, name, *types, round_=1)

    def fails(
        self, number: int, name: str, token: UUID | None = None, verdict: Verdict = Verdict.CLEAN_NO, round_: int = 0
    ) -> RunDecision:
        token = token or self.takes(number, name, round_)
        return self.happens(Failed(address=self.at(number, name, round_), token=token, error=error(), verdict=verdict))

    # -- what people do

    def cancels(self, reason: str = "changed mind") -> RunDecision:
        return self.happens(StopRequested(stop=Stop(kind=StopKind.CANCELLED, reason=reason)))

    def posts_a_cancel(self) -> Self:
        self.rows += 1
        self.mail.append(Mail(id=self.rows, kind=MailKind.CANCEL, name="changed mind"))
        return self

    def replays(self, number: int, name: str, round_: int = 0, **options: Any) -> RunDecision:
        seen = self.row(number, name, round_).dead_at or START
        return self.happens(
            ReplayRequested(address=self.at(number, name, round_), seen=seen, reason="mended", **options)
        )

    def skips(self, number: int, name: str, round_: int = 0) -> RunDecision:
        seen = self.row(number, name, round_).dead_at or START
        return self.happens(LetterSkipped(address=self.at(number, name, round_), seen=seen, reason="by hand"))

    def delivers(self, number: int, name: str, **options: Any) -> RunDecision:
        """A person has a late event delivered to one handler."""
        late = self.late.get(number)
        asked = {"seen": late.since if late else START, "reason": "money came late"} | options
        return self.happens(DeliveryRequested(number=number, handler=name, **asked))

    # -- what can be seen

    def at(self, number: int, name: str, round_: int = 0) -> Address:
        place = next(handler.place for handler in self.plan.handlers if handler.name == name)
        return Address(number, place, round_)

    def row(self, number: int, name: str, round_: int = 0) -> Delivery:
        row = self.state.at(self.at(number, name, round_))
        assert isinstance(row, Delivery), f"no {name} at {number}, round {round_}"
        return row

    def has(self, number: int, name: str, round_: int = 0) -> bool:
        return self.state.at(self.at(number, name, round_)) is not None

    def stands(self, name: str) -> list[str]:
        """How the deliveries of a handler stand, by number."""
        place = self.at(0, name).branch
        return [row.status.value for row in self.state.actions() if row.address.branch == place]

    @property
    def status(self) -> SagaStatus:
        return self.state.status

    @property
    def types(self) -> list[str]:
        """The types of the events, by number."""
        return [self.events[number].type for number in sorted(self.events)]

    @property
    def trouble(self) -> ErrorInfo | None:
        return self.state.error
