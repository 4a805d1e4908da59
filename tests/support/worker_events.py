"""The events that programs which watch workers receive, such as Flower."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sagas import Sagas


@contextmanager
def received_events(sagas: Sagas) -> Iterator[list[Any]]:
    """Collect the events of an application's workers in the block."""
    heard: list[Any] = []
    receivers: list[Any] = []
    is_ready = threading.Event()

    def listen() -> None:
        with sagas.app.connection_for_read() as connection:
            receivers.append(sagas.app.events.Receiver(connection, handlers={"*": heard.append}))
            receivers[0].on_consume_ready = lambda *_, **__: is_ready.set()
            receivers[0].capture(limit=None, timeout=None, wakeup=False)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert is_ready.wait(30)
    try:
        yield heard
    finally:
        receivers[0].should_stop = True
        thread.join(10)
