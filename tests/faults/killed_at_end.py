"""Several workers at once, who all end by SIGKILL: a warm shutdown takes seconds, and is tested elsewhere."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.support.workers import ALL_INLINE, Worker

#: For tests about the messages between steps, of which inline sagas have none. A text is looked at when the tests run.
with_a_message_a_step = pytest.mark.skipif(
    f"{ALL_INLINE!r} in os.environ", reason="inline sagas have no message a step"
)


@contextmanager
def killed_at_end(*workers: Worker) -> Iterator[None]:
    """Start workers side by side, and whatever happens leave none behind."""
    try:
        if workers:
            with ThreadPoolExecutor(len(workers)) as threads:
                list(threads.map(Worker.start, workers))
        yield
    finally:
        for worker in workers:
            end(worker)


def end(worker: Worker) -> None:
    """Kill a worker that still runs, frozen or not."""
    if worker.process is not None and worker.process.poll() is None:
        worker.kill()
