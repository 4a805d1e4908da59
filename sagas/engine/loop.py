"""The one loop: event → lock the row → decide → save in one short transaction → after the commit, send and announce.

A late message, the sweep and an operator's click enter through this loop, so a stuck saga cannot take a path that a
healthy one cannot.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import cast
from uuid import UUID

from sqlalchemy import Connection

from sagas.engine.alerting import Alerts
from sagas.engine.impatient import ImpatientSender
from sagas.engine.messages import NO_ROWS, Messages, window_from
from sagas.engine.redaction import redacted, writes_text
from sagas.engine.telling import log_end, log_note
from sagas.model import Address, Decision, Event, Plan, SagaStatus, Secrecy, Tick, decide
from sagas.model.choreography.as_plan import RunPlan
from sagas.model.choreography.decide import decide_run
from sagas.model.choreography.events import DeliveryRequested, RunEvent
from sagas.model.choreography.state import RunState
from sagas.model.limits import Limits
from sagas.signals import saga_event, saga_status_changed
from sagas.store import Joining, Loaded, Saved, Store, Timing, legible
from sagas.store.database import OUTAGE_PATIENCE

logger = logging.getLogger("sagas")

#: How many instances one event may make look, one through another; the sweep finds the rest.
MOST_POKES = 50


@dataclass(frozen=True, slots=True)
class Handled:
    """The effect of an event."""

    decision: Decision
    plan: Plan
    moved: bool  # anything but the next look changed
    carried: bool  # the running chain already carries the message to send


#: The effect of an event: the instance as it was, the decision, how it was saved, and which instances to wake.
_Done = tuple[Loaded, Decision, Saved, Sequence[UUID]]


class Loop:
    """Applies events to instances."""

    def __init__(self, store: Store, messages: Messages, impatient_sender: ImpatientSender, secrecy: Secrecy) -> None:
        self._database, self._headers, self._clock = store.database, store.headers, store.clock
        self._instances, self._locks = store.instances, store.locks
        self._lines, self._timing = store.lines, store.timing
        self._secrecy = secrecy
        self._messages = messages
        self._brief_sender = impatient_sender
        self._poking = threading.local()
        self.alerts = Alerts(store.handlers)

    def handle(
        self,
        instance_id: UUID,
        event: Event | RunEvent,
        *,
        carries: Address | None = None,
        skip_locked: bool = False,
        patience: float = OUTAGE_PATIENCE,
        hurried: bool = False,
        wait_for_broker: bool = True,
        joining: Joining | None = None,
    ) -> Handled | None:
        """Apply an event. None: there is no such instance (or, with ``skip_locked``, another transaction holds it).

        Args:
            carries: the execution whose message the running Celery chain publishes by itself.
            patience: seconds to wait while the database is away. An event that is applied again because the answer to
                its commit was lost finds its work done, and the sweep sends what it announced.
            hurried: wait for the instance's lock for a second at most.
            wait_for_broker: False to publish without making the caller wait: outside workers' pools.
            joining: whether executions to be sent join their queues' lines; by default, if nothing of the saga was
                executed and there is a line.
        """
        joining = joining or (Joining.BEHIND_OTHERS if not wait_for_broker else Joining.NOT)
        work = partial(self._transact, instance_id, event, skip_locked, joining, hurried=hurried)
        done = self._database.retrying(work, patience)
        return None if done is None else self._follow(instance_id, done, carries, wait_for_broker=wait_for_broker)

    def handle_in(
        self, instance_id: UUID, event: Event | RunEvent, connection: Connection, commit: Callable[[], None]
    ) -> Handled | None:
        """Apply an event in a transaction that is open. None: it is not accepted, and nothing may be committed.

        Args:
            commit: ends the transaction; what follows from the event is sent after it.
        """
        done = self._transact(instance_id, event, False, Joining.NOT, connection)
        if done is None or not done[1].accepted:
            return None
        commit()
        return self._follow(instance_id, done, None, wait_for_broker=True)

    def _follow(self, instance_id: UUID, done: "_Done", carries: Address | None, *, wait_for_broker: bool) -> Handled:
        """Send and announce what was committed."""
        loaded, decision, saved, to_wake = done
        self._headers.remember(instance_id, loaded.headers)
        self._clock.learn(loaded.now)
        carried = False
        for send in decision.sends:
            if send.address in saved.in_line:
                continue
            if carries == send.address and not send.countdown:
                carried = True
            else:
                window = window_from(loaded.plan, decision.state, send.address)
                limits = {
                    step.address: step.evidence.limits
                    for step in loaded.state.steps
                    if step.evidence.limits is not None
                }
                self.send_window(
                    instance_id, loaded.plan, window, send.countdown, limits, wait_for_broker=wait_for_broker
                )
        self._announce(instance_id, loaded, decision)
        neighbours = [*to_wake, *(child.id for child in decision.children), *(post.to for post in decision.posts)]
        self.poke(*neighbours, wait_for_broker=wait_for_broker)
        status = decision.state.status
        leaves_the_line = loaded.state.evidence.awaits_lock and not status.is_forward
        if loaded.plan.is_limited and (status.is_final or leaves_the_line) and status is not loaded.state.status:
            self.release(instance_id, wait_for_broker=wait_for_broker)
        return Handled(decision, loaded.plan, saved.moved, carried)

    def poke(self, *instance_ids: UUID, wait_for_broker: bool = True) -> None:
        """Make instances look at what concerns them. The sweep finds those that cannot be asked now. Never raises."""
        # One by one: instances that wake one another would make a deep stack, and keep one process busy for all.
        waiting: deque[UUID] | None = getattr(self._poking, "waiting", None)
        if waiting is not None:
            waiting.extend(instance_ids)
            return
        self._poking.waiting = waiting = deque(instance_ids)
        try:
            for _ in range(MOST_POKES):
                if not waiting:
                    return
                self.look(waiting.popleft(), wait_for_broker=wait_for_broker)
        finally:
            self._poking.waiting = None

    def look(self, instance_id: UUID, *, wait_for_broker: bool) -> Handled | None:
        """Make one instance look, and return the outcome; None if there was none. Never raises.

        It waits for the lock, since its holder may not see what the look is about; not for long: it may be frozen.
        """
        try:
            return self.handle(instance_id, Tick(), patience=0, hurried=True, wait_for_broker=wait_for_broker)
        except Exception as error:  # what was committed stays committed, whatever another instance's row says
            logger.warning("saga %s not looked at, the sweep will: %s", instance_id, self._shown(error))
            return None

    def release(self, instance_id: UUID, *, wait_for_broker: bool = True) -> None:
        """Release what an ended instance held, in a transaction after its own; never raises."""
        try:
            freed = self._locks.release(instance_id)
        except Exception as error:  # the sweep releases what ended instances still hold
            logger.warning("locks of saga %s not released, the sweep will: %s", instance_id, self._shown(error))
        else:
            self.poke(*freed, wait_for_broker=wait_for_broker)

    def _transact(
        self,
        instance_id: UUID,
        event: Event | RunEvent,
        skip_locked: bool,
        joining: Joining,
        given: Connection | None = None,
        hurried: bool = False,
    ) -> "_Done | None":
        instances = self._instances
        to_wake: Sequence[UUID] = ()
        with instances.transaction() if given is None else nullcontext(given) as connection:
            about: Address | None = getattr(event, "address", None)
            late = event.number if isinstance(event, DeliveryRequested) else None
            loaded = instances.lock(
                connection, instance_id, skip_locked=skip_locked, about=about, late=late, hurried=hurried
            )
            if loaded is None:
                return None
            if loaded.state.evidence.awaits_lock and loaded.state.status.is_forward:
                has_all, to_wake = self._locks.grant(connection, instance_id)
                loaded = loaded.with_evidence(awaits_lock=not has_all, was_granted=has_all)
            with legible(instance_id):
                loaded, decision = decided(loaded, event, self._timing)
                if goes_on_forward(loaded, decision):
                    has_all, to_wake = self._locks.take_place(connection, instance_id, loaded.plan)
                    if not has_all:
                        loaded = loaded.with_evidence(awaits_lock=True)
                        loaded, decision = decided(loaded, event, self._timing)
                if self._secrecy.is_wanted and writes_text(loaded.state, decision):
                    seen = instances.contents(instance_id, connection)
                    decision = redacted(decision, self._secrecy.redactor(*seen))
            saved = instances.save(connection, loaded, decision, self._messages, joining)
        return loaded, decision, saved, to_wake

    def send_window(
        self,
        instance_id: UUID,
        plan: Plan,
        window: list[Address],
        countdown: float = 0.0,
        limits: Mapping[Address, Limits] = NO_ROWS,
        *,
        wait_for_broker: bool = True,
        first_id: str | None = None,
    ) -> None:
        """Publish; a message that the broker does not take waits in its line. Never raises for the broker."""
        if not wait_for_broker:
            sent = self._brief_sender.send(instance_id, plan, window, countdown, limits, first_id)
        else:
            sent = self._send_patiently(instance_id, plan, window, countdown, limits)
        if not sent:
            try:
                self._lines.put_back(instance_id, window[0])
            except Exception as error:  # the commit stands: evidence will show that no message came
                logger.warning("saga %s not put into its line: %r", instance_id, error)

    def _send_patiently(
        self,
        instance_id: UUID,
        plan: Plan,
        window: list[Address],
        countdown: float,
        limits: Mapping[Address, Limits],
    ) -> bool:
        try:
            self._messages.send(instance_id, plan, window, countdown, limits)
        except Exception as error:  # any error of a transport: the row is the truth
            extra = {"saga_id": str(instance_id), "saga": plan.saga, "step": str(window[0])}
            logger.warning("message of saga %s not sent, the sweep will send it: %r", instance_id, error, extra=extra)
            return False
        return True

    def _shown(self, error: Exception) -> str:
        """Return an error for the log; only its type if there are secrets: PostgreSQL errors may quote row data."""
        return type(error).__qualname__ if self._secrecy.is_wanted else repr(error)

    def _announce(self, instance_id: UUID, loaded: Loaded, decision: Decision) -> None:
        for note in decision.notes:
            if note.at is not None:
                continue  # it was announced when it happened
            log_note(instance_id, loaded, note)
            saga_event.send(
                sender=None,
                saga_id=instance_id,
                saga=loaded.saga,
                event=note.event,
                step=note.step,
                detail=note.detail,
            )
        if isinstance(loaded.plan, RunPlan):
            self.alerts.tell(loaded.saga, decision.notes)
        if decision.state.status is not loaded.state.status:
            log_end(loaded, decision)
            self.announce_status(instance_id, loaded.saga, decision.state.status)

    def announce_status(self, instance_id: UUID, saga: str, status: str) -> None:
        """Announce a status to the receivers of `saga_status_changed`, after the commit."""
        saga_status_changed.send(sender=None, saga_id=instance_id, saga=saga, status=status)


def goes_on_forward(loaded: Loaded, decision: Decision) -> bool:
    """Return whether a failed instance of a limited saga runs again, and needs a place; an undo needs none."""
    limited = loaded.plan.max_concurrent is not None
    return limited and loaded.state.status is SagaStatus.FAILED and decision.state.status.is_forward


def decided(loaded: Loaded, event: Event | RunEvent, timing: Timing) -> tuple[Loaded, Decision]:
    """Ask the rules what an event means; a run is loaded as a whole if they ask for that."""
    times = {"lease": timing.lease, "parked_after": timing.patience}
    if isinstance(loaded.plan, RunPlan):
        assert isinstance(loaded.state, RunState)
        decision = decide_run(loaded.plan.graph, loaded.state, cast(RunEvent, event), loaded.now, **times)
        return decided(loaded.whole(), event, timing) if decision.needs_whole else (loaded, decision)
    return loaded, decide(loaded.plan, loaded.state, cast(Event, event), loaded.now, **times)
