"""Sagas that use every option of the last release (see `last_release`).

Whatever is added to the library, these keep their fingerprints: an upgrade must start them under their old versions.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from celery import shared_task

from sagas import BestEffort, Child, Pivot, Retriable, Retry, Saga, Sleep, Step, WaitFor, condition, parallel


@shared_task
def act(order_id: str) -> dict[str, str]:
    return {"acted": order_id}


@shared_task(name="elsewhere.other")
def other() -> None: ...


@shared_task
def undo() -> None: ...


@shared_task
def run() -> None:
    """Do nothing; a function with this name, not the method of a task class."""


@condition
def is_abroad(data: Mapping[str, Any]) -> bool:
    return bool(data)


ASKING = Retry(max_attempts=5, on=(ConnectionError,), never_on=(ValueError,), backoff=0.5, factor=3.0, jitter=0.0)

plain = Saga(
    "plain", steps=[Step(act, compensation=undo), Step(other, compensation=None), Step(run, compensation=None)]
)
forward = Saga(
    "forward",
    version=3,
    steps=[
        Step(act, compensation=undo, retry=ASKING, compensation_retry=ASKING, timeout=30, compensation_timeout=5),
        Pivot(other, retry=Retry(max_attempts=10, on=(Exception,), max_backoff=30.0), timeout=60),
        Retriable(run),
        BestEffort(act, name="tell"),
    ],
)
careful = Saga(
    "careful",
    input=["order_id", "abroad"],
    steps=[
        Step(act, compensation=undo, idempotent=False, max_losses=0),
        Step(other, compensation=undo, when="abroad", queue="slow"),
        Step(act, name="act.again", compensation=undo, when=is_abroad, compensation_deadline=timedelta(minutes=1)),
        BestEffort(run, compensation=undo),
    ],
)
beside = Saga(
    "beside",
    steps=[
        parallel(Step(act, compensation=undo), [Step(other, compensation=None), Step(run, compensation=undo)]),
        parallel(
            Step(act, name="a", compensation=undo),
            Step(act, name="b", compensation=undo),
            undo="parallel",
            if_one_fails="cancel",
        ),
    ],
)
waiting = Saga(
    "waiting",
    steps=[
        Sleep(hours=1),
        WaitFor("approval", timeout=60),
        WaitFor("order:paid", timeout=timedelta(days=1), on_timeout="continue", payload=["by"]),
        Step(act, compensation=undo),
    ],
)
parent = Saga(
    "parent", steps=[Child(plain), Child(careful, name="other", input=["order_id", "abroad"], output=["acted"])]
)
limited = Saga(
    "limited",
    steps=[Step(act, compensation=undo)],
    undo="parallel",
    if_undo_fails="stop",
    locks=["account:{account}", "order:{order_id}"],
    if_locked="refuse",
    max_concurrent=3,
    priority=9,
)

SAMPLED = (plain, forward, careful, beside, waiting, parent, limited)
