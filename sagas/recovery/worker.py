"""The work of a worker's parent process for its sagas: it registers, reports what it holds, and sweeps."""

import contextlib
import logging
import os
import random
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, ClassVar

from billiard.pool import SIG_SOFT_TIMEOUT
from celery import signals
from celery.bootsteps import RUN, TERMINATE, StartStopStep
from celery.worker import state as worker_state

from sagas.engine import ADDRESS_HEADER, CALLBACK_TASK, SWEEP_TASK, Engine, Publisher, execution_in
from sagas.errors import SagaError
from sagas.recovery import pulse
from sagas.recovery.ending import Endings
from sagas.recovery.filling import Filler
from sagas.recovery.intake import Intake
from sagas.recovery.neighbours import Neighbourhood
from sagas.recovery.sweep import Sweeper
from sagas.recovery.versions import waits_for_its_time
from sagas.store import Heartbeat

logger = logging.getLogger("sagas")

#: The most kept messages that a heartbeat lists; a message beyond that may be sent twice.
MOST_KEPT = 1_000
#: Seconds in which an idle worker takes nothing in: between two quick tasks, a busy one has nothing for a moment, too.
SETTLED = 0.1
#: Tasks of the library itself: a worker that runs only these is idle.
OWN_TASKS = frozenset({SWEEP_TASK, CALLBACK_TASK})


class _WorkerStep(StartStopStep):
    """Puts `WorkerLife` between the worker's pool and its consumer."""

    requires = ("celery.worker.components:Pool",)
    life: ClassVar["WorkerLife"]

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self.life.boot(worker)

    def start(self, worker: Any) -> None:
        self.life.start()

    def info(self, worker: Any) -> dict[str, Any]:
        """Return a part of the output of ``celery inspect stats``."""
        return self.life.neighbourhood.introduction()

    def stop(self, worker: Any) -> None:
        """Do nothing in a warm shutdown: the pool still finishes its tasks, so the heartbeats go on until the end."""

    def terminate(self, worker: Any) -> None:
        self.life.halt()


