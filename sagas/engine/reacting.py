"""One delivery of an event to a handler, or to its undo: an execution whose argument is the event."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from sqlalchemy.exc import SQLAlchemyError

from sagas.engine.answer import END, Answer
from sagas.engine.current_event import EventContext
from sagas.engine.delivery import Claimed
from sagas.engine.messages import START_TASK
from sagas.engine.outgoing import MOST_PUBLISHED
from sagas.engine.recording import Recording
from sagas.engine.registry import Choreographed, WrittenEvent, choreography_of, starts_here
from sagas.engine.running import Run
from sagas.engine.transaction import RolledBack
from sagas.errors import BindingError, PayloadError, RowDamaged, SagaError
from sagas.model import PlanStep, UndoOutcome, payload
from sagas.model.choreography import ChoreographyPlan, HandlerPlan
from sagas.model.choreography.as_plan import RunPlan
from sagas.model.choreography.events import Handled
from sagas.model.choreography.plan import saga_started_by
from sagas.model.choreography.state import Published
from sagas.model.choreography.unreadable import EventUnreadable
from sagas.model.choreography.usual import usual_end
from sagas.store import ClaimedDelivery, Reached, legible, uuid7


def reaction_to(claimed: Claimed) -> tuple[Run, Recording]:
    """Return what runs a delivery of an event, and what records it."""
    heard = Heard.of(claimed)
    return _ReactionRun(claimed, heard), _ReactionRecording(claimed, heard)


@dataclass(slots=True)
class Heard:
    """An event that was delivered to a handler, and what the handler publishes."""

    claim: ClaimedDelivery
    handler: HandlerPlan
    round: int
    saga: str
    declared: Choreographed | None  # None: this process has not imported the choreography
    also: list[Any] = field(default_factory=list)  # what the body published itself

    @classmethod
    def of(cls, claimed: Claimed) -> "Heard":
        claim, plan, address = claimed.claim, claimed.plan, claimed.delivery.address
        if not isinstance(claim, ClaimedDelivery) or not isinstance(plan, RunPlan):
            raise RowDamaged(f"saga {claimed.delivery.instance_id} has a delivery of an event, and is not a run")
        handler = plan.graph.handlers[address.branch]
        return cls(claim, handler, address.round, plan.saga, choreography_of(plan.saga, plan.version))

    @property
    def choreography(self) -> Choreographed:
        """The declaration that this process knows. Raises EventUnreadable if there is none."""
        if self.declared is None:
            raise EventUnreadable(
                f"choreography {self.saga!r} is not declared in the code at hand: its deliveries wait for a worker "
                "with the code that does"
            )
        return self.declared


class _ReactionRun(Run):
    def __init__(self, claimed: Claimed, heard: Heard) -> None:
        super().__init__(claimed)
        self._heard = heard

    def _arguments(self) -> Mapping[str, Any] | None:
        """Return the event, under the name of the task's only parameter."""
        heard, delivery = self._heard, self._delivery
        with legible(delivery.instance_id):
            fields = payload.loads(heard.claim.payload)
        delivery.seen.append(fields)
        refuse_unknown_saga(self._claimed.step)
        secrecy = delivery.engine.secrecy
        event = heard.choreography.exchange.read(heard.claim.type, heard.claim.version, fields, secrecy)
        name = next(iter(signature(delivery.task.run).parameters), None)
        if name is None:
            raise BindingError(f"task {delivery.task.name} takes no argument, and a handler gets the event")
        return {name: event}

    def _context(self) -> EventContext:
        claim, address = self._heard.claim, self._delivery.address
        return EventContext(
            **self._known(),
            id=claim.event_id,
            type=claim.type,
            version=claim.version,
            number=address.position,
            cause=claim.cause,
            edits=claim.edits,
            correlation=claim.correlation_id or self._delivery.instance_id,
            trigger=None if address.is_action else claim.closed_by or claim.reason,
            publish=self._publish,
        )

    def _publish(self, event: Any) -> None:
        """Keep an event. Raises PayloadError, where the body can see it, if it cannot be published."""
        if len(self._heard.also) >= MOST_PUBLISHED:
            raise PayloadError(f"current_event.publish: one execution publishes at most {MOST_PUBLISHED} events")
        written(self._heard, [event], self._claimed)
        self._heard.also.append(event)


