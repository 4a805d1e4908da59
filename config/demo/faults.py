"""Faults injected into the services: a table that any process may fill and every worker obeys.

    faults.inject("payment", "charge", "refuse", order_id="42")
    faults.inject("shipping", "create", "latency", seconds=2)
    faults.inject("payment", "charge", "crash", moment="after", times=1)
    faults.clear()

`after` is the nasty one: the effect is committed and the caller does not learn it.
"""

import os
import signal
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, NoReturn

from sqlalchemy import Connection, text

from tasks.services import barrier
from tasks.services.barrier import Answer, Call
from tasks.services.database import transaction
from tasks.services.errors import Refused

OPERATIONS: Final = {
    "inventory": ("reserve", "release", "commit"),
    "payment": ("charge", "refund"),
    "shipping": ("create",),
    "notification": ("send",),
    "flight": ("reserve", "cancel"),
    "hotel": ("reserve", "cancel"),
    "car": ("reserve", "cancel"),
    "booking": ("confirm",),
    "authorisation": ("authorise", "void", "capture"),
}

#: The functions that `install` replaces.
_once, _undo = barrier.once, barrier.undo


class Kind(StrEnum):
    """The effect of a fault on a call."""

    REFUSE = "refuse"
    """The service says no, before any effect; a repeated call whose effect exists is still answered."""
    ERROR = "error"
    """A `ConnectionError`: the caller can't know whether anything happened."""
    LATENCY = "latency"
    """The call takes `seconds` longer."""
    CRASH = "crash"
    """The calling process kills itself with SIGKILL."""


class Moment(StrEnum):
    """The moment of a fault: before or after the service's transaction, never inside it."""

    BEFORE = "before"
    AFTER = "after"


def inject(
    service: str,
    operation: str,
    kind: Kind | str,
    *,
    moment: Moment | str = Moment.BEFORE,
    seconds: float = 0.0,
    times: int | None = None,
    order_id: str | None = None,
) -> int:
    """Let calls of one operation go wrong from now on, in every process; return the fault's id for `hits`.

    Args:
        service: one of `OPERATIONS`.
        operation: the name of the service's function, as in `OPERATIONS`.
        kind: the effect; several faults may strike one call, in the order of their injection.
        moment: before or after the effect.
        seconds: how long a latency lasts.
        times: how many calls it strikes; None: all, until it is cleared.
        order_id: only calls for this order, or this trip; an undo belongs to its action's order, if the action came.

    Raises:
        ValueError: there is no such operation, kind or moment.
    """
    if operation not in OPERATIONS.get(service, ()):
        raise ValueError(f"no operation {service}.{operation}; there are {OPERATIONS}")
    with transaction() as connection:
        fault_id: int = connection.execute(
            text("""
                INSERT INTO shop.fault (service, operation, kind, moment, seconds, remaining, order_id)
                VALUES (:service, :operation, :kind, :moment, :seconds, :times, :order_id)
                RETURNING id
            """),
            {
                "service": service,
                "operation": operation,
                "kind": Kind(kind).value,
                "moment": Moment(moment).value,
                "seconds": seconds,
                "times": times,
                "order_id": order_id,
            },
        ).scalar_one()
    return fault_id


def clear() -> None:
    """Let everything go well again."""
    with transaction() as connection:
        connection.execute(text("DELETE FROM shop.fault"))


def hits(fault_id: int) -> int:
    """Return how many calls the fault has struck; counted before it acts, so a test can wait for a sleeping call."""
    with transaction() as connection:
        struck = connection.execute(text("SELECT hits FROM shop.fault WHERE id = :id"), {"id": fault_id}).scalar()
    return struck or 0


def install() -> None:
    """Let the services of this process obey the table."""
    barrier.once, barrier.undo = once, undo


def once(call: Call, request: dict[str, Any], effect: Callable[[Connection], Answer]) -> Answer:
    """Strike before and after an action."""
    refused = _strike(call, Moment.BEFORE)
    answer = _once(call, request, _refusal(call) if refused else effect)
    _strike(call, Moment.AFTER)
    return answer


def undo(call: Call, effect: Callable[[Connection], None]) -> None:
    """Strike before and after the undo of an action."""
    refused = _strike(call, Moment.BEFORE)
    _undo(call, _refusal(call) if refused else effect)
    _strike(call, Moment.AFTER)


def _refusal(call: Call) -> Callable[[Connection], NoReturn]:
    # In place of the effect: the barrier has found out by then that the effect does not exist yet. A refusal after the
    # effect would be false, and would undo nothing.
    def refuse(connection: Connection) -> NoReturn:
        raise Refused(f"{call.service}: {call.operation} refused, by injection")

    return refuse


def _strike(call: Call, moment: Moment) -> bool:
    with transaction() as connection:
        struck = connection.execute(
            text("""
                WITH due AS (
                    SELECT id FROM shop.fault
                     WHERE service = :service AND operation = :operation AND moment = :moment
                       AND remaining IS DISTINCT FROM 0
                       AND (order_id IS NULL OR order_id = coalesce(:order_id,
                               (SELECT b.order_id FROM shop.barrier b
                                 WHERE b.service = :service AND b.key = :key)))
                     ORDER BY id FOR UPDATE
                ), struck AS (
                    UPDATE shop.fault f SET hits = hits + 1, remaining = remaining - 1
                      FROM due WHERE f.id = due.id RETURNING f.id, f.kind, f.seconds
                )
                SELECT kind, seconds FROM struck ORDER BY id
            """),
            {
                "service": call.service,
                "operation": call.operation,
                "moment": moment.value,
                "key": call.key,
                "order_id": call.order_id,
            },
        ).all()
    refused = False
    for kind, seconds in struck:
        match Kind(kind):
            case Kind.REFUSE:
                refused = True
            case Kind.ERROR:
                raise ConnectionError(f"{call.service}: lost the connection {moment} {call.operation}, by injection")
            case Kind.LATENCY:
                time.sleep(seconds)
            case Kind.CRASH:
                os.kill(os.getpid(), signal.SIGKILL)
    return refused
