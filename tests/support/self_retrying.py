"""Tasks that use Celery as outside sagas: they ask to be tried again, hand over, or do not stop."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import shared_task
from celery.worker.request import Request

from sagas import PermanentError, Pivot, Retry, Saga, current_step
from tests.support import journal
from tests.support.scripted import QUICK, act, step, undo

#: The arguments of ``self.retry``, by a name in the data.
FORMS: dict[str, Any] = {
    "countdown": lambda self: {"countdown": 3600},
    "short": lambda self: {"countdown": 0.05},
    "eta": lambda self: {"eta": datetime.now(UTC) + timedelta(hours=1)},
    "clean": lambda self: {"countdown": 0.05, "exc": PermanentError("not yet")},
    "same": lambda self: {"countdown": 0.05, "args": self.request.args, "kwargs": self.request.kwargs},
    "named": lambda self: {"countdown": 0.05, "kwargs": {"form": "named"}},
    "throw": lambda self: {"throw": False},
    "args": lambda self: {"args": ["other"]},
    "kwargs": lambda self: {"kwargs": {"form": "other"}},
    "queue": lambda self: {"queue": "slow"},
    "time_limit": lambda self: {"time_limit": 5},
}


@shared_task(bind=True, max_retries=None)
def poll(self: Any, polls: int, countdown: float = 0.05) -> dict[str, int]:
    journal.write(f"{current_step.name} retries={self.request.retries}")
    if current_step.attempt <= polls:
        raise self.retry(countdown=countdown)
    return {"polled": self.request.retries}


@shared_task(bind=True)
def ask(self: Any, form: str) -> str:
    journal.write(current_step.name)
    if current_step.attempt == 1:
        self.retry(**FORMS[form](self))
    return form


@shared_task(bind=True)
def ask_alone(self: Any, form: str) -> str:
    """Ask to be tried again outside a saga."""
    raise self.retry(**FORMS[form](self))


@shared_task(bind=True)
def hand_over(self: Any, script: Mapping[str, Any]) -> None:
    journal.write(current_step.name)
    raise self.replace(act.si(script=script))


@shared_task(soft_time_limit=1, time_limit=2)
def hang() -> None:
    """Run until SIGKILL."""
    stop_for_nothing()


class SlowlyFailing(Request):
    """A request that publishes its error callbacks to a slow broker, after Celery has forgotten that it is running."""

    def on_failure(self, *args: Any, **kwargs: Any) -> Any:
        failed = super().on_failure(*args, **kwargs)
        time.sleep(3)
        return failed


@shared_task(soft_time_limit=1, time_limit=2, Request=SlowlyFailing)
def hang_and_fail_slowly() -> None:
    stop_for_nothing()


def stop_for_nothing() -> None:
    journal.write(current_step.name)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            time.sleep(60)
        except BaseException:
            continue


@shared_task
def work(seconds: float = 60) -> None:
    journal.write(current_step.name)
    time.sleep(seconds)


@shared_task
def give_up() -> None:
    raise PermanentError("no")


ONCE = Retry(max_attempts=1)
polling = Saga("polling", steps=[step("b", task=poll, retry=ONCE)])
asking = Saga("asking", steps=[step("b", task=ask)])
asking_carefully = Saga("asking-carefully", steps=[step("b", task=ask, idempotent=False)])
handing_over = Saga("handing-over", steps=[step("b", task=hand_over, retry=Retry(on=(Exception,))), step("c")])
hanging = Saga("hanging", steps=[step("b", task=hang, retry=ONCE, timeout=None)])
hanging_slowly = Saga("hanging-slowly", steps=[step("b", task=hang_and_fail_slowly, retry=ONCE, timeout=None)])
working = Saga("working", steps=[step("b", task=work, retry=QUICK)])
working_past_return = Saga("working-past-return", steps=[Pivot(work, name="b", retry=QUICK, timeout=60)])
undoing = Saga("undoing", steps=[step("a", compensation=work, timeout=60), step("b", task=give_up, compensation=undo)])
