"""Executions that their own worker ends: by a hard time limit, or since a person has revoked their task.

What a process is struck with looks the same whether it is meant for the step or for the worker, a deploy's SIGTERM for
one. Only the worker's parent knows; it says so before it strikes.
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
    """Why the worker ends an execution."""

    LIMIT = 1  # it did not stop when its time was over
    REVOKED = 2  # ``app.control.revoke(…, terminate=True)``, which is Flower's Terminate

    @property
    def verdict(self) -> Verdict:
        """What the end says about the action, whatever was raised by it."""
        return Verdict.TIMEOUT if self is Sentence.LIMIT else Verdict.STOPPED

    def error(self, step: str | None = None) -> ErrorInfo:
        """The reason, as it is kept."""
        if self is Sentence.LIMIT:
            message = "it did not stop when it was asked to, and was ended by its hard time limit"
            return ErrorInfo(type="billiard.exceptions.TimeLimitExceeded", message=message, step=step)
        message = "its task was revoked and terminated while it ran"
        return ErrorInfo(type=Reason.TERMINATED, message=message, step=step)

    def upon(self, judgement: Judgement) -> Judgement:
        """What becomes of a judgement on a body that was struck: the worker knows better what the signal meant."""
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
        """Say so, before the signal is sent."""
        with self._lock:
            at = self._place(delivery)
            if at is None:
                at = self._next * _SLOT
                self._next = (self._next + 1) % SLOTS
                self._shared[at : at + _DIGEST] = _digest(delivery)
            self._shared[at + _DIGEST] = sentence

    def withdraw(self, delivery: str) -> None:
        """It could not be executed: this pool cannot end anything."""
        with self._lock:
            at = self._place(delivery)
            if at is not None:
                self._shared[at : at + _SLOT] = bytes(_SLOT)

    def on(self, delivery: str | None) -> Sentence | None:
        """Why the worker ends it; None: it does not."""
        at = None if delivery is None else self._place(delivery)
        found = 0 if at is None else self._shared[at + _DIGEST]
        return Sentence(found) if found else None

    def _place(self, delivery: str) -> int | None:
        wanted, start = _digest(delivery), 0
        while (at := self._shared.find(wanted, start)) != -1:
            if at % _SLOT == 0:
                return at
            start = at + 1
        return None


def _digest(delivery: str) -> bytes:
    return hashlib.blake2b(delivery.encode(), digest_size=_DIGEST).digest()
