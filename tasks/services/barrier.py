"""The barrier: one row for each key makes repeated, empty and hanging calls harmless.

Messages arrive twice, late and in the wrong order, so a participant must bear three things (the words are
those of Seata, and of dtm's sub-transaction barrier):

- *repeated*: the same action again. It does nothing and gives the first call's answer.
- *empty compensation*: the undo of an action that never happened. It undoes nothing, **and closes the door**.
- *hanging*: the action arrives after its own undo. It is refused, since it would never be undone.

All three are decided by the primary key of `shop.barrier`, in the transaction of the effect itself. The
second call waits for that transaction to end, so there is no moment between looking and doing.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import Connection

from tasks.services.database import execute, transaction
from tasks.services.errors import DoorClosed, KeyReused

Answer = TypeVar("Answer", bound=Mapping[str, object])


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a service: an operation under a key; an undo does not name its order."""

    service: str
    operation: str
    key: str
    order_id: str | None = None


def once(call: Call, request: dict[str, Any], effect: Callable[[Connection], Answer]) -> Answer:
    """Do an action in a transaction of its own, or give the answer of the call that did it.

    Raises:
        DoorClosed: the action has been undone, before or after it happened.
        KeyReused: the key belongs to another request.
    """
    with transaction() as connection:
        before = enter(connection, call, request)
        if before is not None:
            return cast(Answer, before)
        answer = effect(connection)
        execute(
            connection,
            "UPDATE shop.barrier SET answer = CAST(:answer AS jsonb) WHERE service = :service AND key = :key",
            service=call.service,
            key=call.key,
            answer=json.dumps(answer),
        )
        return answer


def undo(call: Call, effect: Callable[[Connection], None]) -> None:
    """Undo an action in a transaction of its own, once, and close the door behind it, whether it happened or not.

    The key is the action's. An action that is under way is waited for, so what the effect then reads of it is final.
    """
    with transaction() as connection:
        closed = execute(
            connection,
            """
            INSERT INTO shop.barrier AS door (service, key, closed_at) VALUES (:service, :key, clock_timestamp())
            ON CONFLICT (service, key) DO UPDATE SET closed_at = excluded.closed_at WHERE door.closed_at IS NULL
            """,
            service=call.service,
            key=call.key,
        )
        if closed.rowcount:
            effect(connection)


def enter(connection: Connection, call: Call, request: dict[str, Any]) -> dict[str, Any] | None:
    """Take the action's key in the transaction of its effect; return the answer of the call that did it, if one did."""
    taken = execute(
        connection,
        """
        INSERT INTO shop.barrier (service, key, order_id, request)
        VALUES (:service, :key, :order_id, CAST(:request AS jsonb))
        ON CONFLICT (service, key) DO NOTHING
        """,
        service=call.service,
        key=call.key,
        order_id=call.order_id,
        request=json.dumps(request),
    )
    if taken.rowcount:
        return None
    before = execute(
        connection,
        "SELECT order_id, request, answer, closed_at FROM shop.barrier WHERE service = :service AND key = :key",
        service=call.service,
        key=call.key,
    ).one()
    if before.closed_at is not None:
        raise DoorClosed(f"{call.service}: {call.key} was undone at {before.closed_at}; it must not happen any more")
    if (before.order_id, before.request) != (call.order_id, request):
        raise KeyReused(f"{call.service}: {call.key} belongs to another request of order {before.order_id}")
    answer: dict[str, Any] = before.answer
    return answer
