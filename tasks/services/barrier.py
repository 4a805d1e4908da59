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
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, text

from tasks.services.database import transaction
from tasks.services.errors import DoorClosed, KeyReused

Answer = TypeVar("Answer", bound=Mapping[str, object])


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a service: an operation under a key; an undo does not say for which order."""

    service: str
    operation: str
    key: str
    order_id: str | None = None


#: Surrounds a call. It yields what is called when it is clear that the call will have an effect, and may refuse then.
Surrounding = Callable[[Call], AbstractContextManager[Callable[[], None]]]


@contextmanager
def undisturbed(call: Call) -> Iterator[Callable[[], None]]:
    yield lambda: None


#: The demo and the tests put faults here (`config.demo.faults`).
surrounding: Surrounding = undisturbed


def once(call: Call, request: dict[str, Any], effect: Callable[[Connection], Answer]) -> Answer:
    """Do an action in a transaction of its own, or give the answer of the call that did it.

    Raises:
        DoorClosed, KeyReused: see `enter`.
    """
    assert call.order_id is not None
    with surrounding(call) as refuse, transaction() as connection:
        before = enter(connection, call.service, call.key, order_id=call.order_id, request=request)
        if before is not None:
            return cast(Answer, before)
        refuse()
        answer = effect(connection)
        leave(connection, call.service, call.key, answer)
        return answer


def undo(call: Call, effect: Callable[[Connection], Answer]) -> Answer:
    """Undo an action in a transaction of its own, or give the answer of the call that undid it.

    The key is the action's. The effect finds out whether the action happened.
    """
    with surrounding(call) as refuse, transaction() as connection:
        before = close(connection, call.service, call.key)
        if before is not None:
            return cast(Answer, before)
        refuse()
        answer = effect(connection)
        connection.execute(
            text("UPDATE shop.barrier SET undone = CAST(:answer AS jsonb) WHERE service = :service AND key = :key"),
            {"service": call.service, "key": call.key, "answer": json.dumps(answer)},
        )
        return answer


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


def leave(connection: Connection, service: str, key: str, answer: Mapping[str, object]) -> None:
    """Keep the action's answer for further calls with its key."""
    connection.execute(
        text("""
            UPDATE shop.barrier SET answer = CAST(:answer AS jsonb)
             WHERE service = :service AND key = :key
        """),
        {"service": service, "key": key, "answer": json.dumps(answer)},
    )


def close(connection: Connection, service: str, action_key: str) -> dict[str, Any] | None:
    """Close the door behind an action, whether it happened or not; call it first in the undo's transaction.

    This waits for an action that is under way, so what the caller then reads of it is final.

    Returns:
        The answer of the call that undid the action; None if the caller is to undo it.
    """
    undone: dict[str, Any] | None = connection.execute(
        text("""
            INSERT INTO shop.barrier AS door (service, key, closed_at)
            VALUES (:service, :key, clock_timestamp())
            ON CONFLICT (service, key) DO UPDATE SET closed_at = coalesce(door.closed_at, excluded.closed_at)
            RETURNING undone
        """),
        {"service": service, "key": action_key},
    ).scalar_one()
    return undone
