"""celery-saga: orchestrated by tasks of its own, its state in Redis; it needs that package."""

import os
from typing import Any

from celery import Celery, shared_task
from celery.signals import task_postrun
from celery_saga import Saga, set_default_backend
from celery_saga.backends import RedisSagaBackend

from tests.benchmarks.applications.noted_times import client, note_end

app = Celery("tests.benchmarks.applications.celery_saga_shop", broker=os.environ.get("SAGAS_BROKER_URL", "memory://"))
app.conf.update(worker_hijack_root_logger=False, task_acks_late=True, worker_prefetch_multiplier=1)
set_default_backend(RedisSagaBackend(redis_client=client))


@shared_task(ignore_result=True)
def noop(**data: Any) -> dict[str, Any]:
    """Do nothing."""
    return {}


@shared_task(ignore_result=True)
def undo(data: Any) -> None:
    """Undo nothing."""


@shared_task(ignore_result=True)
def fail(**data: Any) -> None:
    raise ValueError("the benchmark turns this saga back")


@task_postrun.connect
def on_end(task: Any, **_: object) -> None:
    """Its own last tasks say that it has ended."""
    if task.name in ("celery_saga.complete", "celery_saga.compensation_complete"):
        note_end()


def prepare() -> None:
    """Redis needs nothing."""


def start(what: str) -> None:
    shape, queue, count = what.split()
    saga = Saga(what)
    for _ in range(int(count)):
        saga = saga.add_step(noop, compensate=undo)
    if shape == "back":
        saga = saga.add_step(fail, no_compensation=True)
    saga.run(queue=queue)
