"""Notification: tells the customer, once for each key. What was said can't be unsaid, so there is no undo."""

from typing import TypedDict

from sqlalchemy import Connection, text

from tasks.services import barrier
from tasks.services.barrier import Call


class Sent(TypedDict):
    """The answer to `send`."""

    notification_id: str


def send(order_id: str, subject: str, *, key: str) -> Sent:
    """Tell the customer of an order about `subject`.

    Raises:
        DoorClosed, KeyReused: see `barrier.enter`.
    """

    def tell(connection: Connection) -> Sent:
        statement = text("""
            INSERT INTO shop.notification (key, order_id, subject) VALUES (:key, :order, :subject) RETURNING id
        """)
        given = {"key": key, "order": order_id, "subject": subject}
        return Sent(notification_id=connection.execute(statement, given).scalar_one())

    return barrier.once(Call("notification", "send", key, order_id), {"subject": subject}, tell)
