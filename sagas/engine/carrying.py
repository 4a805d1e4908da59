"""Add the headers that a saga keeps to its messages, after every receiver, whatever process publishes them.

Celery itself publishes the tails of chains and their error callbacks, and receivers overwrite the headers of
signatures. So this happens between Celery and its producer.
"""

import logging
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from uuid import UUID

from celery import Celery
from celery.utils.imports import symbol_by_name

from sagas.engine.capture import capture_for
from sagas.engine.messages import ADDRESS_HEADER, CALLBACK_TASK, SENT_HEADER, saga_id_of
from sagas.model import Address, ErrorInfo, Misdelivered, Reason, Secrecy
from sagas.model.headers import DIGEST_HEADER, laid_over, without
from sagas.store import Clock, Headers, legible

logger = logging.getLogger("sagas")


class Carrying:
    """The headers of one app's saga messages."""

    def __init__(self, app: Celery, headers: Headers, clock: Clock, secrecy: Secrecy) -> None:
        self._app = app
        self._headers = headers
        self._clock = clock
        self._secrecy = secrecy

    def put_into(self, app: Celery) -> None:
        """Make the app publish through this object."""
        base = symbol_by_name(app.amqp_cls)
        carrying = self

        def create(amqp: Any) -> Any:
            send = base._create_task_sender(amqp)

            def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
                if saga_id_of(message.body) is not None:
                    producer = capture_for(message.body) or _Producer(producer, carrying, name)
                return send(producer, name, message, **options)

            return send_task_message

        # The app's own is made late, since it reads the configuration.
        app.amqp_cls = type("CarryingAMQP", (base,), {"_create_task_sender": create})
        made = vars(app).get("amqp")
        if made is not None:
            made.__class__ = app.amqp_cls
            vars(made).pop("send_task_message", None)

    def refusal_of(self, request: Any, instance_id: UUID, address: Address) -> Misdelivered | None:
        """Return the refusal of a message that lacks its saga's headers; None: it has them.

        An older worker sent it. It could run for another tenant, for example; it is sent again with the headers.
        """
        with legible(instance_id):
            kept = self._headers.of(instance_id)
        if kept is None or kept.digest in (None, getattr(request, DIGEST_HEADER, None)):
            return None
        error = ErrorInfo(
            type=Reason.HEADERS_MISSING,
            message=f"the message came without the headers of its saga ({', '.join(kept.names())}): a worker of an "
            "older release sent it, or something on its way removes headers",
        )
        return Misdelivered(address=address, error=error)

    def seen_by_task(self, instance_id: UUID) -> Mapping[str, Any]:
        """Return the kept headers that a task of the saga may see."""
        with legible(instance_id):
            kept = self._headers.of(instance_id)
        if kept is None:
            return MappingProxyType({})
        return MappingProxyType({**(kept.nested or {}), **kept.top, **self._secrecy.open(kept.secret)})

    def lay(self, name: str, body: Any, headers: Mapping[str, Any]) -> dict[str, Any]:
        """Return a message's headers merged with those that its saga keeps; never raises."""
        instance_id = saga_id_of(body)
        if instance_id is None or (name != CALLBACK_TASK and ADDRESS_HEADER not in headers):
            return dict(headers)
        headers = without(headers, self._secrecy.names)
        now = self._clock.now()
        if now is not None:
            headers[SENT_HEADER] = now.isoformat()
        try:
            kept = self._headers.of(instance_id)
        except Exception as error:  # such as the database being away; a worker that can query it refuses the message
            logger.warning("headers of saga %s not laid over its message: %r", instance_id, error)
            kept = None
        if kept is None:
            return headers
        request = getattr(self._app.current_worker_task, "request", None)
        within = getattr(request, "root_id", None) == str(instance_id)
        return laid_over(headers, kept, within=within, now=time.time())


class _Producer:
    """Publishes through another producer."""

    def __init__(self, producer: Any, carrying: Carrying, name: str) -> None:
        self._producer, self._carrying, self._name = producer, carrying, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(self, body: Any, *, headers: dict[str, Any] | None = None, **options: Any) -> Any:
        if headers is not None:
            laid = self._carrying.lay(self._name, body, headers)
            # In place: receivers that are told of the sent message see what was sent.
            headers.clear()
            headers.update(laid)
        return self._producer.publish(body, headers=headers, **options)
