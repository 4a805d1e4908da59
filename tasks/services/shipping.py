"""Shipping: reserved goods leave the house, once, and do not come back."""

from typing import TypedDict

from sqlalchemy import Connection, text

from tasks.services import barrier, inventory
from tasks.services.barrier import Call


class Shipped(TypedDict):
    """The answer to `create`."""

    shipment_id: str


def create(order_id: str, reservation_id: str, *, key: str) -> Shipped:
    """Ship what an order holds: the shipment and the change of stock are one transaction.

    Raises:
        NotHeld: the reservation was released, shipped before, or belongs to another order.
        DoorClosed, KeyReused: see `barrier.enter`.
    """

    def ship(connection: Connection) -> Shipped:
        inventory.hand_over(connection, order_id, reservation_id)
        statement = text("""
            INSERT INTO shop.shipment (key, order_id, reservation_id)
            VALUES (:key, :order, :reservation) RETURNING id
        """)
        given = {"key": key, "order": order_id, "reservation": reservation_id}
        return Shipped(shipment_id=connection.execute(statement, given).scalar_one())

    return barrier.once(Call("shipping", "create", key, order_id), {"reservation_id": reservation_id}, ship)