class WorkerLife:
    """One engine's part in the life of a worker; does nothing in any other process."""

    def __init__(self, engine: Engine) -> None:
        store = engine.store
        self._engine = engine
        self._sweeping, self._fleet = store.sweeping, store.fleet
        self._clock, self._timing = store.clock, store.timing
        self._start_pulse = partial(pulse.start, engine.identity, store)
        self._worker: Any = None
        self._idle = False
        self._already_stopped: set[str] = set()
        self._stays = False
        self._has_registered = False
        self._first_queues: set[str] = set()
        self._first_limited: set[str] = set()
        self._endings = Endings(engine, self._forks)
        self._filler = Filler(engine)
        self.neighbourhood = Neighbourhood(engine)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        # A bootstep: unlike most signals, it also runs in workers that tests start in their own process.
        engine.app.steps["worker"].add(type("SagasStep", (_WorkerStep,), {"life": self}))
        turn_away = staticmethod(self.neighbourhood.turn_away)
        engine.app.steps["consumer"].add(type("SagasIntake", (Intake,), {"turn_away": turn_away}))
        signals.worker_shutting_down.connect(self._on_shutting_down)
        signals.worker_shutdown.connect(self._on_shutdown)
        signals.task_unknown.connect(self._on_unknown_task)

    # -- the worker's life, in order

    def boot(self, worker: Any) -> None:
        """Prepare before the pool's children are forked, which inherit the worker's identity."""
        self._worker = worker
        self._engine.identity.renew()
        self._engine.leave.max_memory = getattr(worker, "max_memory_per_child", None)
        self._engine.leave.to_send_events = bool(getattr(worker, "task_events", False))
        self._first_queues = set(self._engine.app.amqp.queues.consume_from)
        self._first_limited = self._rate_limited()
        self._endings.watch()
        self.neighbourhood.move_in()

    def start(self) -> None:
        """Start the timers, after the pool's children were forked and before the first message is consumed."""
        self._stopping.clear()
        self._idle = False
        self._stays = True
        self._safely(self._beat)
        self.neighbourhood.look_around(self._worker.options)
        self._start_pulse(getattr(self._worker.pool_cls, "__module__", ""), self._stopping.is_set)
        timing = self._timing
        filler, sweeper = self._filler, Sweeper(self._engine)

        def until_filling() -> float:
            # While there is a line, its queue must not run empty between two looks.
            return timing.sweep_every / (4 if filler.has_lines else 1)

        for name, interval, work in (
            ("sagas-heartbeat", lambda: timing.heartbeat, self._beat),
            ("sagas-sweep", lambda: timing.pause, lambda: sweeper.run(timing.budget)),
            ("sagas-fill", until_filling, filler.fill),
        ):
            thread = threading.Thread(target=self._repeat, args=(interval, work), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _on_shutting_down(self, sender: Any, **_: object) -> None:
        """Allow no further step to begin without a message."""
        if self._worker is not None and sender == self._worker.hostname:
            self._stays = False
            self._engine.leave.to_go_on = False

    def halt(self) -> None:
        """Stop the heartbeats; executions that still run will be found silent."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=5)
        self._threads = []

    def _on_shutdown(self, sender: Any, **_: object) -> None:
        if sender is not self._worker:
            return
        self.halt()
        # Only if nothing runs any more: whatever it claimed and did not finish is over then.
        self._safely(self._filler.resign)
        self._safely(self._endings.record)
        nothing_runs = not self._taken_in() and not self._engine.held.listed() and not self._endings.unrecorded()
        if sender.blueprint.state == TERMINATE and nothing_runs:
            worker_id = self._engine.identity.id
            if worker_id is not None:
                self._safely(lambda: self._sweeping.say_goodbye(worker_id))
        self._worker = None

    # -- the timers

    def _repeat(self, interval: Callable[[], float], work: Callable[[], object]) -> None:
        # After a restart of the database the timers of a whole fleet would fire at the same moment, again and again.
        while not self._stopping.wait(interval() * random.uniform(0.8, 1.0)):
            self._safely(work)

    @staticmethod
    def _safely(work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # the database is away; the next tick tries again
            logger.warning("saga worker timer failed, trying again: %r", error)

    def _register(self) -> None:
        """Register the graphs that this worker has imported, and have it try what no worker could call so far."""
        if self._has_registered:
            return
        try:
            Publisher(self._engine).register_graphs()
        except SagaError as error:
            logger.error("choreographies not registered: %s", error)
        self._fleet.unpark()
        self._has_registered = True

    def _beat(self) -> None:
        engine = self._engine
        worker_id = engine.identity.id
        if worker_id is None:
            return
        self._endings.record()
        self._register()
        # Read before the list is made: a claim older than this is either listed or over.
        listed_at = self._sweeping.clock()
        self._clock.learn(listed_at)
        taken_in = self._taken_in()
        was_idle, self._idle = self._idle, self._is_idle(taken_in)
        beat = Heartbeat(
            id=worker_id,
            hostname=str(self._worker.hostname) if self._worker else socket.gethostname(),
            pid=os.getpid(),
            queues=list(engine.app.amqp.queues.consume_from),
            # Executions being ended come last: Celery has not forgotten them before they are listed here.
            deliveries=[*(taken_in if self._forks() else engine.held.listed()), *self._endings.unrecorded()],
            listed_at=listed_at,
            # For a whole heartbeat, in which the broker was asked and had nothing.
            idle=was_idle and self._idle,
            slots=self._slots(),
            kept=self._kept_back(),
        )
        self._grant_leave()
        to_stop = self._sweeping.heartbeat(beat)
        if to_stop is None:
            self._rise_again()
        else:
            self._stop(to_stop)
            self.neighbourhood.introduce(worker_id)

    def _grant_leave(self) -> None:
        """Tell the children what an operator changed since they were forked: queues, rate limits, events."""
        leave = self._engine.leave
        keeps_queues = self._first_queues <= set(self._engine.app.amqp.queues.consume_from)
        leave.to_go_on = self._stays and keeps_queues and self._rate_limited() <= self._first_limited
        dispatcher = getattr(getattr(self._worker, "consumer", None), "event_dispatcher", None)
        if dispatcher is not None:  # it is made when the consumer starts
            # Without -E it exists for the worker's own heartbeats alone.
            leave.to_send_events = dispatcher.enabled and (not dispatcher.groups or "task" in dispatcher.groups)

    def _rate_limited(self) -> set[str]:
        return set(filter(self._engine.messages.is_rate_limited, self._engine.app.tasks))

    def _stop(self, deliveries: Sequence[str]) -> None:
        """Stop siblings of a failed branch. The body may clean up: it gets Celery's soft time limit.

        Pools without processes cannot interrupt a body; it can check ``current_step.cancelled``.
        """
        self._engine.held.stop(deliveries)
        already_stopped, self._already_stopped = (
            self._already_stopped,
            set(deliveries),
        )  # once each: the body may be cleaning up
        for request in _snapshot(worker_state.active_requests) if self._forks() else ():
            if request.id in self._already_stopped - already_stopped and request.worker_pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(request.worker_pid, SIG_SOFT_TIMEOUT)

    def _on_unknown_task(self, sender: Any, message: Any, name: str, **_: object) -> None:
        """Report a message that Celery dropped. The step waits, visibly, and is sent again: a deploy has to cure it."""
        headers = message.headers
        if sender.app is not self._engine.app or not isinstance(headers, Mapping) or ADDRESS_HEADER not in headers:
            return
        # In a thread: the worker's main thread must not wait for a database.
        work = partial(self._safely, partial(self._engine.unknown_task, headers, name))
        threading.Thread(target=work, name="sagas-unknown-task", daemon=True).start()

    def _rise_again(self) -> None:
        """Register again after being declared dead: others may already run our steps, so stop them first."""
        logger.critical("this worker was declared dead for silence; it stops its steps and registers again")
        former = self._engine.identity.id
        if self._forks():
            for request in _snapshot(worker_state.active_requests):
                if request.worker_pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(request.worker_pid, signal.SIGKILL)
        self._engine.identity.renew()
        logger.warning(
            "worker registered again", extra={"former": str(former), "worker": str(self._engine.identity.id)}
        )

    def _is_idle(self, taken_in: Mapping[str, str]) -> bool:
        """Return whether it is connected and has nothing to do. A worker that is starting or cut off is not idle."""
        consumer = getattr(self._worker, "consumer", None)
        connection = getattr(consumer, "connection", None)
        if consumer is None or consumer.blueprint.state != RUN or not getattr(connection, "connected", False):
            return False
        if self._waits() or not OWN_TASKS.issuperset(taken_in.values()):
            return False
        begun_before = self._tasks_begun()
        self._stopping.wait(SETTLED)
        return begun_before == self._tasks_begun() and OWN_TASKS.issuperset(self._taken_in().values())

    @staticmethod
    def _tasks_begun() -> int:
        """Return how many tasks this worker has begun, apart from the library's own."""
        return sum(count for name, count in dict(worker_state.total_count).items() if name not in OWN_TASKS)

    def _slots(self) -> int:
        """Return how many tasks it runs at a time."""
        pool = getattr(self._worker, "pool", None)
        return int(getattr(pool, "num_processes", 0) or getattr(self._worker, "concurrency", 0) or 1)

    @staticmethod
    def _kept_back() -> list[str]:
        """Return the executions whose messages it has received but not begun: behind others, or for a rate limit."""
        waiting = _snapshot(worker_state.reserved_requests) - _snapshot(worker_state.active_requests)
        kept = []
        for request in islice(waiting, MOST_KEPT):
            named = execution_in(request.request_dict)
            if named is not None:
                instance_id, address = named
                kept.append(f"{instance_id} {address}")
        return kept

    def _forks(self) -> bool:
        """Return whether the pool forks: such a parent cannot see what its children execute, but it received it all."""
        return "prefork" in getattr(self._worker.pool_cls, "__module__", "") if self._worker else False

    def _waits(self) -> bool:
        """Return whether it keeps received messages back: for a rate limit, or until their time comes."""
        consumer = getattr(self._worker, "consumer", None)
        buckets = list(getattr(consumer, "task_buckets", {}).values())
        return any(bucket is not None and bucket.contents for bucket in buckets) or waits_for_its_time(consumer)

    @staticmethod
    def _taken_in() -> dict[str, str]:
        """Return ids and task names of the requests that were received and are not finished.

        Active requests are added separately: while it reconnects, Celery forgets the reserved ones for a moment.
        """
        requests = _snapshot(worker_state.active_requests) | _snapshot(worker_state.reserved_requests)
        return {request.id: request.name for request in requests}


def _snapshot(requests: Any) -> set[Any]:
    while True:
        try:
            return set(requests)
        except RuntimeError:  # the main thread received or finished one meanwhile
            continue
