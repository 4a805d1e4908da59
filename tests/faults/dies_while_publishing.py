"""The order example for workers that die while publishing, at a moment that the environment names.

`SAGAS_TEST_DIES` is `<moment> <task> <what>`: `before` or `after` a step publishes the message of `<task>`, the
`child` that does so or the whole `worker` is killed. It happens once: the file `SAGAS_TEST_DIED` remembers it.
"""

import os
import signal
from pathlib import Path
from typing import Any

from celery.signals import after_task_publish, before_task_publish

from config.celery_app import app, sagas

__all__ = ["app", "sagas"]

# So that an unacknowledged message comes back while a test can watch.
app.conf.broker_transport_options = {"visibility_timeout": 2}


def die_once(what: str) -> None:
    try:
        Path(os.environ["SAGAS_TEST_DIED"]).touch(exist_ok=False)
    except FileExistsError:
        return
    # The worker has a process group of its own.
    os.kill(os.getpid(), signal.SIGKILL) if what == "child" else os.killpg(0, signal.SIGKILL)


def when_publishing(moment: str) -> Any:
    def receive(sender: Any = None, **_: Any) -> None:
        dies, task, what = os.environ["SAGAS_TEST_DIES"].split()
        if (moment, sender) == (dies, f"tasks.orders.{task}"):
            die_once(what)

    return receive


if "SAGAS_TEST_DIES" in os.environ:
    before_task_publish.connect(when_publishing("before"), weak=False)
    after_task_publish.connect(when_publishing("after"), weak=False)
