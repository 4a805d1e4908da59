"""`current_step.publish`: events that a step of a saga publishes with its completion, in one commit or not at all."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from sqlalchemy import Connection

from sagas.engine.joining import JoinedConnection
from sagas.errors import KeyInUse, PayloadError
from sagas.model import payload
from sagas.model.choreography.state import Published
from sagas.store import BY_A_STEP, IntendedRun, NewRun

if TYPE_CHECKING:
    from sagas.engine.core import Engine

#: How many events one execution may publish, and their size in bytes.
MOST_PUBLISHED = 100
LARGEST_PUBLICATION = payload.MAX_BYTES


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishingStep:
    """An execution, as the events that it publishes describe it."""

    instance_id: UUID
    key: str  # its idempotency key


@dataclass(frozen=True, kw_only=True, slots=True)
class Posted:
    """An event on its way into a run; ``starts`` is the run that begins with it."""

    run_id: UUID
    event: Published
    starts: NewRun | None = None
    intended: IntendedRun | None = None

    def at(self, depth: int) -> "Posted":
        """Return the same event, so many causes away from an event from outside."""
        event = replace(self.event, depth=depth)
        return replace(self, event=event, starts=self.starts and replace(self.starts, event=event))


class Addressee(Protocol):
    """The interface that a step needs of a choreography into which it publishes."""

    def posted_by(self, publisher: PublishingStep, engine: "Engine", event: Any, run: Any) -> Posted: ...


class Outbox:
    """The events that one execution publishes, kept until it completes.

    Args:
        publisher: the instance whose execution it is.
    """

    def __init__(self, engine: "Engine", publisher: UUID, posted: Iterable[Posted] = ()) -> None:
        self._engine = engine
        self._runs, self._starting = engine.store.runs, engine.store.starting
        self._publisher = publisher
        self.posted = [*posted]

    def __bool__(self) -> bool:
        return bool(self.posted)

    @property
    def runs(self) -> tuple[UUID, ...]:
        """The runs that have to look once it is committed."""
        return tuple(dict.fromkeys(one.run_id for one in self.posted))

    def add(self, event: Any, to: Any, run: Any, by: PublishingStep) -> None:
        """Keep an event. Raises PayloadError, where the body can see it, if it cannot be published."""
        if not callable(getattr(to, "posted_by", None)):
            raise PayloadError(f"current_step.publish: to={payload.excerpt(to)} is not a choreography: pass the object")
        if len(self.posted) >= MOST_PUBLISHED:
            raise PayloadError(f"current_step.publish: one execution publishes at most {MOST_PUBLISHED} events")
        posted = to.posted_by(by, self._engine, event, run)
        size = sum(len((one.event.payload or "").encode()) for one in (*self.posted, posted))
        if size > LARGEST_PUBLICATION:
            raise PayloadError(
                f"current_step.publish: the events of one execution are {size} bytes; the limit is "
                f"{LARGEST_PUBLICATION}: store the data elsewhere, and publish a reference"
            )
        self.posted.append(posted)

    def insert(self, connection: Connection) -> None:
        """Insert all events; safe to repeat. No run is locked, and no lock of the step's own saga is held yet.

        Raises:
            KeyInUse: the business key of a run that it starts has a run that began with another event, or what it
                publishes into is a saga.
        """
        transaction = JoinedConnection(connection)
        depth = self._runs.depth_of(transaction.scalar, self._publisher)
        for place, one in self._in_one_order():
            insert = partial(self._inserted, transaction, one.at(depth), f"{one.event.caused_by}:{place}")
            if self._starting.unharmed(transaction, insert, may_wait=True) is None:
                raise KeyInUse(
                    f"{one.event.caused_by} cannot publish {one.event.type}: run {one.run_id} has its business key, "
                    "and began with another event; or it is a saga"
                )

    def _in_one_order(self) -> Iterator[tuple[int, Posted]]:
        """Yield the events of each run in their order, and the runs in the order that all executions use.

        Two executions that start the same runs wait for each other's keys, and must not do so crosswise.
        """
        yield from sorted(enumerate(self.posted), key=lambda numbered: numbered[1].run_id)

    def _inserted(self, transaction: JoinedConnection, one: Posted, key: str) -> bool | None:
        if one.starts is not None:
            return self._runs.start(transaction.scalar, one.starts)
        return self._runs.publish(transaction.scalar, one.run_id, one.event, key, BY_A_STEP, intended=one.intended)
