"""Executions that their own worker ends: by a hard time limit, or because a person revoked their task.

A signal to a process looks the same whether it is meant for the step or for the worker, as in a deploy's SIGTERM. Only
the worker's parent knows; it says so before it sends the signal.
"""

import hashlib
import mmap
import threading
from dataclasses import replace
from enum import IntEnum

from sagas.engine.judging import Judgement
from sagas.model import ErrorInfo, Reason, Verdict

#: How many are remembered; a worker ends a few at a time.
SLOTS = 512
_DIGEST = 16
_SLOT = _DIGEST + 1


class Sentence(IntEnum):
    """The reason why the worker ends an execution."""

    LIMIT = 1  # it did not stop when its time was over
    REVOKED = 2  # ``app.control.revoke(…, terminate=True)``, which is Flower's Terminate

    @property
    def verdict(self) -> Verdict:
        """The verdict on the action, whatever the end raised in it."""
        return Verdict.TIMEOUT if self is Sentence.LIMIT else Verdict.STOPPED

    def error(self, step: str | None = None) -> ErrorInfo:
        """Return the reason in its stored form."""
        if self is Sentence.LIMIT:
            message = "it did not stop when it was asked to, and was ended by its hard time limit"
            return ErrorInfo(type="billiard.exceptions.TimeLimitExceeded", message=message, step=step)
        message = "its task was revoked and terminated while it ran"
        return ErrorInfo(type=Reason.TERMINATED, message=message, step=step)

    def upon(self, judgement: Judgement) -> Judgement:
        """Return the judgement on a body that was ended: the worker knows better what the signal meant."""
        if self is Sentence.LIMIT and judgement.verdict is not Verdict.INTERRUPTED:
            return judgement
        if judgement.verdict.is_clean:
            return Judgement(judgement.error, Verdict.CLEAN_NO)
        error = replace(self.error(judgement.error.step), traceback=judgement.error.traceback)
        return Judgement(error, self.verdict)


class Sentences:
    """The deliveries that this worker has ended, in memory that the parent shares with the children that it forks."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, SLOTS * _SLOT)
        self._lock = threading.Lock()
        self._next = 0

    def pronounce(self, delivery: str, sentence: Sentence) -> None:
        """Record a sentence before the signal is sent."""
        with self._lock:
            at = self._place(delivery)
            if at is None:
                at = self._next * _SLOT
                self._next = (self._next + 1) % SLOTS
                self._shared[at : at + _DIGEST] = _digest(delivery)
            self._shared[at + _DIGEST] = sentence

    def withdraw(self, delivery: str) -> None:
        """Withdraw a sentence that was not executed, since this pool cannot end tasks."""
        with self._lock:
            at = self._place(delivery)
            if at is not None:
                self._shared[at : at + _SLOT] = bytes(_SLOT)

    def on(self, delivery: str | None) -> Sentence | None:
        """Return why the worker ends a delivery; None: it does not."""
        at = None if delivery is None else self._place(delivery)
        found = 0 if at is None else self._shared[at + _DIGEST]
        return Sentence(found) if found else None

    def _place(self, delivery: str) -> int | None:
        digest, start = _digest(delivery), 0
        while (at := self._shared.find(digest, start)) != -1:
            if at % _SLOT == 0:
                return at
            start = at + 1
        return None


def _digest(delivery: str) -> bytes:
    return hashlib.blake2b(delivery.encode(), digest_size=_DIGEST).digest()
