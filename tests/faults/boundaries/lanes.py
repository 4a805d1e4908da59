"""Lanes: applications of their own, each with a worker that a supervisor starts again whenever it has died.

In a wide lane many sagas run at once, and children of its pool die. In a narrow one it is the worker, so one saga
at a time: no other is lost with it, and what may be lost is known exactly.
"""

import contextlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, TypeVar
from uuid import UUID

import psutil

from sagas import Choreography, Saga, SagaHandle
from sagas.engine import CONTROL_QUEUE, SWEEP_TASK
from sagas.store import uuid7
from tests.conftest import Shop
from tests.faults.boundaries import planned_faults
from tests.faults.boundaries.starter import Errand, run
from tests.support import journal
from tests.support.workers import Worker

T = TypeVar("T")

#: Seconds between two sweeps, and between two heartbeats of a worker: so long that on a busy machine too the sweep
#: has nothing to do with what is only slow.
PACE, HEARTBEAT = 0.4, 0.8

#: Messages in the control queue, beyond which no sweep is added to them.
MOST_WAITING = 2

_wanted: ContextVar[UUID | None] = ContextVar("wanted", default=None)


class Lane:
    """One application, its worker, and the trials that run in it.

    Args:
        children: of the worker's pool.
        trials: how many run at once.
        beats: beat sends the sweep to the pool; else the worker's parent sweeps by its own timer.
    """

    def __init__(self, shop: Shop, *, children: int, trials: int, beats: bool) -> None:
        self.shop = shop
        self._beats = beats
        self.servers = {
            "SAGAS_DATABASE_URL": shop.database_url,
            "SAGAS_BROKER_URL": shop.broker_url,
            "SAGAS_HEARTBEAT": str(HEARTBEAT),
            "SAGAS_SWEEP_EVERY": str(PACE),
        }
        self.worker = Worker(
            self.servers | ({"SAGAS_TEST_TIMERLESS": "1"} if beats else {}),
            shop.directory / "worker.log",
            application="tests.faults.boundaries.hooked_application",
            arguments=("-c", str(children)),
        )
        self._trials = ThreadPoolExecutor(trials, thread_name_prefix="trial")
        self._closing = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)

    def open(self) -> None:
        planned_faults.create(self.shop.database_url)
        self.shop.sagas.register()
        self.worker.start()
        self._supervisor.start()

    def close(self) -> None:
        """Whatever is still running ends by SIGKILL; a warm shutdown is a test of its own."""
        self._trials.shutdown(wait=False, cancel_futures=True)
        self._closing.set()
        self._supervisor.join()
        for process in psutil.process_iter():
            # Some are somebody else's, and some have died of their faults.
            with contextlib.suppress(psutil.Error, OSError):
                # Its processes are known by their log. Not by their numbers, which others have by then.
                if str(self.worker.log) in {file.path for file in process.open_files()}:
                    process.kill()
        assert self.worker.process is not None
        self.worker.process.wait()
        self.shop.sagas.engine.store.database.dispose()

    def submit(self, trial: Callable[..., T], *arguments: Any) -> "Future[T]":
        return self._trials.submit(trial, *arguments)

    # -- what trials do

    def start(
        self, saga: Saga | Choreography, data: Mapping[str, Any], saga_id: UUID | None = None, **options: Any
    ) -> SagaHandle:
        """Start a saga here, in the test's own process, which does not die. The id of a run is made of its key."""
        if isinstance(saga, Choreography):
            return saga.start_on(self.shop.sagas.engine, saga.starts.kind(**data), **options)
        token = _wanted.set(saga_id)
        try:
            return self.shop.sagas.start(saga, data, **options)
        finally:
            _wanted.reset(token)

    def errand(
        self, what: str, saga: Saga | Choreography, saga_id: UUID, data: Mapping[str, Any], **options: Any
    ) -> bool:
        """Do something to a saga in a process that may die of it. Returns whether it did not."""
        return run(Errand(what=what, saga=saga.name, saga_id=saga_id, data=data, options=options, servers=self.servers))

    # -- the supervisor

    def _restart_worker(self) -> None:
        """As a supervisor does: one that ends while it starts is started once more."""
        try:
            self.worker.start()
        except AssertionError as error:
            print(error)

    def _supervise(self) -> None:
        app = self.shop.sagas.app
        while not self._closing.wait(PACE / 2):
            assert self.worker.process is not None
            if self.worker.process.poll() is not None:
                self._restart_worker()
            if self._beats and self._is_due():
                app.send_task(SWEEP_TASK, queue=CONTROL_QUEUE)

    def _is_due(self) -> bool:
        """A pile of sweeps would only stand in the way of the error callbacks."""
        due = "SELECT swept_at < clock_timestamp() - make_interval(secs => %s) FROM sagas.saga_sweep"
        is_due = bool(journal.query(self.shop.database_url, due, PACE)[0][0])
        return is_due and waiting(self.shop, CONTROL_QUEUE) <= MOST_WAITING


def waiting(shop: Shop, queue: str) -> int:
    """How many messages; a queue that nobody has used yet is empty."""
    with shop.sagas.app.connection_for_read() as connection:
        try:
            return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0


def next_id() -> UUID:
    """The id that a trial wants for its saga, or a new one; in place of `sagas.engine.core.uuid7`."""
    return _wanted.get() or uuid7()
