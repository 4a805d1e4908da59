"""Fill the queues from their lines: one process of the fleet sends waiting steps as fast as they are taken.

A backlog needs each of its messages once, in order, however it came about: the broker lost them, was away, could not
be reached from where they were to be sent, or ten thousand sleeping steps woke up. So the recovery is the same for all
of these, and costs less than the work.
"""

import logging
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sagas.engine import Engine, describe, window_from
from sagas.model import Plan
from sagas.store import Released, Waiting, legible

logger = logging.getLogger("sagas")

#: The most steps that one statement takes out of a line: so many a crash between marking and publishing leaves behind.
BATCH = 100
#: Lost messages of each queue that one statement puts back, and the most such statements before others are sent.
AT_A_TIME, TIMES = 500, 4
#: The window of a queue without known consumers, and the smallest window.
LEAST = 10
#: The most messages of one queue that may be sent and unclaimed.
MOST = 5_000
#: How long this process leaves the lease to others after two failed publishes in a row, in seconds.
ABSTAIN = 3.0


@dataclass(slots=True)
class Window:
    """How many messages of a queue may be sent and unclaimed: more than are taken before the next look.

    Pacing by the number of claims would confirm itself, since only sent messages are claimed. So the window grows
    whenever the queue ran empty before the look, and shrinks slowly. Messages held back by a rate limit fill the
    workers' prefetch; that does not count as a queue that ran empty, and neither does a broker that is away.
    """

    size: int = 0
    left_out: int = 0  # sent and unclaimed after the last look
    sent_from: datetime | None = None  # when the first message of the last batch was sent

    def still_out(self, taken_until: datetime | None) -> int:
        """Return how many messages count as unclaimed while lost ones, which are in no line yet, look like sent ones.

        It is as many as were left out, until the first message of the last batch has been taken.
        """
        if self.sent_from is None or (taken_until is not None and taken_until >= self.sent_from):
            return 0
        return self.left_out

    def room(self, out: int, slots: int, *, is_held: bool = False) -> int:
        """Return how many more messages to send.

        Args:
            out: how many messages are sent and unclaimed.
            slots: how many tasks the consumers run at a time.
            is_held: whether a rate limit holds messages of the queue back.
        """
        least = max(LEAST, 2 * slots)
        if not self.size:
            self.size = max(least, out)
        elif out <= max(slots, self.size // 8):  # it ran empty, or would have before the next look
            self.size *= 1 if is_held else 2
        elif 2 * (self.left_out - out) < self.size:  # more than two intervals' work
            self.size -= self.size // 16
        self.size = min(max(self.size, least), MOST)
        return max(0, self.size - out)


class Filler:
    """Sends the steps that wait in the lines, while it holds its app's lease."""

    def __init__(self, engine: Engine) -> None:
        store = engine.store
        self._lines, self._sweeping, self._timing = store.lines, store.sweeping, store.timing
        self._instances, self._headers, self._clock = store.instances, store.headers, store.clock
        self._messages, self._redactor = engine.messages, engine.redactor
        self._lease, self._identity = engine.control.queue, engine.identity
        self._own_id = uuid4()
        self._windows: dict[str, Window] = {}
        self._lossy: frozenset[str] = frozenset()  # the queues that had more lost messages than were put back
        self.has_lines = False  # at the last look
        self._connection: Any = None
        self._failures = 0
        self._tries = False  # the last publish failed, so that the next one is a try
        self._abstains_until = 0.0

    @property
    def _me(self) -> UUID:
        # A worker that was declared dead and registers again has no right to the lease of its former id.
        return self._identity.id or self._own_id

    def fill(self, patience: float = 0.0) -> int:
        """Put lost messages back into their lines and send up to each queue's window.

        Args:
            patience: how long to wait for a lease that another process holds, in seconds.

        Returns:
            How many messages it sent.
        """
        if time.monotonic() < self._abstains_until:
            return 0
        self._failures = 0
        gives_up_at = time.monotonic() + patience
        while not self._lines.take_lease(self._lease, self._me, self._timing.hold):
            if time.monotonic() > gives_up_at:
                return 0
            time.sleep(0.1)
        sent = 0
        try:
            self._put_lost_back()
            waiting = self._lines.waiting(MOST)
            self.has_lines = bool(waiting)
            self._windows = {one.queue: self._windows.get(one.queue, Window()) for one in waiting}
            for one in waiting:
                sent += self._fill_queue(one)
        finally:
            if patience or self._failures >= 2:
                self._lines.give_lease_back(self._lease, self._me)
        return sent

    def resign(self) -> None:
        """Let another process go on at once, because this worker stops."""
        self._lines.give_lease_back(self._lease, self._me)

    def close(self) -> None:
        """Release the connection for publishing; the next publish opens another one."""
        if self._connection is not None:
            self._connection.collect()
            self._connection = None

    def _put_lost_back(self) -> None:
        """Put some lost messages back, the oldest first. The work does not wait until all of a hundred thousand are."""
        former, lost = self._lossy, 0
        for _ in range(TIMES):
            found = self._lines.put_lost_back(self._lease, self._me, AT_A_TIME)
            lost += sum(found.values())
            self._lossy = frozenset(queue for queue, count in found.items() if count >= AT_A_TIME)
            if not self._lossy or not self._lines.take_lease(self._lease, self._me, self._timing.hold):
                break
        for queue in self._lossy - former:
            self._windows.pop(queue, None)  # what it has sent is lost, too
        if lost:
            logger.warning("%d messages are lost by all evidence, and wait to be sent again", lost)

    def _fill_queue(self, waiting: Waiting) -> int:
        window = self._windows[waiting.queue]
        out = window.still_out(waiting.taken_until) if waiting.queue in self._lossy else waiting.out
        is_held = waiting.kept > 0 and any(map(self._messages.is_rate_limited, waiting.tasks))
        room = window.room(out, waiting.slots, is_held=is_held or self._tries)
        window.left_out = out + room
        sent = 0
        while sent < room and self._failures < 2:
            limit = 1 if self._tries else min(BATCH, room - sent)
            released = self._lines.release(self._lease, self._me, waiting.queue, limit, self._instances.known_plans)
            if released and not sent:
                window.sent_from = min(each.dispatched_at for each in released)
            for each in released:
                if self._failures < 2:
                    sent += self._send(each)
                else:
                    self._lines.put_back(each.instance_id, each.address)
            if len(released) < limit:
                break
            self._lines.take_lease(self._lease, self._me, self._timing.hold)
        return sent

    def _send(self, released: Released) -> bool:
        try:
            with legible(released.instance_id):
                plan = self._instances.plan(released.plan_hash, released.plan)
        except Exception as error:  # one bad row must not stop the others; it waits, alone, with an event
            info = describe(error, redact=self._redactor(released.instance_id))
            logger.error("not sent: %s", info.message, extra={"saga_id": str(released.instance_id)})
            self._sweeping.back_off(released.instance_id, info.to_json(), error)
            return False
        self._headers.remember(released.instance_id, released.headers)
        self._clock.learn(released.dispatched_at)
        try:
            self._publish(released, plan)
        except Exception as error:  # any error of a transport: the row is the truth
            self._failed(released, error)
            return False
        self._failures, self._tries = 0, False
        return True

    def _publish(self, released: Released, plan: Plan) -> None:
        messages, address = self._messages, released.address
        # An undo dispatches the next one itself, once it is done.
        window = window_from(plan, None, address) if address.is_action else [address]
        self._connection = self._connection or messages.impatient_connection()
        limits = {address: released.limits}
        messages.send(released.instance_id, plan, window, limits=limits, retry=False, connection=self._connection)

    def _failed(self, released: Released, error: Exception) -> None:
        logger.warning("message of saga %s not sent: %r", released.instance_id, error)
        self._lines.put_back(released.instance_id, released.address)
        self.close()
        self._tries = True
        self._failures += 1
        if self._failures >= 2:
            self._abstains_until = time.monotonic() + ABSTAIN
