"""Inventory: every piece is available, held by a reservation or shipped, and none gets lost in between.

A reservation may be committed: its pieces stay held until they are shipped, and can't be released any more.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from sqlalchemy import Connection, text

from tasks.services import barrier
from tasks.services.barrier import Call
from tasks.services.database import transaction
from tasks.services.errors import InvalidRequest, NotHeld, OutOfStock


class Reserved(TypedDict):
    """The answer to `reserve`."""

    reservation_id: str


class Released(TypedDict):
    """The answer to `release`; None if there was nothing to release."""

    released_id: str | None


class Committed(TypedDict):
    """The answer to `commit`."""

    commitment_id: str


def stock_up(sku: str, quantity: int) -> None:
    """Put new pieces on the shelf. Not idempotent: goods arrive by hand, not by message."""
    with transaction() as connection:
        connection.execute(
            text("""
                INSERT INTO shop.stock AS shelf (sku, initial, available) VALUES (:sku, :quantity, :quantity)
                ON CONFLICT (sku) DO UPDATE SET initial = shelf.initial + excluded.initial,
                                                available = shelf.available + excluded.available
            """),
            {"sku": sku, "quantity": quantity},
        )


def reserve(order_id: str, items: Sequence[Mapping[str, Any]], *, key: str) -> Reserved:
    """Hold pieces for an order: all that it asks for or none.

    Args:
        order_id: the order.
        items: what to hold, each with `sku` and `quantity`.
        key: the action's idempotency key, by which it can also be released.

    Raises:
        OutOfStock: too few pieces of an article are left.
        InvalidRequest: nothing was asked for, or an unknown article, or less than one piece.
        DoorClosed, KeyReused: see `barrier.enter`.
    """
    wanted = _quantities(items)

    def hold(connection: Connection) -> Reserved:
        available = _lock_stock(connection, wanted)
        for sku, quantity in wanted.items():
            if sku not in available:
                raise InvalidRequest(f"order {order_id}: there is no article {sku!r}")
            if available[sku] < quantity:
                raise OutOfStock(f"order {order_id}: {quantity} × {sku} asked for, {available[sku]} left")
        statement = text("INSERT INTO shop.reservation (key, order_id) VALUES (:key, :order_id) RETURNING id")
        reservation_id = connection.execute(statement, {"key": key, "order_id": order_id}).scalar_one()
        connection.execute(
            text("INSERT INTO shop.reservation_line VALUES (:reservation_id, :sku, :quantity)"),
            [{"reservation_id": reservation_id, "sku": sku, "quantity": n} for sku, n in wanted.items()],
        )
        connection.execute(
            text("""
                UPDATE shop.stock s SET available = s.available - l.quantity, held = s.held + l.quantity
                  FROM shop.reservation_line l WHERE l.reservation_id = :reservation_id AND l.sku = s.sku
            """),
            {"reservation_id": reservation_id},
        )
        return Reserved(reservation_id=reservation_id)

    return barrier.once(Call("inventory", "reserve", key, order_id), {"items": wanted}, hold)


def release(*, key: str) -> Released:
    """Put back what was reserved under this key, if it was, and make sure that it never will be.

    Raises:
        NotHeld: it has been shipped, and can't be put back on the shelf; or committed, and belongs to its buyer.
    """

    def put_back(connection: Connection) -> Released:
        reservation = connection.execute(
            text("SELECT id, status FROM shop.reservation WHERE key = :key FOR NO KEY UPDATE"), {"key": key}
        ).one_or_none()
        if reservation is None:
            return Released(released_id=None)
        if reservation.status == "shipped":
            raise NotHeld(f"{reservation.id} has been shipped and can't be released")
        if _is_committed(connection, reservation.id):
            raise NotHeld(f"{reservation.id} has been committed and can't be released")
        _move(connection, reservation.id, "released")
        return Released(released_id=reservation.id)

    return barrier.undo(Call("inventory", "release", key), put_back)


def commit(order_id: str, reservation_id: str, *, key: str) -> Committed:
    """Commit what an order holds: from now on it can only be shipped.

    Raises:
        NotHeld: the reservation was released, shipped, committed before, or belongs to another order.
        DoorClosed, KeyReused: see `barrier.enter`.
    """

    def make_final(connection: Connection) -> Committed:
        _require_held(connection, order_id, reservation_id, "commit")
        if _is_committed(connection, reservation_id):
            raise NotHeld(f"order {order_id} can't commit {reservation_id}: it has been committed")
        statement = text("""
            INSERT INTO shop.commitment (key, order_id, reservation_id)
            VALUES (:key, :order_id, :reservation_id) RETURNING id
        """)
        given = {"key": key, "order_id": order_id, "reservation_id": reservation_id}
        return Committed(commitment_id=connection.execute(statement, given).scalar_one())

    return barrier.once(Call("inventory", "commit", key, order_id), {"commit": reservation_id}, make_final)


def hand_over(connection: Connection, order_id: str, reservation_id: str) -> None:
    """Ship what an order holds, in the transaction of its shipment.

    Raises:
        NotHeld: the order does not hold this reservation.
    """
    _require_held(connection, order_id, reservation_id, "ship")
    _move(connection, reservation_id, "shipped")


def _require_held(connection: Connection, order_id: str, reservation_id: str, verb: str) -> None:
    status = connection.execute(
        text("SELECT status FROM shop.reservation WHERE id = :id AND order_id = :order_id FOR NO KEY UPDATE"),
        {"id": reservation_id, "order_id": order_id},
    ).scalar()
    if status != "held":
        raise NotHeld(f"order {order_id} can't {verb} {reservation_id}: it is {status or 'not one of its own'}")


def _is_committed(connection: Connection, reservation_id: str) -> bool:
    # Asked only with the reservation locked, and in a statement of its own: what another transaction did while
    # this one waited for the lock is seen by the next statement, not by the one that waited.
    committed: bool = connection.execute(
        text("SELECT EXISTS (SELECT FROM shop.commitment WHERE reservation_id = :id)"), {"id": reservation_id}
    ).scalar_one()
    return committed


def _move(connection: Connection, reservation_id: str, status: str) -> None:
    skus = connection.execute(
        text("SELECT sku FROM shop.reservation_line WHERE reservation_id = :id"), {"id": reservation_id}
    ).scalars()
    _lock_stock(connection, skus)
    connection.execute(
        text("""
            UPDATE shop.stock s
               SET held = s.held - l.quantity,
                   available = s.available + CASE WHEN :status = 'released' THEN l.quantity ELSE 0 END,
                   shipped = s.shipped + CASE WHEN :status = 'shipped' THEN l.quantity ELSE 0 END
              FROM shop.reservation_line l WHERE l.reservation_id = :id AND l.sku = s.sku
        """),
        {"id": reservation_id, "status": status},
    )
    connection.execute(
        text("UPDATE shop.reservation SET status = :status, moved_at = clock_timestamp() WHERE id = :id"),
        {"id": reservation_id, "status": status},
    )


def _lock_stock(connection: Connection, skus: Iterable[str]) -> dict[str, int]:
    # Always by sku: two orders for the same articles in different sequences would deadlock.
    rows = connection.execute(
        text("SELECT sku, available FROM shop.stock WHERE sku = ANY(:skus) ORDER BY sku FOR NO KEY UPDATE"),
        {"skus": list(skus)},
    )
    return {row.sku: row.available for row in rows}


def _quantities(items: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    wanted: Counter[str] = Counter()
    for item in items:
        sku, quantity = item.get("sku"), item.get("quantity")
        if not isinstance(sku, str) or not isinstance(quantity, int) or quantity < 1:
            raise InvalidRequest(f"an item needs a sku and a quantity of at least one, not {dict(item)}")
        wanted[sku] += quantity
    if not wanted:
        raise InvalidRequest("nothing was asked for: items is empty")
    return dict(wanted)
