"""Shipping: reserved goods leave the house, once, and do not come back."""

from typing import TypedDict, cast

from sqlalchemy import text

from tasks.services import barrier, faults, inventory
from tasks.services.database import transaction


class Shipped(TypedDict):
    """The answer to `create`."""

    shipment_id: str


def create(order_id: str, reservation_id: str, *, key: str) -> Shipped:
    """Ship what an order holds: the shipment and the change of stock are one transaction.

    Raises:
        NotHeld: the reservation was released, shipped before, or belongs to another order.
        DoorClosed, KeyReused: see `barrier.enter`.
    """
    with (
        faults.around("shipping", "create", key=key, order_id=order_id) as refuse,
        transaction() as connection,
    ):
        request = {"reservation_id": reservation_id}
        answer = barrier.enter(connection, "shipping", key, order_id=order_id, request=request)
        if answer is not None:
            return cast(Shipped, answer)
        refuse()
        inventory.hand_over(connection, order_id, reservation_id)
        shipment_id: str = connection.execute(
            text("""
                INSERT INTO shop.shipment (key, order_id, reservation_id)
                VALUES (:key, :order_id, :reservation_id) RETURNING id
            """),
            {"key": key, "order_id": order_id, "reservation_id": reservation_id},
        ).scalar_one()
        shipped = Shipped(shipment_id=shipment_id)
        barrier.leave(connection, "shipping", key, dict(shipped))
        return shipped
