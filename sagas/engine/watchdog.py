"""Time limits of consecutive steps under one message, whose own limits Celery counts from its start.

Celery's parent process cannot see where one step ends and the next begins, so the child watches itself: it is asked to
stop by the signal that its parent would send, and ends itself if it does not.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from billiard.pool import SIG_SOFT_TIMEOUT, soft_timeout_sighandler

from sagas.engine.sentences import Sentence, Sentences
from sagas.model.limits import Limits


@dataclass(eq=False, slots=True)
class _Watch:
    """A running body; times by the monotonic clock."""

    delivery: str
    soft_at: float
    hard_at: float
    was_asked: bool = False

    @property
    def next_at(self) -> float:
        return self.hard_at if self.was_asked else self.soft_at


class Watchdog:
    """Keeps the limits of the body that a prefork child runs; does nothing in processes of other pools.

    Its thread sleeps until the earliest limit that it knows of, so a body that is done in time does not wake it.
    """

    def __init__(self, sentences: Sentences) -> None:
        self._sentences = sentences
        self._condition = threading.Condition()
        self._watch: _Watch | None = None
        self._wakes_at = 0.0
        self._pid: int | None = None

    @contextmanager
    def watching(self, limits: Limits, delivery: str) -> Iterator[None]:
        """Keep the limits in the block."""
        if not takes_soft_limits():
            yield
            return
        now = time.monotonic()
        watch = _Watch(delivery, now + limits.for_body, now + limits.for_process)
        with self._condition:
            self._watch = watch
            self._start()
            if watch.soft_at < self._wakes_at:
                self._condition.notify()
        try:
            yield
        finally:
            with self._condition:
                self._watch = None

    def _start(self) -> None:
        """Begin to watch, once in each process: a fork inherits no threads."""
        if self._pid != os.getpid():
            self._pid, self._wakes_at = os.getpid(), float("inf")
            threading.Thread(target=self._run, name="sagas-watchdog", daemon=True).start()

    def _run(self) -> None:
        with self._condition:
            while True:
                watch = self._watch
                if watch is not None and watch.next_at <= time.monotonic():
                    self._strike(watch)
                self._wakes_at = float("inf") if watch is None else watch.next_at
                self._condition.wait(None if watch is None else max(self._wakes_at - time.monotonic(), 0.0))

    def _strike(self, watch: _Watch) -> None:
        if not watch.was_asked:
            watch.was_asked = True
            os.kill(os.getpid(), SIG_SOFT_TIMEOUT)
            return
        self._sentences.pronounce(watch.delivery, Sentence.LIMIT)
        os.kill(os.getpid(), signal.SIGKILL)


def takes_soft_limits() -> bool:
    """Return whether this is a child of a prefork pool, in which a signal interrupts the body."""
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and signal.getsignal(SIG_SOFT_TIMEOUT) is soft_timeout_sighandler
