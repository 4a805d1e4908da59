"""A response with an instance's progress, which lasts until the instance ends."""

from itertools import chain

from flask import Response

from sagas.contrib.events import events
from sagas.handle import SagaHandle


def event_stream(handle: SagaHandle, timeout: float = 60.0, *, keep_alive: float = 15.0) -> Response:
    """Return a response that streams an instance's progress as server-sent events, until it ends.

    It occupies a thread of the server (as in ``gunicorn --threads 16``), and a database connection only for the
    moment of each look. The page closes its ``EventSource`` once ``ended`` is true.

    Args:
        timeout: seconds until the stream ends; an ``EventSource`` then reconnects.
        keep_alive: seconds without news after which a comment is sent.

    Raises:
        InstanceNotFound: there is no such instance.
    """
    stream = events(handle, timeout, keep_alive)
    # The first look happens here, so that its error is the view's, not a broken stream.
    response = Response(chain([next(stream)], stream), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would keep the events until its buffer is full
    return response
