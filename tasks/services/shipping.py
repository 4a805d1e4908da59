"""Shipping: reserved goods leave the house, once, and do not come back."""

from typing import TypedDict

from sqlalchemy import Connection

from tasks.services import barrier, inventory
from tasks.services.barrier import Call
from tasks.services.database import execute


class Shipped(TypedDict):
    shipment_id: str


def create(order_id: str, reservation_id: str, *, key: str) -> Shipped:
    """Ship what an order holds: the shipment and the change of stock are one transaction.

    Raises NotHeld if the reservation was released, shipped before, or belongs to another order.
    """

    def ship(connection: Connection) -> Shipped:
        inventory.hand_over(connection, order_id, reservation_id)
        statement = """
            INSERT INTO shop.shipment (key, order_id, reservation_id) VALUES (:key, :order, :reservation) RETURNING id
        """
        created = execute(connection, statement, key=key, order=order_id, reservation=reservation_id)
        return Shipped(shipment_id=created.scalar_one())

    return barrier.once(Call("shipping", "create", key, order_id), {"reservation_id": reservation_id}, ship)