class _ReactionRecording(Recording):
    def __init__(self, claimed: Claimed, heard: Heard) -> None:
        super().__init__(claimed)
        self._heard = heard
        self._deliveries, self._handlers = self._engine.store.deliveries, self._engine.store.handlers

    @property
    def _graph(self) -> ChoreographyPlan:
        assert isinstance(self._plan, RunPlan)
        return self._plan.graph

    def _is_for_good(self, error: SagaError) -> bool:
        """Return whether no other worker can read the event either."""
        return isinstance(error, EventUnreadable) and error.lacks_value and not self._engine.runs_inline

    def _returned(self, value: Any) -> Answer:
        """Complete it with the events that it returned, in one commit."""
        outcome = UndoOutcome.FULL if self._address.is_action else UndoOutcome.of(value)
        returned = [] if value is None or is_undo_outcome(value, self._address.is_action) else value
        several = list(returned) if isinstance(returned, list | tuple) else [returned]
        try:
            events = written(self._heard, [*self._heard.also, *several], self._claimed)
        except Exception as error:  # it cannot be published: the body is done and never runs again for this
            if SoftTimeLimitExceeded in (type(error), type(error.__context__)):
                raise SoftTimeLimitExceeded from error
            if self._address.is_action:
                self._transaction.rollback()
                return self._unusable(error)
            # The undo is done; only what it would publish is lost, which is logged.
            self._delivery.log("events of an undo not published", self._delivery.describe(error).message)
            events = []
        published = tuple(self._published(event) for event in events)
        event = Handled(address=self._address, token=self._token, outcome=outcome, published=published)
        try:
            answer = self._complete(event)
        except SQLAlchemyError as error:
            return self._not_recorded(error)
        if self._heard.claim.dead_in_row:
            self._goes_on()
        return answer

    def _goes_on(self) -> None:
        """Note that the handler does not only fail: if it was paused, it goes on."""
        saga, handler = self._heard.saga, self._heard.handler.name
        try:
            since = self._handlers.resume(saga, handler)
        except SQLAlchemyError as error:  # the next delivery that it does says so again
            self._delivery.log("not noted that the handler goes on:", type(error).__qualname__)
            return
        if since is not None:
            self._delivery.log(f"handler {saga}/{handler} goes on: its probe succeeded")

    def _published(self, event: WrittenEvent) -> Published:
        return Published(
            id=uuid7(),
            type=event.type,
            version=event.version,
            payload=event.text,
            cause=self._address.position,
            depth=self._heard.claim.depth + 1,
        )

    def _complete(self, event: Handled) -> Answer:
        transaction = self._transaction
        if transaction.is_rolled_back:
            raise RolledBack
        if transaction.is_open and not self._address.is_action:
            # An undo may run twice, but its record must not be lost. So its writes commit first.
            transaction.commit()
        reached = self._reached(event)
        if reached is not None:
            return self._follow(reached)
        if not transaction.is_open:
            return self._tell(event)
        done = self._engine.loop.handle_in(self._instance_id, event, transaction.connection, self._commit)
        if done is not None:
            return END
        # Its claim was taken away: nothing of it happened, so it is not a late success either.
        transaction.rollback()
        self._delivery.log("claim lost: the handler's transaction was rolled back")
        return self._tell(Handled(address=self._address, token=self._token, outcome=event.outcome, rolled_back=True))

    def _reached(self, event: Handled) -> Reached | None:
        """Record the usual end, in one statement; None: the loop must decide."""
        plan, transaction = self._graph, self._transaction
        usual = usual_end(plan, event)
        if usual is None:
            return None
        given = transaction.connection if transaction.is_open else None
        reached = self._deliveries.complete(self._instance_id, plan, event, usual, self._engine.messages, given)
        if reached is not None and transaction.is_open:
            self._commit()
        return reached

    def _follow(self, reached: Reached) -> Answer:
        """Send what is to be delivered next, and announce the run's status."""
        loop, released = self._engine.loop, reached.released
        for address in reached.born:
            loop.send_window(self._instance_id, self._plan, [address])
        if released is not None and reached.limits is not None:
            loop.send_window(self._instance_id, self._plan, [released], limits={released: reached.limits})
        if reached.status is not reached.before:
            loop.announce_status(self._instance_id, self._plan.saga, reached.status)
        return END


def refuse_unknown_saga(step: PlanStep) -> None:
    """Refuse a delivery that starts a saga which this process has not imported."""
    saga = saga_started_by(step.name)
    if step.task == START_TASK and not starts_here(saga):
        raise EventUnreadable(
            f"saga {saga!r}, which starts on the event, is not declared in the code at hand: it waits for a worker "
            "with the code that does"
        )


def written(heard: Heard, events: list[Any], claimed: Claimed) -> list[WrittenEvent]:
    """Return events as they are stored. Raises PayloadError if the handler may not publish them."""
    who = heard.handler.name if heard.round == 0 else f"the undo of {heard.handler.name}"
    may = heard.handler.may_publish(heard.round)
    return list(heard.choreography.exchange.returned(events, may, who, claimed.delivery.engine.secrecy))


def is_undo_outcome(value: Any, is_action: bool) -> bool:
    """Return whether an undo returned how far it got, instead of events."""
    outcome = value.get("outcome") if isinstance(value, Mapping) else value
    return not is_action and outcome in ("full", "partial", "manual")
