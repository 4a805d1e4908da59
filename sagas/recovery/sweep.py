"""One pass over due instances: many short transactions within a budget of time, none of which can stop the others.

Every worker's timer makes its own passes, and they share the work by what each of them locks first. Sending again is
not part of a pass: see `filling`.
"""

import logging
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from sqlalchemy.exc import DBAPIError

from sagas.engine import Engine, announce, describe
from sagas.model import SagaStatus, Tick
from sagas.recovery.early import bury_early
from sagas.recovery.filling import Filler
from sagas.store import Joining, Woken
from sagas.store.database import is_outage

logger = logging.getLogger("sagas")

#: Instances picked at a time: at first, and at most. A picked instance is looked at even if the time is over, since no
#: other sweep takes it for a while.
FIRST_BATCH, BATCH = 5, 50
#: Messages that one pass sends by itself; further ones join the lines. A hundred thousand instances that wake up at
#: once would be a hundred thousand messages.
SENT_AT_ONCE = 10
#: From there on, instances for which only time has passed need no look each: so many at a time are woken.
WOKEN_AT_ONCE = 500
#: The share of the time that may be spent on finding dead holders' executions, which reads every sent message.
SHARE = 0.01
NO_LIMIT = float("inf")


def sweep(engine: Engine, *, forced: bool = False) -> int:
    """Move on whatever is due. Any number of sweeps may run at once.

    Args:
        forced: look at everything, however long that takes, and send waiting steps; otherwise do nothing if a worker's
            timer sweeps, as it should.

    Returns:
        How many instances it moved and messages it sent from the lines (a look alone does not count).
    """
    sweeping, timing = engine.store.sweeping, engine.store.timing
    if not forced and sweeping.is_swept():
        return 0
    moved = Sweeper(engine).run(NO_LIMIT if forced else timing.budget)
    filler = Filler(engine)
    try:
        return moved + filler.fill(patience=timing.hold.total_seconds() if forced else 0.0)
    finally:
        filler.close()


class Sweeper:
    """Makes the passes of one process."""

    def __init__(self, engine: Engine) -> None:
        store = engine.store
        self._sweeping, self._waking, self._timing = store.sweeping, store.waking, store.timing
        self._instances, self._inbox, self._locks = store.instances, store.instances.inbox, store.locks
        self._letters, self._handlers = store.letters, store.handlers
        self._loop, self._redactor = engine.loop, engine.redactor
        self._messages, self._impatient_sender = engine.messages, engine.impatient_sender
        self._rests_until = 0.0
        self._sent = 0
        self._finds_plain = True
        self._fresh_until = 0.0

    def run(self, budget: float) -> int:
        """Make a pass: declare the dead, then look at their executions, then at unseen mail, then at due instances.

        Args:
            budget: in seconds; each part has a share of it, so that none starves the others.

        Returns:
            How many instances it moved.
        """
        began, self._sent, self._finds_plain = time.monotonic(), 0, True
        around = self._sweeping.look_around()
        self._fresh_until = began + self._timing.pause / 2
        self._impatient_sender.try_again()
        for worker in self._sweeping.declare_dead() if around.has_silent else ():
            logger.error(
                "worker declared dead: silent for too long",
                extra={"worker": str(worker.id), "worker_host": worker.hostname, "worker_pid": worker.pid},
            )
        moved = 0
        if budget == NO_LIMIT or (around.is_first and began > self._rests_until):
            moved += self._look_at_all(self._lost, budget / 4)
        if around.has_ended_holders:
            for ended in self._locks.held_by_the_ended(BATCH):
                self._loop.release(ended, wait_for_broker=False)
        if around.has_early:
            bury_early(self._letters, self._loop.alerts)
        for alert in self._handlers.due_alerts() if around.has_alarms else ():
            announce(alert)
        if around.has_unseen:
            moved += self._look_at_all(self._inbox.unseen, budget / 4)
        if around.has_due:
            moved += self._look_at_all(self._sweeping.take_due, budget / 2, self._wake)
        return moved

    def _lost(self, limit: int) -> Sequence[UUID]:
        began = time.monotonic()
        picked = self._sweeping.lost(limit)
        self._rests_until = began + (time.monotonic() - began) / SHARE
        return picked

    def _wake(self, until: float) -> int:
        """Wake plain instances once enough was sent, until another kind comes before them. Return how many."""
        moved = 0
        while self._sent >= SENT_AT_ONCE and self._finds_plain and time.monotonic() < until:
            woken = self._woken()
            self._finds_plain = bool(woken)
            moved += len(woken)
            for each in woken:
                if each.has_begun:
                    self._loop.announce_status(each.id, each.saga, SagaStatus.RUNNING)
        return moved

    def _woken(self) -> Sequence[Woken]:
        try:
            return self._waking.wake(WOKEN_AT_ONCE, self._messages)
        except Exception as error:  # one of them must not stop the others: each is looked at
            if isinstance(error, DBAPIError) and is_outage(error):
                raise
            logger.error("instances that wake up are looked at one by one: %r", error)
            return []

    def _look_at_all(
        self,
        pick: Callable[[int], Sequence[UUID]],
        seconds: float,
        first: Callable[[float], int] = lambda until: 0,
    ) -> int:
        """Look at picked instances, and pick more each time, until none is new or the time is used up.

        Args:
            first: runs before each pick, until the given moment; returns how many instances it moved.
        """
        until = time.monotonic() + seconds
        moved, looked_at, size = 0, set[UUID](), min(FIRST_BATCH, BATCH)
        while True:
            moved += first(until)
            picked = pick(size)
            new = [instance_id for instance_id in picked if instance_id not in looked_at]
            for instance_id in new:
                moved += self._look_at(instance_id)
            looked_at.update(new)
            if len(picked) < size or not new or time.monotonic() > until:
                return moved
            size = min(2 * size, BATCH)

    def _look_at(self, instance_id: UUID) -> bool:
        if time.monotonic() > self._fresh_until:
            self._sweeping.go_on()
            self._fresh_until = time.monotonic() + self._timing.pause / 2
        joining = Joining.BEHIND_OTHERS if self._sent < SENT_AT_ONCE else Joining.ALWAYS
        try:
            outcome = self._loop.handle(
                instance_id, Tick(), skip_locked=True, patience=0, wait_for_broker=False, joining=joining
            )
        except Exception as error:  # a bad row must not stop the pass; it waits, alone, with an event
            if isinstance(error, DBAPIError) and is_outage(error):
                raise
            info = describe(error, redact=self._redactor(instance_id))
            logger.error("sweep failed on one saga\n%s", info.traceback, extra={"saga_id": str(instance_id)})
            self._sweeping.back_off(instance_id, info.to_json(), error)
            return False
        if outcome is None and self._instances.read(instance_id) is None:
            self._inbox.forget(instance_id)
        if outcome is not None:
            self._sent += len(outcome.decision.sends)
        return outcome is not None and outcome.moved
