"""Identifiers of instances: UUID version 7, so that rows enter the index in the order in which they were made."""

import os
import threading
import time
from uuid import UUID

_lock = threading.Lock()
_last = 0


def uuid7() -> UUID:
    """Return a UUID by RFC 9562, section 5.7, with method 3 of 6.2: milliseconds, their 4096 parts, then randomness.

    Those of one process strictly increase: starts in one transaction stand in line in their order.
    """
    global _last
    with _lock:
        _last = max(_last + 1, time.time_ns() * 4096 // 1_000_000)
        milliseconds, part = divmod(_last, 4096)
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | part << 64
    return UUID(int=value | 0x2 << 62 | int.from_bytes(os.urandom(8), "big") >> 2)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
