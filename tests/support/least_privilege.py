"""An application that uses only the library's own tables, with a saga of every shape."""

import os
import time
from collections.abc import Mapping
from typing import Any

from celery import Celery, shared_task

from sagas import Child, PermanentError, Retry, Saga, Sagas, Sleep, Step, WaitFor, current_step, parallel


def make(broker_url: str, database_url: str) -> Sagas:
    app = Celery("tests.support.least_privilege", broker=broker_url, set_as_current=False)
    app.conf.worker_hijack_root_logger = False
    return Sagas(app, database=database_url, heartbeat=0.5, sweep_every=0.5)


class No(PermanentError):
    """A clean no."""


@shared_task
def do(script: Mapping[str, str]) -> dict[str, Any]:
    match script.get(current_step.name):
        case "no":
            raise No("no")
        case "flaky" if current_step.attempt == 1:
            raise ConnectionError("again")
        case "long" if current_step.attempt == 1:
            time.sleep(60)
    return {current_step.name: current_step.attempt}


@shared_task
def undo(script: Mapping[str, str]) -> None:
    if script.get(f"undo {current_step.name}") == "no":
        raise No("no")


def step(name: str, **options: Any) -> Step:
    quick = Retry(max_attempts=2, on=(ConnectionError,), backoff=0.05)
    return Step(do, name=name, compensation=undo, retry=quick, compensation_retry=quick, timeout=60, **options)


inner = Saga("inner", steps=[step("x")])
everything = Saga(
    "everything",
    steps=[
        step("a"),
        parallel(step("b"), step("c")),
        WaitFor("go", timeout=60),
        Child(inner),
        Sleep(seconds=0.1),
        step("d"),
    ],
    locks=["account:{account}"],
    max_concurrent=2,
)

if "SAGAS_BROKER_URL" in os.environ and "SAGAS_DATABASE_URL" in os.environ:
    sagas = make(os.environ["SAGAS_BROKER_URL"], os.environ["SAGAS_DATABASE_URL"])
    app = sagas.app
