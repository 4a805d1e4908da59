"""The way to the other side: a broker that kombu supports, or a function of the application."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any

import kombu as untyped

from sagas.bridges.envelope import CONTENT_TYPE
from sagas.bridges.signing import SIGNATURE, sign

if TYPE_CHECKING:
    from sagas.bridges.bridge import Bridge

logger = logging.getLogger("sagas")
kombu: Any = untyped

#: How long a broker may take to answer, and how often a connection shows that it lives, in seconds.
PATIENCE, HEARTBEAT = 5.0, 20.0
#: How many messages are taken from the broker at once.
PREFETCH = 50
#: Publishes are confirmed; messages that a killed process had taken come again within a minute.
OPTIONS: dict[str, dict[str, Any]] = {
    "amqp": {"confirm_publish": True, "read_timeout": PATIENCE * 4, "write_timeout": PATIENCE * 4},
    "redis": {
        "visibility_timeout": 60,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "socket_connect_timeout": PATIENCE,
        "socket_timeout": PATIENCE * 4,
    },
}

Receive = Callable[[bytes, dict[str, Any]], None]


class BrokerLine:
    """An open connection to the bridge's broker, of one thread."""

    confirms = True

    def __init__(self, bridge: "Bridge", receive: Receive) -> None:
        self._bridge = bridge
        self._receive = receive
        self._connection: Any = connection_of(bridge)
        # Whatever a client raises when it connects, kombu wraps into an error of its own.
        away = (OSError, kombu.exceptions.OperationalError)
        self.errors = (*self._connection.connection_errors, *self._connection.channel_errors, *away)

    def __enter__(self) -> "BrokerLine":
        try:
            self._connection.ensure_connection(max_retries=1, interval_start=0, interval_max=0, timeout=PATIENCE)
            self._outgoing = kombu.Queue(self._bridge.outgoing, durable=True)
            self._producer = kombu.Producer(self._connection.channel())
            self._outgoing.bind(self._producer.channel).declare()
            incoming = kombu.Queue(self._bridge.incoming, durable=True)
            channel = self._connection.channel()
            self._consumer = kombu.Consumer(channel, [incoming], on_message=self._take, prefetch_count=PREFETCH)
            self._consumer.consume()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):  # unacknowledged messages go back to the queue, now or when they are missed
            self._connection.release()

    def send(self, body: bytes) -> None:
        self._producer.publish(
            body,
            exchange="",
            routing_key=self._outgoing.name,
            headers={SIGNATURE: sign(body, self._bridge.keys)},
            content_type=CONTENT_TYPE,
            content_encoding="binary",
            delivery_mode=2,
        )

    def drain(self, seconds: float) -> None:
        """Take a message that comes within some time; return after the first one, or when the time is over."""
        self._connection.heartbeat_check()
        with suppress(TimeoutError):
            self._connection.drain_events(timeout=seconds)

    def _take(self, message: Any) -> None:
        """Take a message, and confirm it once it is stored. Its content is never decoded by kombu."""
        body = message.body
        self._receive(body.encode() if isinstance(body, str) else bytes(body), dict(message.headers or {}))
        message.ack()


class NotTaken(Exception):
    """A function of the application did not take a message; the text says why."""


class FunctionLine:
    """A function of the application that publishes: the other side does not confirm the messages that it takes."""

    confirms = False
    errors = (NotTaken,)

    def __init__(self, bridge: "Bridge") -> None:
        assert bridge.publish is not None
        self._publish, self._bridge = bridge.publish, bridge

    def __enter__(self) -> "FunctionLine":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def send(self, body: bytes) -> None:
        headers = {SIGNATURE: sign(body, self._bridge.keys), "content-type": CONTENT_TYPE}
        try:
            returned = self._publish(body, headers)
        except Exception as error:
            raise NotTaken(f"publish= raised {type(error).__qualname__}: {error}") from error
        if isawaitable(returned):
            if iscoroutine(returned):
                returned.close()
            raise NotTaken(
                f"publish= returned a {type(returned).__qualname__}: it must return once the message is taken"
            )

    def drain(self, seconds: float) -> None:
        time.sleep(seconds)


def connection_of(bridge: "Bridge") -> Any:
    """Return a connection to the bridge's broker, which is made when it is first used."""
    made = kombu.Connection(bridge.broker, connect_timeout=PATIENCE, heartbeat=HEARTBEAT)
    made.transport_options = {**(made.transport_options or {}), **OPTIONS.get(made.transport.driver_type, {})}
    return made
