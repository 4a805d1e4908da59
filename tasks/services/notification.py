"""Notification: tells the customer, once for each key. What was said can't be unsaid, so there is no undo."""

from typing import TypedDict, cast

from sqlalchemy import text

from tasks.services import barrier, faults
from tasks.services.database import transaction


class Sent(TypedDict):
    """The answer to `send`."""

    notification_id: str


def send(order_id: str, subject: str, *, key: str) -> Sent:
    """Tell the customer of an order about `subject`.

    Raises:
        DoorClosed, KeyReused: see `barrier.enter`.
    """
    with (
        faults.around("notification", "send", key=key, order_id=order_id) as refuse,
        transaction() as connection,
    ):
        answer = barrier.enter(connection, "notification", key, order_id=order_id, request={"subject": subject})
        if answer is not None:
            return cast(Sent, answer)
        refuse()
        notification_id: str = connection.execute(
            text("""
                INSERT INTO shop.notification (key, order_id, subject)
                VALUES (:key, :order_id, :subject) RETURNING id
            """),
            {"key": key, "order_id": order_id, "subject": subject},
        ).scalar_one()
        sent = Sent(notification_id=notification_id)
        barrier.leave(connection, "notification", key, dict(sent))
        return sent
