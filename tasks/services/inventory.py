"""Inventory: every piece is available, held by a reservation or shipped, and none gets lost in between.

A reservation may be committed: its pieces stay held until they are shipped, and can't be released any more.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from sqlalchemy import Connection

from tasks.services import barrier
from tasks.services.barrier import Call
from tasks.services.database import execute
from tasks.services.errors import InvalidRequest, NotHeld, OutOfStock


class Reserved(TypedDict):
    reservation_id: str


class Committed(TypedDict):
    committed_at: str


def reserve(order_id: str, items: Sequence[Mapping[str, Any]], *, key: str) -> Reserved:
    """Hold pieces for an order, all that it asks for or none; by the same key they can be released.

    Raises:
        OutOfStock: too few pieces of an article are left.
        InvalidRequest: nothing was asked for, or an unknown article, or less than one piece.
    """
    wanted = _quantities(items)

    def hold(connection: Connection) -> Reserved:
        statement = "INSERT INTO shop.reservation (key, order_id) VALUES (:key, :order_id) RETURNING id"
        reservation_id = execute(connection, statement, key=key, order_id=order_id).scalar_one()
        for sku, quantity in sorted(wanted.items()):  # by sku, here and in `_end`, or two orders could deadlock
            statement = "SELECT available FROM shop.stock WHERE sku = :sku FOR NO KEY UPDATE"
            available = execute(connection, statement, sku=sku).scalar()
            if available is None:
                raise InvalidRequest(f"order {order_id}: there is no article {sku!r}")
            if available < quantity:
                raise OutOfStock(f"order {order_id}: {quantity} × {sku} asked for, {available} left")
            _move(connection, "available", "held", sku, quantity)
            statement = "INSERT INTO shop.reservation_line VALUES (:id, :sku, :quantity)"
            execute(connection, statement, id=reservation_id, sku=sku, quantity=quantity)
        return Reserved(reservation_id=reservation_id)

    return barrier.once(Call("inventory", "reserve", key, order_id), {"items": wanted}, hold)


def release(*, key: str) -> None:
    """Put back what was reserved under this key, if it was, and make sure that it never will be.

    Raises NotHeld if it has been shipped, or was committed and belongs to its buyer.
    """

    def put_back(connection: Connection) -> None:
        statement = "SELECT id, order_id FROM shop.reservation WHERE key = :key"
        for reservation in execute(connection, statement, key=key).all():  # none, or one
            _require(connection, reservation.order_id, reservation.id, "release", "held")
            _end(connection, reservation.id, "released", "available")

    barrier.undo(Call("inventory", "release", key), put_back)


def commit(order_id: str, reservation_id: str, *, key: str) -> Committed:
    """Commit what an order holds: from now on it can only be shipped. Raises NotHeld if the order does not hold it."""

    def make_final(connection: Connection) -> Committed:
        _require(connection, order_id, reservation_id, "commit", "held")
        statement = "UPDATE shop.reservation SET committed_at = clock_timestamp() WHERE id = :id RETURNING committed_at"
        return Committed(committed_at=str(execute(connection, statement, id=reservation_id).scalar_one()))

    return barrier.once(Call("inventory", "commit", key, order_id), {"commit": reservation_id}, make_final)


def hand_over(connection: Connection, order_id: str, reservation_id: str) -> None:
    """Ship what an order holds, in the transaction of its shipment. Raises NotHeld if the order does not hold it."""
    _require(connection, order_id, reservation_id, "ship", "held", "committed")
    _end(connection, reservation_id, "shipped", "shipped")


def _require(connection: Connection, order_id: str, reservation_id: str, verb: str, *states: str) -> None:
    statement = """
        SELECT CASE WHEN status = 'held' AND committed_at IS NOT NULL THEN 'committed' ELSE status END
          FROM shop.reservation WHERE id = :id AND order_id = :order_id FOR NO KEY UPDATE
    """
    state = execute(connection, statement, id=reservation_id, order_id=order_id).scalar()
    if state not in states:
        raise NotHeld(f"order {order_id} can't {verb} {reservation_id}: it is {state or 'not one of its own'}")


def _end(connection: Connection, reservation_id: str, status: str, target: str) -> None:
    statement = "UPDATE shop.reservation SET status = :status, moved_at = clock_timestamp() WHERE id = :id"
    execute(connection, statement, id=reservation_id, status=status)
    statement = "SELECT sku, quantity FROM shop.reservation_line WHERE reservation_id = :id ORDER BY sku"
    for line in execute(connection, statement, id=reservation_id).all():
        _move(connection, "held", target, line.sku, line.quantity)


def _move(connection: Connection, source: str, target: str, sku: str, quantity: int) -> None:
    statement = f"UPDATE shop.stock SET {source} = {source} - :n, {target} = {target} + :n WHERE sku = :sku"
    execute(connection, statement, n=quantity, sku=sku)


def _quantities(items: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    wanted: Counter[str] = Counter()
    for item in items:
        match item:
            case {"sku": str(sku), "quantity": int(quantity)} if quantity > 0:
                wanted[sku] += quantity
            case _:
                raise InvalidRequest(f"an item needs a sku and a quantity of at least one, not {dict(item)}")
    if not wanted:
        raise InvalidRequest("nothing was asked for: items is empty")
    return dict(wanted)
