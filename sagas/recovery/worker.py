"""What a worker's parent process does for its sagas: it says who it is, what it holds, and sweeps."""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from billiard.pool import SIG_SOFT_TIMEOUT
from celery import signals
from celery.bootsteps import RUN, TERMINATE, StartStopStep
from celery.worker import state as worker_state

from sagas.engine import ADDRESS_HEADER, CALLBACK_TASK, CONTROL_QUEUE, SWEEP_TASK, Engine
from sagas.recovery.intake import Intake
from sagas.recovery.sweep import sweep
from sagas.store import Beat

logger = logging.getLogger("sagas")


class _WorkerStep(StartStopStep):
    """Puts `WorkerLife` between the worker's pool and its consumer."""

    requires = ("celery.worker.components:Pool",)
    life: ClassVar["WorkerLife"]

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self.life.boot(worker)

    def start(self, worker: Any) -> None:
        self.life.start()

    def stop(self, worker: Any) -> None:
        """A warm shutdown: the pool still finishes what it has, so the heartbeats go on until the end."""

    def terminate(self, worker: Any) -> None:
        self.life.halt()


class WorkerLife:
    """One engine's part in the life of a worker; does nothing in processes that are no worker's parent."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._worker: Any = None
        self._idle = False
        self._told: set[str] = set()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        # A bootstep: workers that tests start in their own process have it too, unlike most signals.
        engine.app.steps["worker"].add(type("SagasStep", (_WorkerStep,), {"life": self}))
        engine.app.steps["consumer"].add(Intake)
        signals.worker_shutdown.connect(self._on_shutdown)
        signals.task_unknown.connect(self._on_unknown_task)

    # -- the worker's life, in its order

    def boot(self, worker: Any) -> None:
        """Before the pool's children are forked, which inherit who we are."""
        self._worker = worker
        self._engine.identity.renew()
        # Also with -Q: somebody has to hear the error callbacks and the sweep.
        self._engine.app.amqp.queues.select_add(CONTROL_QUEUE)

    def start(self) -> None:
        """After the pool's children were forked, and before the first message is consumed."""
        self._stopping.clear()
        self._idle = False
        self._safely(self._beat)
        timing = self._engine.store.timing
        for name, every, work in (
            ("sagas-heartbeat", timing.heartbeat, self._beat),
            ("sagas-sweep", timing.sweep_every, self._sweep),
        ):
            thread = threading.Thread(target=self._repeat, args=(every, work), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def halt(self) -> None:
        """No more heartbeats; what still runs will be found silent."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=5)
        self._threads = []

    def _on_shutdown(self, sender: Any, **_: object) -> None:
        if sender is not self._worker:
            return
        self.halt()
        # Only when nothing of it runs any more: what it claimed and did not finish is over then.
        if sender.blueprint.state == TERMINATE and not self._taken_in() and not self._engine.held.listed():
            worker_id = self._engine.identity.id
            if worker_id is not None:
                self._safely(lambda: self._engine.store.sweeping.say_goodbye(worker_id))
        self._worker = None

    # -- the timers

    def _repeat(self, every: float, work: Callable[[], object]) -> None:
        while not self._stopping.wait(every):
            self._safely(work)

    @staticmethod
    def _safely(work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # the database is away; the next tick tries again
            logger.warning("saga worker timer failed, trying again: %r", error)

    def _sweep(self) -> None:
        sweep(self._engine)

    def _beat(self) -> None:
        engine = self._engine
        worker_id = engine.identity.id
        if worker_id is None:
            return
        # Read before the list is made: a claim older than this is either listed or over.
        listed_at = engine.store.sweeping.clock()
        taken_in = self._taken_in()
        was_idle, self._idle = self._idle, self._is_idle(taken_in)
        beat = Beat(
            id=worker_id,
            hostname=str(self._worker.hostname) if self._worker else socket.gethostname(),
            pid=os.getpid(),
            queues=list(engine.app.amqp.queues.consume_from),
            deliveries=list(taken_in) if self._forks() else engine.held.listed(),
            listed_at=listed_at,
            # For a whole heartbeat: it has asked the broker meanwhile, and there was nothing.
            idle=was_idle and self._idle,
        )
        to_stop = engine.store.sweeping.heartbeat(beat)
        if to_stop is None:
            self._rise_again()
        else:
            self._stop(to_stop)

    def _stop(self, deliveries: Sequence[str]) -> None:
        """Siblings of a branch that failed. The body may clean up: it is Celery's soft time limit that strikes.

        Pools without processes cannot interrupt a body; it can ask ``current_step.cancelled``.
        """
        self._engine.held.stop(deliveries)
        told, self._told = self._told, set(deliveries)  # once each: the body may be cleaning up
        for request in _snapshot(worker_state.active_requests) if self._forks() else ():
            if request.id in self._told - told and request.worker_pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(request.worker_pid, SIG_SOFT_TIMEOUT)

    def _on_unknown_task(self, sender: Any, message: Any, name: str, **_: object) -> None:
        """Celery drops such a message. The step says so, waits, and is sent again: a deploy has to cure it."""
        headers = message.headers
        if sender.app is not self._engine.app or not isinstance(headers, Mapping) or ADDRESS_HEADER not in headers:
            return
        # Not here: the worker's main thread must not wait for a database.
        work = partial(self._safely, partial(self._engine.unknown_task, headers, name))
        threading.Thread(target=work, name="sagas-unknown-task", daemon=True).start()

    def _rise_again(self) -> None:
        """Declared dead, and that is final: others may run our steps already. Stop them and register anew."""
        logger.critical("this worker was declared dead for silence; it stops its steps and registers anew")
        former = self._engine.identity.id
        if self._forks():
            for request in _snapshot(worker_state.active_requests):
                if request.worker_pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(request.worker_pid, signal.SIGKILL)
        self._engine.identity.renew()
        logger.warning("worker registered anew", extra={"former": str(former), "worker": str(self._engine.identity.id)})

    def _is_idle(self, taken_in: dict[str, str]) -> bool:
        """It hears the broker and has nothing to do. One that is starting, or cut off, has only not asked yet."""
        consumer = getattr(self._worker, "consumer", None)
        connection = getattr(consumer, "connection", None)
        if consumer is None or consumer.blueprint.state != RUN or not getattr(connection, "connected", False):
            return False
        return not self._waits() and all(name in (SWEEP_TASK, CALLBACK_TASK) for name in taken_in.values())

    def _forks(self) -> bool:
        """A prefork parent cannot see what its children execute, but it has taken in all of it."""
        return "prefork" in getattr(self._worker.pool_cls, "__module__", "") if self._worker else False

    def _waits(self) -> bool:
        """Are there messages that it has received and keeps back: for a rate limit, or until their time comes?"""
        consumer = getattr(self._worker, "consumer", None)
        buckets = list(getattr(consumer, "task_buckets", {}).values())
        return any(bucket is not None and bucket.contents for bucket in buckets) or bool(
            _snapshot(worker_state.scheduled_requests)
        )

    @staticmethod
    def _taken_in() -> dict[str, str]:
        """Ids and task names of the requests that were received and are not finished.

        The active ones by themselves too: while it reconnects, Celery forgets what is reserved for a moment.
        """
        requests = _snapshot(worker_state.active_requests) | _snapshot(worker_state.reserved_requests)
        return {request.id: request.name for request in requests}


def _snapshot(requests: Any) -> set[Any]:
    while True:
        try:
            return set(requests)
        except RuntimeError:  # the main thread took in or finished one meanwhile
            continue
