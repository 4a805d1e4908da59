"""An app's control queue, for its error callbacks, sweeps and purges, each marked with the schema it belongs to."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from celery import Celery
from celery.utils.imports import symbol_by_name

from sagas.engine.messages import CALLBACK_TASK, CONTROL_QUEUE, PURGE_TASK, SWEEP_TASK, Messages
from sagas.errors import ConfigurationError
from sagas.store import Fleet

logger = logging.getLogger("sagas")

CONTROL_TASKS = frozenset({CALLBACK_TASK, PURGE_TASK, SWEEP_TASK})
#: The header of a control message that says in which schema its sagas live.
HOME_HEADER = "saga_home"
#: Seconds before a database that did not answer is asked for the mark again: a sweep comes every few seconds.
ASKED_AGAIN_AFTER = 60.0


class Control:
    """The control queue of one app, and the mark on its messages.

    Raises:
        ConfigurationError: the name cannot be that of a queue.
    """

    def __init__(self, queue: str, fleet: Fleet) -> None:
        if not isinstance(queue, str) or not queue.isprintable() or queue != queue.strip() or not 0 < len(queue) < 200:
            raise ConfigurationError(
                f"control_queue={queue!r:.99} cannot name a queue: use letters, digits and dashes, as in 'shop-sagas'"
            )
        self.queue = queue
        self._fleet = fleet
        self._ask_at = float("-inf")
        self._is_quorum: Callable[[], bool] = lambda: False
        #: The mark, as far as it is known; children of a worker inherit it.
        self.known_home: str | None = None

    @property
    def consumed(self) -> list[str]:
        """The queues that a worker consumes; until the next release, the former queue is one of them."""
        return [self.queue] if self.queue == CONTROL_QUEUE else [self.queue, CONTROL_QUEUE]

    def home(self) -> str | None:
        """Return the mark of this app's schema; None while the database cannot be read."""
        if self.known_home is None and time.monotonic() >= self._ask_at:
            try:
                self.known_home = self._fleet.home()
            except Exception as error:  # every worker takes a message without a mark, as before there were marks
                self._ask_at = time.monotonic() + ASKED_AGAIN_AFTER
                logger.warning("control messages are sent without their mark, which could not be read: %r", error)
        return self.known_home

    def foreign_home(self, headers: Any) -> str | None:
        """Return the mark of a control message from another schema; None: it is ours, or has no mark."""
        if not isinstance(headers, Mapping) or headers.get("task") not in CONTROL_TASKS:
            return None
        home = headers.get(HOME_HEADER)
        return home if isinstance(home, str) and self.known_home not in (None, home) else None

    def put_into(self, app: Celery) -> None:
        """Make the app know the queue, even if queues are strict, and mark the messages that it sends there."""
        base = symbol_by_name(app.amqp_cls)
        control = self
        self._is_quorum = lambda: getattr(app.conf, "task_default_queue_type", None) == "quorum"

        def queues(amqp: Any, *args: Any, **options: Any) -> Any:
            made = base.Queues(amqp, *args, **options)
            control.declare(made)
            return made

        def create(amqp: Any) -> Any:
            send = base._create_task_sender(amqp)

            def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
                if name in CONTROL_TASKS and (home := control.home()) is not None:
                    message.headers[HOME_HEADER] = home
                return send(producer, name, message, **options)

            return send_task_message

        app.amqp_cls = type("ControlAMQP", (base,), {"Queues": queues, "_create_task_sender": create})
        made = vars(app).get("amqp")
        if made is not None and "queues" in vars(made):
            self.declare(made.queues)

    def declare(self, queues: Any) -> None:
        """Add the control queue to an app's queues, as Celery adds a missing one, unless the app declares it.

        If the app's default queue is a quorum queue, so is this one: it must survive whatever the sagas survive.
        """
        for name in self.consumed:
            if name not in queues:
                made = queues.new_missing(name)
                if name == self.queue and self._is_quorum():
                    made.queue_arguments = {**(made.queue_arguments or {}), "x-queue-type": "quorum"}
                queues.add(made)

    def consume(self, queues: Any) -> None:
        """Make a worker consume it, even with ``-Q``: error callbacks and sweeps have to be received."""
        self.declare(queues)
        for name in self.consumed:
            queues.select_add(queues[name])


def left_in(queue: str, messages: Messages) -> int:
    """Return how many messages wait in a queue, of any sender. Raises the broker's errors."""
    with messages.impatient_connection() as connection:
        try:
            return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0  # there is no such queue
