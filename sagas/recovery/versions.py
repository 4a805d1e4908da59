"""The differences between the releases of Celery that the library runs on.

`docs/versions.md` has the table of what was run.
"""

from typing import Any

from celery.worker import state as worker_state
from celery.worker.request import Request


def waits_for_its_time(consumer: Any) -> bool:
    """Return whether a worker keeps a message back until its ETA."""
    scheduled = getattr(worker_state, "scheduled_requests", None)
    if scheduled is not None:
        return len(scheduled) > 0
    # Before Celery 5.7 only the timer knows of them; `celery inspect scheduled` looks there, too.
    timer = getattr(consumer, "timer", None)
    due = () if timer is None else timer.schedule.queue
    return any(isinstance(argument, Request) for _, _, entry in due for argument in entry.args)
