"""Reports of a worker's parent on executions that it ends itself, before its heartbeat drops them.

Without a report, the end of a process proves a loss: a deploy, a crash, a kernel short of memory. With one, it is an
attempt that ran out of time, or that a person stopped.
"""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import TimeLimitExceeded
from celery.utils.imports import symbol_by_name
from celery.worker import state as worker_state
from sqlalchemy.exc import DBAPIError

from sagas.engine import Engine, Sentence, execution_in
from sagas.model import Ended
from sagas.store.database import is_outage

logger = logging.getLogger("sagas")


@dataclass(frozen=True, slots=True)
class _Ending:
    """An execution that is being ended."""

    instance_id: UUID
    sentence: Sentence
    is_over: Callable[[], bool]


class Endings:
    """The executions that one engine's worker has ended, until their ends are recorded."""

    def __init__(self, engine: Engine, forks: Callable[[], bool]) -> None:
        self._engine = engine
        self._forks = forks
        self._lock = threading.Lock()
        self._endings: dict[str, _Ending] = {}

    def watch(self) -> None:
        """Watch the requests of the engine's tasks, whatever request class a task has."""
        for task in self._engine.app.tasks.values():
            if getattr(task, "sagas_engine", None) is self._engine:
                task.Request = _watched(symbol_by_name(task.Request), self)

    def begin(self, request: Any, sentence: Sentence) -> None:
        """Note that the worker is about to end an execution. Until that is recorded, heartbeats go on listing it."""
        named = execution_in(request.request_dict)
        if named is None:
            return
        instance_id, _ = named
        self._engine.sentences.pronounce(request.id, sentence)
        ending = _Ending(instance_id, sentence, self._end_of(request, sentence))
        with self._lock:
            self._endings.setdefault(request.id, ending)

    def has_ended_itself(self, request: Any) -> bool:
        """Return whether the child has ended itself by a step's hard limit (see `Watchdog`)."""
        return self._engine.sentences.on(request.id) is Sentence.LIMIT

    def withdraw(self, request: Any) -> None:
        """Take back an ending that did not take place."""
        self._engine.sentences.withdraw(request.id)
        with self._lock:
            self._endings.pop(request.id, None)

    def unrecorded(self) -> list[str]:
        """Return the deliveries to list for as long as their end is not recorded."""
        with self._lock:
            return list(self._endings)

    def record(self) -> None:
        """Record the endings that are over. Raises the database's errors; the next call tries again."""
        with self._lock:
            endings = dict(self._endings)
        for delivery, ending in endings.items():
            if ending.is_over():
                self._record(delivery, ending)
                with self._lock:
                    self._endings.pop(delivery, None)

    def _record(self, delivery: str, ending: _Ending) -> None:
        event = Ended(
            delivery=delivery,
            error=ending.sentence.error(),
            verdict=ending.sentence.verdict,
        )
        try:
            self._engine.loop.handle(ending.instance_id, event, patience=0, wait_for_broker=False)
        except Exception as error:
            if isinstance(error, DBAPIError) and is_outage(error):
                raise
            # Its row cannot be read; the sweep reports that too, and the execution counts as lost.
            logger.error("end of a step not recorded: %r", error, extra={"saga_id": str(ending.instance_id)})

    def _end_of(self, request: Any, sentence: Sentence) -> Callable[[], bool]:
        """Return a function that tells whether it has ended. A signal such as SIGUSR1 lets it clean up first."""
        if not self._forks():
            return lambda: request.id not in self._engine.held.listed()
        pid, result = request.worker_pid, request._apply_result and request._apply_result()
        if sentence is Sentence.LIMIT or result is None:  # billiard calls it ready before it kills
            return lambda: is_gone(pid)
        return lambda: result.ready() or is_gone(pid)


def _watched(kind: type[Any], endings: Endings) -> type[Any]:
    class WatchedRequest(kind):
        def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
            # Before on_timeout billiard reports a hard limit as a failure, at which Celery forgets the request.
            was_limit = isinstance(raised(exc_info), TimeLimitExceeded) or endings.has_ended_itself(self)
            if was_limit and not worker_state.should_terminate:
                endings.begin(self, Sentence.LIMIT)
            return super().on_failure(exc_info, *args, **kwargs)

        def on_timeout(self, soft: bool, timeout: float) -> Any:
            if not soft and not worker_state.should_terminate:  # a cold shutdown ends running tasks by the same call
                endings.begin(self, Sentence.LIMIT)
            return super().on_timeout(soft, timeout)

        def terminate(self, pool: Any, signal: Any = None) -> Any:
            if not self.time_start:
                return super().terminate(pool, signal)  # comes again once it has begun
            endings.begin(self, Sentence.REVOKED)
            try:
                return super().terminate(pool, signal)
            except BaseException:  # this pool cannot end anything
                endings.withdraw(self)
                raise

    return WatchedRequest


def raised(exc_info: Any) -> BaseException | None:
    """Return the exception that a pool reports, which billiard may have wrapped with its traceback."""
    exception: BaseException | None = exc_info.exception
    return exception.exc if isinstance(exception, ExceptionWithTraceback) else exception


def is_gone(pid: int | None) -> bool:
    """Return whether a child has ended; it may not have been waited for yet."""
    if pid is None:
        return True
    try:
        if hasattr(os, "waitid"):
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        os.kill(pid, 0)
    except (ChildProcessError, ProcessLookupError):
        return True
    return False
