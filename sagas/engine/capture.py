"""Capture the headers that publishing a saga's first step would carry, at its start, from its caller's context.

A message has to be published to see them: receivers of ``before_task_publish`` set some, task classes with their own
``apply_async`` others, and instrumentations wrap both. So it really is published, as far as the producer.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sagas.engine.messages import ADDRESS_HEADER, saga_id_of
from sagas.errors import ConfigurationError, StartRefused
from sagas.model import Plan, Secrecy, tracing
from sagas.model.headers import MOST_BYTES, Choice, Kept
from sagas.store import encode_headers, size_of_headers

logger = logging.getLogger("sagas")


class Capture:
    """A producer that sends nothing. It keeps the headers of the message that it is made for."""

    serializer = None

    def __init__(self, instance_id: UUID) -> None:
        self._instance_id = instance_id
        self.headers: dict[str, Any] | None = None

    @property
    def connection(self) -> "Capture":
        return self

    @contextmanager
    def _reraise_as_library_errors(self, *_: Any, **__: Any) -> Iterator[None]:
        yield

    def is_for(self, body: Any) -> bool:
        return saga_id_of(body) == self._instance_id

    def publish(self, body: Any, *, headers: Mapping[str, Any] | None = None, **_: Any) -> None:
        if self.is_for(body):
            self.headers = dict(headers or {})


_capturing: ContextVar[Capture | None] = ContextVar("sagas_capturing", default=None)


def capture_for(body: Any) -> Capture | None:
    """Return the capture that a message is for; None: it is to be sent."""
    capture = _capturing.get()
    return capture if capture is not None and capture.is_for(body) else None


def captured(publish: Callable[..., object], instance_id: UUID, task_id: str) -> Mapping[str, Any] | None:
    """Return the headers that the message of an instance's first step would have; None: nothing was published.

    It leaves no trace: spans and the like begin and end in a copy of the context.

    Args:
        publish: publishes the message, with these options.
        task_id: the id that the message has when it is sent.
    """
    capture = Capture(instance_id)

    def run() -> None:
        _capturing.set(capture)
        publish(producer=capture, task_id=task_id, add_to_parent=False)

    copy_context().run(run)
    return capture.headers


@dataclass(frozen=True, slots=True)
class Beginning:
    """The values of an instance that are made before it is inserted."""

    id: UUID
    first_id: str  # of its first message
    headers: str | None  # for its row


class Captor:
    """Chooses which headers are kept, as the application configured."""

    def __init__(self, listed: Iterable[str] | None, secrecy: Secrecy) -> None:
        if isinstance(listed, str) or not isinstance(listed, Iterable | None):
            raise ConfigurationError(f"headers={listed!r} must be names, as in headers=['x-auth-tenant'], or None")
        self.is_wanted = listed is not None
        self._secrecy = secrecy
        self._choice = Choice(listed or (), secrecy.names, keeps_secrets=secrecy.encrypts)
        self._told: set[str] = set()

    def kept(self, headers: Mapping[str, Any], plan: Plan) -> str | None:
        """Return the headers for the row; None if there is nothing to keep.

        Raises:
            StartRefused: there are too many, or the task drops headers that a message needs.
            PayloadError: a header cannot be stored.
        """
        step = plan.first_task
        if step is not None and ADDRESS_HEADER not in headers:
            raise StartRefused(
                f"saga {plan.saga!r}: the task class of {step.task} publishes without the headers that its "
                "apply_async is given: let it add its own, as in headers={**(headers or {}), 'tenant': …}"
            )
        self._tell_once(self._choice.looks_like_a_token(headers))
        top, nested, secret = self._choice.of(headers)
        kept = Kept(at=time.time(), top=top, nested=nested, secret=secret)
        if not kept.names():
            return None
        return encode_headers(self._bounded(kept, plan), self._secrecy)

    def of_trace(self, trace: Mapping[str, str]) -> str | None:
        """Return the headers for the row of an instance that another service began; None if there is no trace to keep.

        Nothing else of its context is taken: a tenant, for example, is not for another service to say.
        """
        if not self.is_wanted or not trace:
            return None
        return encode_headers(Kept(at=time.time(), top=tracing.only(trace)), self._secrecy)

    def _bounded(self, kept: Kept, plan: Plan) -> Kept:
        for superfluous in (tracing.BAGGAGE, tracing.TRACE):
            if size_of_headers(kept) <= MOST_BYTES:
                return kept
            kept = kept.without(superfluous)
            logger.warning(
                "saga %s: its caller's headers are over %d bytes: its trace is cut short", plan.saga, MOST_BYTES
            )
        size = size_of_headers(kept)
        if size > MOST_BYTES:
            raise StartRefused(
                f"saga {plan.saga!r}: its messages would carry {size} bytes of headers from here "
                f"({', '.join(kept.names())}); the limit is {MOST_BYTES}: set fewer in before_task_publish and the "
                "like, or keep none with Sagas(headers=None)"
            )
        return kept

    def _tell_once(self, names: set[str]) -> None:
        for name in sorted(names - self._told):
            logger.warning(token_warning(name))
        self._told |= names

    def left_out(self, headers: Mapping[str, Any]) -> list[str]:
        """Return the names that are not kept because they look like those of secrets."""
        return sorted(self._choice.looks_like_a_token(headers))


def token_warning(name: str) -> str:
    """Return what to do about a name that is left out."""
    return (
        f"the header {name!r} looks like a secret and is not kept for a saga's messages: list it in "
        f"Sagas(headers=[{name!r}]) if it is not one, or in Sagas(secrets=[{name!r}], codec=…) to have it in "
        "current_step.headers, encrypted in the row"
    )
