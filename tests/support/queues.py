"""The messages in a test's broker, and those that its workers received."""

import json
import re
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sagas import Sagas
from sagas.engine.messages import SENT_HEADER
from tests.support.workers import Worker

_RECEIVED = re.compile(r"Task (\S+)\[([0-9a-f-]+)\] received")


def queued(sagas: Sagas, queue: str = "celery") -> list[dict[str, Any]]:
    """Return the headers of the messages that wait in a queue, the next one first."""
    with sagas.app.connection_for_read() as connection:
        stored = connection.default_channel.client.lrange(queue, 0, -1)
    return [json.loads(message)["headers"] for message in reversed(stored)]


def take_out(sagas: Sagas, queue: str = "celery") -> list[dict[str, Any]]:
    """Empty a queue and return its messages as they are stored."""
    with sagas.app.connection_for_read() as connection:
        client = connection.default_channel.client
        stored = client.lrange(queue, 0, -1)
        client.delete(queue)
    return [json.loads(message) for message in reversed(stored)]


def redeliver(sagas: Sagas, message: dict[str, Any], queue: str = "celery") -> None:
    """Put a message back as the transport does when its consumer died before it acknowledged."""
    message["properties"]["delivery_info"]["redelivered"] = True
    message["headers"]["redelivered"] = True
    put_back(sagas, message, queue)


def put_back(sagas: Sagas, message: dict[str, Any], queue: str = "celery") -> None:
    """Put a stored message into a queue, as the next one."""
    with sagas.app.connection_for_write() as connection:
        connection.default_channel.client.rpush(queue, json.dumps(message))


def age(sagas: Sagas, seconds: float, queue: str = "celery") -> None:
    """Make the moments at which the messages in a queue were sent so many seconds earlier."""
    with sagas.app.connection_for_write() as connection:
        client = connection.default_channel.client
        aged = [_sent_earlier(json.loads(message), seconds) for message in client.lrange(queue, 0, -1)]
        with client.pipeline() as pipeline:
            for number, message in enumerate(aged):
                pipeline.lset(queue, number, json.dumps(message))
            pipeline.execute()


def _sent_earlier(message: dict[str, Any], seconds: float) -> dict[str, Any]:
    headers = message["headers"]
    if SENT_HEADER in headers:  # a process that has not met the database's clock yet does not say when it sends
        headers[SENT_HEADER] = (datetime.fromisoformat(headers[SENT_HEADER]) - timedelta(seconds=seconds)).isoformat()
    return message


def forget_everything(sagas: Sagas) -> None:
    """Make the broker lose all messages."""
    with sagas.app.connection_for_read() as connection:
        connection.default_channel.client.flushdb()


def received(worker: Worker) -> list[str]:
    """Return the names, as Flower shows them, of the messages that a worker has received."""
    return [name for name, _ in _RECEIVED.findall(worker.text())]


def of(saga_id: UUID, headers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the headers of one instance's messages."""
    return [header for header in headers if header["root_id"] == str(saga_id)]
