"""The usual end of a delivery, in one round trip."""

from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from sagas.model import Address, SagaStatus
from sagas.model.choreography import ChoreographyPlan
from sagas.model.choreography.events import Handled
from sagas.model.choreography.usual import UsualEnd
from sagas.model.limits import Limits
from sagas.store import delivery_statements, loop_statements
from sagas.store.book import InSchema, StatementBook
from sagas.store.database import OUTAGE_PATIENCE, Database
from sagas.store.head_columns import Placement, head_columns
from sagas.store.prepared import PreparedAfterLock
from sagas.store.runs import BY_A_HANDLER


@dataclass(frozen=True, slots=True)
class Reached:
    """The effect of a completion: the run's status before and after it, and the deliveries that are to be sent."""

    before: SagaStatus
    status: SagaStatus
    born: tuple[Address, ...]
    released: Address | None
    limits: Limits | None  # of the released one


class Deliveries(InSchema):
    """Completes deliveries."""

    def __init__(self, database: Database, book: StatementBook) -> None:
        super().__init__(database, book)
        lock = book.prepared(loop_statements.LOCK_INSTANCE)
        complete = book.written(delivery_statements.COMPLETE_DELIVERY)
        self._complete = PreparedAfterLock(lock, complete)

    def complete(
        self,
        run_id: UUID,
        plan: ChoreographyPlan,
        handled: Handled,
        usual: UsualEnd,
        placement: Placement,
        connection: Connection | None = None,
    ) -> Reached | None:
        """Record a delivery's end with the events that it returned. None: nothing was done, and the loop must decide.

        Args:
            placement: the queues and limits of the deliveries that follow.
            connection: the handler's own transaction, which the caller commits; by default a transaction of its own.
        """
        parameters = _parameters(run_id, plan, handled, usual, placement)
        if connection is not None:
            row: Any = self._complete.run_in_full(connection, parameters).one_or_none()
        else:
            row = self._database.retrying(partial(self._complete.row, self._database, parameters), OUTAGE_PATIENCE)
        if row is None:
            return None
        before, status, born, released, timeout, soft = row
        return Reached(
            SagaStatus(before),
            SagaStatus(status),
            tuple(Address(*place) for place in born or ()),
            None if released is None else Address(released, handled.address.branch),
            None if released is None else Limits(timeout, soft),
        )


def _parameters(
    run_id: UUID, plan: ChoreographyPlan, handled: Handled, usual: UsualEnd, placement: Placement
) -> dict[str, Any]:
    published, address, births = handled.published, handled.address, usual.births
    return {
        "id": str(run_id),
        "instance_id": str(run_id),
        "position": address.position,
        "branch": address.branch,
        "token": str(handled.token),
        "is_ordered": plan.handlers[address.branch].is_ordered,
        "published": len(published),
        "max_events": plan.max_events,
        "ends": usual.ends,
        "by": BY_A_HANDLER,
        "depth": max((event.depth for event in published), default=0),
        "types": [event.type for event in published],
        "payloads": [event.payload for event in published],
        "event_ids": [str(event.id) for event in published],
        "versions": [event.version for event in published],
        "born_events": [birth.event for birth in births],
        "is_ordereds": [birth.handler.is_ordered for birth in births],
        "is_nexts": [birth.is_next for birth in births],
        **head_columns([birth.handler.step for birth in births], placement),
    }
