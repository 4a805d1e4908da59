"""Server-sent events: what every framework's stream of an instance's progress is made of."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sagas.handle import SagaHandle

#: A comment, which browsers skip. It keeps proxies from closing a silent stream, and finds out who has left.
KEEP_ALIVE: Final = ": nothing new\n\n"


def sse(progress: Mapping[str, Any]) -> str:
    """One server-sent event named ``progress``, its data what `SagaHandle.progress` returned."""
    return f"event: progress\ndata: {json.dumps(progress)}\n\n"


def events(handle: SagaHandle, timeout: float = 60.0, keep_alive: float = 15.0, *, every: float = 0.5) -> Iterator[str]:
    """The instance's progress now and whenever it has changed, as server-sent events, until it ends.

    No database connection is held between two looks.

    Args:
        timeout: seconds; the stream ends then, and an ``EventSource`` connects anew.
        keep_alive: seconds without news after which a comment is sent.
        every: seconds between two looks.

    Raises:
        InstanceNotFound: there is no such instance (any more).
    """
    started_at = said_at = time.monotonic()
    last: dict[str, Any] = {}
    while True:
        progress = handle.progress()
        if progress != last:
            last, said_at = progress, time.monotonic()
            yield sse(progress)
        elif time.monotonic() - said_at >= keep_alive:
            said_at = time.monotonic()
            yield KEEP_ALIVE
        if progress["ended"] or time.monotonic() + every > started_at + timeout:
            return
        time.sleep(every)
