"""Notification: tells the customer, once for each key. What was said can't be unsaid, so there is no undo."""

from typing import TypedDict

from sqlalchemy import Connection

from tasks.services import barrier
from tasks.services.barrier import Call
from tasks.services.database import execute


class Sent(TypedDict):
    notification_id: str


def send(order_id: str, subject: str, *, key: str) -> Sent:
    """Tell the customer of an order about `subject`."""

    def tell(connection: Connection) -> Sent:
        statement = """
            INSERT INTO shop.notification (key, order_id, subject) VALUES (:key, :order, :subject) RETURNING id
        """
        told = execute(connection, statement, key=key, order=order_id, subject=subject)
        return Sent(notification_id=told.scalar_one())

    return barrier.once(Call("notification", "send", key, order_id), {"subject": subject}, tell)
