"""The worker that this process belongs to, and the executions that it runs."""

import mmap
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4


class WorkerIdentity:
    """A UUID made at each boot of a worker's parent, shared with the children that it forks.

    It is in memory that parent and children share, since a worker that was declared dead registers again while its
    children live on.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 16)

    @property
    def id(self) -> UUID | None:
        """The current id; None outside a worker."""
        value = self._shared[:16]
        return UUID(bytes=value) if any(value) else None

    def renew(self) -> UUID:
        """Become a new worker."""
        new = uuid4()
        self._shared[:16] = new.bytes
        return new


class Leave:
    """Permissions of a worker's children, in memory shared with the parent, which grants them."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 2)
        #: Kilobytes above which the worker replaces a child; None: no limit. Set before the children are forked.
        self.max_memory: int | None = None

    @property
    def to_go_on(self) -> bool:
        """Whether a further step may begin without a message: the worker stays and consumes all its queues."""
        return self._shared[0] == 1

    @to_go_on.setter
    def to_go_on(self, may: bool) -> None:
        self._shared[0] = int(may)

    @property
    def to_send_events(self) -> bool:
        """Whether the worker's tasks are watched, by ``-E`` or Flower."""
        return self._shared[1] == 1

    @to_send_events.setter
    def to_send_events(self, may: bool) -> None:
        self._shared[1] = int(may)


class LocalDeliveries:
    """The deliveries that this process is executing, which pools without child processes list in a heartbeat."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._stopped: set[str] = set()

    @contextmanager
    def holding(self, delivery: str | None) -> Iterator[None]:
        """List a delivery in the block: from before the claim until its end is recorded."""
        if delivery is None:
            yield
            return
        with self._lock:
            self._counts[delivery] = self._counts.get(delivery, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._counts[delivery] -= 1
                if not self._counts[delivery]:
                    del self._counts[delivery]
                    self._stopped.discard(delivery)

    def stop(self, deliveries: Iterable[str]) -> None:
        """Mark those deliveries that run in this process as stopped."""
        with self._lock:
            self._stopped.update(self._counts.keys() & set(deliveries))

    def is_stopped(self, delivery: str | None) -> bool:
        with self._lock:
            return delivery in self._stopped

    def listed(self) -> list[str]:
        with self._lock:
            return list(self._counts)
