"""Progress as server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, StreamingHttpResponse

from sagas.contrib.events import News, events
from sagas.handle import Pace, SagaHandle


def event_stream(
    request: HttpRequest, handle: SagaHandle, timeout: float = 60.0, *, keep_alive: float = 15.0, every: float = 0.5
) -> StreamingHttpResponse:
    """Return a response that sends an instance's progress now and at each change, until it ends::

        def order_events(request, order_id):
            return event_stream(request, sagas.find(saga="order", key=order_id))

    In the page, use ``new EventSource(url).addEventListener("progress", …)``, and close it once ``ended`` is true.
    Under WSGI it occupies one of the server's threads, under ASGI none, and neither holds a database connection between
    looks.

    Args:
        request: shows whether the server is WSGI or ASGI.
        timeout: seconds until the stream ends; an ``EventSource`` then reconnects.
        keep_alive: seconds without news after which a comment is sent, so that no proxy closes the stream.
        every: seconds between two looks.
    """
    looks = _events_on_the_loop if isinstance(request, ASGIRequest) else _events
    stream: Any = looks(handle, timeout, keep_alive, every)
    response = StreamingHttpResponse(stream, content_type="text/event-stream")
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"  # nginx would keep the events until its buffer is full
    return response


def _events(handle: SagaHandle, timeout: float, keep_alive: float, every: float) -> Iterator[str]:
    _let_go()
    yield from events(handle, timeout, keep_alive, every=every)


async def _events_on_the_loop(
    handle: SagaHandle, timeout: float, keep_alive: float, every: float
) -> AsyncIterator[str]:
    """Yield like `sagas.contrib.events.events`, with each look in a thread."""
    await sync_to_async(_let_go)()
    pace, news = Pace(timeout, every), News(keep_alive)
    while True:
        progress = await asyncio.to_thread(handle.progress)
        for text in news.of(progress):
            yield text
        if progress["ended"] or (pause := pace.next()) is None:
            return
        await asyncio.sleep(pause)


def _let_go() -> None:
    """Close the view's connections, which Django would otherwise keep until the response has ended."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
