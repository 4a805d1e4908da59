"""Publish without making a web request or the sweep wait: once, briefly, never raising."""

import logging
import os
import queue
import threading
import time
from collections.abc import Mapping
from contextvars import copy_context
from typing import Any
from uuid import UUID

from sagas.engine.messages import NO_ROWS, Messages
from sagas.model import Address, Plan
from sagas.model.limits import Limits

logger = logging.getLogger("sagas")

#: How long to wait for the broker to take a message, in seconds.
PATIENCE = 0.8
#: The same while the last message was not taken, for the first caller to try again.
PROBE = 0.1
#: After a failure, how long this process leaves sending to the next sweep, in seconds.
BREAKER = 3.0
#: When a thread that sends is given up, in seconds.
STUCK = 30.0


class _Job:
    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments  # of `Messages.send`
        # Receivers read their caller's context, which this thread would not have.
        self.context = copy_context()
        self.done = threading.Event()
        self.abandoned = False  # the caller has left it to the sweep
        self.error: Exception | None = None


class ImpatientSender:
    """Sends through one thread per process, since no transport can be told to give up in half a second.

    A broker that does not answer then costs the callers in its first moment `PATIENCE`, one caller every few seconds a
    `PROBE`, and all others nothing.
    """

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._lock = threading.Lock()
        self._pid: int | None = None
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._broken_until = 0.0
        self._answers = True
        self._busy_since: float | None = None

    def try_again(self) -> None:
        """Try the next message, since the broker may be back."""
        self._broken_until = 0.0

    def send(
        self,
        instance_id: UUID,
        plan: Plan,
        window: list[Address],
        countdown: float = 0.0,
        limits: Mapping[Address, Limits] = NO_ROWS,
        first_id: str | None = None,
    ) -> bool:
        """Return True if the message is on its way; False leaves it to the next sweep."""
        if time.monotonic() < self._broken_until:
            return False
        self._ensure_thread()
        patience = PATIENCE if self._answers else PROBE
        if self._busy_for() > patience:
            return False  # behind a message that hangs
        job = _Job(instance_id, plan, window, countdown, limits, first_id)
        self._jobs.put(job)
        answered = job.done.wait(patience)
        if answered and job.error is None:
            return True
        job.abandoned, self._answers = True, False
        self._broken_until = time.monotonic() + BREAKER
        logger.warning(
            "message of saga %s not sent, the sweep will send it: %r",
            instance_id,
            job.error or f"no answer within {patience} s",
            extra={"saga_id": str(instance_id), "saga": plan.saga},
        )
        return False

    def _ensure_thread(self) -> None:
        # A network that swallows packets blocks the thread for as long as the kernel waits: another one takes over.
        if self._pid == os.getpid() and self._busy_for() < STUCK:
            return
        with self._lock:
            if self._pid != os.getpid() or self._busy_for() >= STUCK:
                self._jobs, self._busy_since = queue.SimpleQueue(), None
                threading.Thread(target=self._publish, args=(self._jobs,), name="sagas-send", daemon=True).start()
                self._pid = os.getpid()

    def _busy_for(self) -> float:
        """Return how long the thread has been sending one message, in seconds."""
        busy_since = self._busy_since
        return 0.0 if busy_since is None else time.monotonic() - busy_since

    def _publish(self, jobs: "queue.SimpleQueue[_Job]") -> None:
        connection = None
        while True:
            job = jobs.get()
            if job.abandoned:
                continue
            if jobs is self._jobs:
                self._busy_since = time.monotonic()
            try:
                connection = connection or self._messages.impatient_connection()
                job.context.run(self._messages.send, *job.arguments, retry=False, connection=connection)
                self._answers = True
            except Exception as error:  # any error of the transport is the answer
                job.error = error
            job.done.set()
            if job.error is not None and connection is not None:
                connection.collect()
            if jobs is not self._jobs:
                return  # another thread has taken over meanwhile
            self._busy_since = None
