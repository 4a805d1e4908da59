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
from typing import Any

from sqlalchemy import Connection, text

from tasks.services.errors import DoorClosed, KeyReused


def enter(
    connection: Connection, service: str, key: str, *, order_id: str, request: dict[str, Any]
) -> dict[str, Any] | None:
    """Begin an action under its key; call it first in the transaction of the effect.

    Returns:
        None if the caller is to do the action (and then `leave`), otherwise the answer of the call that did it.

    Raises:
        DoorClosed: the action has been undone, before or after it happened.
        KeyReused: the key belongs to another request.
    """
    taken = connection.execute(
        text("""
            INSERT INTO shop.barrier (service, key, order_id, request)
            VALUES (:service, :key, :order_id, CAST(:request AS jsonb))
            ON CONFLICT (service, key) DO NOTHING
        """),
        {"service": service, "key": key, "order_id": order_id, "request": json.dumps(request)},
    )
    if taken.rowcount:
        return None
    before = connection.execute(
        text("""
            SELECT order_id, request, answer, closed_at FROM shop.barrier
             WHERE service = :service AND key = :key
        """),
        {"service": service, "key": key},
    ).one()
    if before.closed_at is not None:
        raise DoorClosed(f"{service}: {key} was undone at {before.closed_at}; what it asked for must not happen now")
    if (before.order_id, before.request) != (order_id, request):
        raise KeyReused(f"{service}: {key} belongs to another request of order {before.order_id}")
    answer: dict[str, Any] = before.answer
    return answer


def leave(connection: Connection, service: str, key: str, answer: dict[str, Any]) -> None:
    """Keep the action's answer for further calls with its key."""
    connection.execute(
        text("""
            UPDATE shop.barrier SET answer = CAST(:answer AS jsonb)
             WHERE service = :service AND key = :key
        """),
        {"service": service, "key": key, "answer": json.dumps(answer)},
    )


def close(connection: Connection, service: str, action_key: str) -> None:
    """Close the door behind an action, whether it happened or not; call it first in the undo's transaction.

    This waits for an action that is under way, so what the caller then reads of it is final.
    """
    connection.execute(
        text("""
            INSERT INTO shop.barrier AS door (service, key, closed_at)
            VALUES (:service, :key, clock_timestamp())
            ON CONFLICT (service, key) DO UPDATE SET closed_at = coalesce(door.closed_at, excluded.closed_at)
        """),
        {"service": service, "key": action_key},
    )
