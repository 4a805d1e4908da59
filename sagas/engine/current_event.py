"""`current_event`: what a handler may know about the delivery that it is called for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from sagas.engine.context import StepContext, context_here
from sagas.engine.outgoing import Addressee
from sagas.errors import NoCurrentStep, PayloadError


@dataclass(frozen=True, kw_only=True, slots=True)
class EventContext(StepContext):
    """A running delivery."""

    id: UUID
    type: str
    version: int
    number: int
    cause: int | None
    edits: int
    correlation: UUID
    trigger: int | str | None
    publish: Callable[[Any], None] = field(repr=False)

    @property
    def action_key(self) -> str:
        edit = f":{self.edits}" if self.edits else ""
        return f"{self.id}:{self.name}{edit}"

    @property
    def idempotency_key(self) -> str:
        if self.round == 0:
            return self.action_key
        again = f":{self.round}" if self.round > 1 else ""
        return f"comp:{self.action_key}{again}"

    def add_to_outbox(self, event: Any, to: Addressee, run: Any) -> None:
        raise PayloadError(
            f"current_step.publish is for the steps of sagas: a handler returns its events. To reach another run, let "
            f"{self.name} call {getattr(to, 'name', 'the choreography')}.publish(…, key=current_event.idempotency_key)"
        )


class CurrentEvent:
    """The ambient context of a running handler, or of its undo.

    Outside one every attribute raises `NoCurrentStep`, and the object itself is false.
    """

    @staticmethod
    def _context() -> EventContext:
        context = context_here()
        if not isinstance(context, EventContext):
            raise NoCurrentStep(
                "current_event is only known inside a handler of a choreography; a task that is also used alone can "
                "test `if current_event:` first"
            )
        return context

    def __bool__(self) -> bool:
        return isinstance(context_here(), EventContext)

    @property
    def id(self) -> UUID:
        """The event's id."""
        return self._context().id

    @property
    def type(self) -> str:
        """The name of the event's type."""
        return self._context().type

    @property
    def version(self) -> int:
        """The version in which the event is stored, before any upcaster."""
        return self._context().version

    @property
    def run_id(self) -> UUID:
        """The id of the run."""
        return self._context().saga_id

    @property
    def correlation_id(self) -> UUID:
        """The id shared by everything that belongs together: of the run, or of the saga or run that began it."""
        return self._context().correlation

    @property
    def number(self) -> int:
        """The event's place in its run, from 1."""
        return self._context().number

    @property
    def causation_number(self) -> int | None:
        """The number of the event that its publisher reacted to; None if it came from outside."""
        return self._context().cause

    @property
    def attempt(self) -> int:
        """The number of this execution, from 1."""
        return self._context().attempt

    @property
    def idempotency_key(self) -> str:
        """The key to give to the service that you call, the same for every attempt: ``{event}:{handler}``, and in an
        undo ``comp:{event}:{handler}`` (with the round from the second on).
        """
        return self._context().idempotency_key

    @property
    def action_key(self) -> str:
        """The action's key, also in its undo and known before the action ran: undo by this key."""
        return self._context().action_key

    @property
    def trigger(self) -> int | str | None:
        """In an undo the number of the event that brought it about, or the reason why the run turned back."""
        return self._context().trigger

    @property
    def deadline(self) -> datetime | None:
        """When this execution runs out of time; aware, in UTC."""
        return self._context().deadline

    @property
    def connection(self) -> Connection:
        """A connection whose writes commit together with the completion and the events that it publishes.

        As ``current_step.connection``.
        """
        return self._context().transaction.lend()

    def publish(self, event: Any) -> None:
        """Publish an event together with the completion, before those that the handler returns.

        Raises:
            PayloadError: it is not an event that the handler may publish, or does not fit.
        """
        self._context().publish(event)

    def __repr__(self) -> str:
        return f"<current_event {context_here()!r}>"


current_event = CurrentEvent()
