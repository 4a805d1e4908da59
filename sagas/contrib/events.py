"""Server-sent events for the progress of an instance, as every framework's stream uses them."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sagas.handle import Pace, SagaHandle

#: A comment, which browsers skip. It keeps proxies from closing a silent stream, and detects clients that have left.
KEEP_ALIVE: Final = ": nothing new\n\n"


def sse(progress: Mapping[str, Any]) -> str:
    """Return a server-sent event named ``progress`` with the result of `SagaHandle.progress` as its data."""
    return f"event: progress\ndata: {json.dumps(progress)}\n\n"


class News:
    """Tells a stream what to send after each look.

    Args:
        keep_alive: seconds without a change after which it is a comment.
    """

    def __init__(self, keep_alive: float) -> None:
        self._keep_alive = keep_alive
        self._last: Mapping[str, Any] = {}
        self._said_at = time.monotonic()

    def of(self, progress: Mapping[str, Any]) -> Iterator[str]:
        """Yield the event if the progress has changed, or else a comment if nothing has been sent for long."""
        is_new = progress != self._last
        if is_new or time.monotonic() - self._said_at >= self._keep_alive:
            self._last, self._said_at = progress, time.monotonic()
            yield sse(progress) if is_new else KEEP_ALIVE


def events(handle: SagaHandle, timeout: float = 60.0, keep_alive: float = 15.0, *, every: float = 0.5) -> Iterator[str]:
    """Yield the instance's progress now and at each change, as server-sent events, until it ends.

    No database connection is held between two looks.

    Args:
        timeout: seconds until the stream ends; an ``EventSource`` then reconnects.
        keep_alive: seconds without news after which a comment is sent.
        every: seconds between two looks.

    Raises:
        InstanceNotFound: there is no such instance (any more).
    """
    pace, news = Pace(timeout, every), News(keep_alive)
    while True:
        progress = handle.progress()
        yield from news.of(progress)
        if progress["ended"] or (pause := pace.next()) is None:
            return
        time.sleep(pause)
