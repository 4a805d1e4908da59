"""A task that blocks its whole process, as a driver or C library without support for greenlets does."""

import gevent.monkey
from celery import shared_task

from sagas import Saga, current_step
from tests.support import journal
from tests.support.scripted import step

_sleep = gevent.monkey.get_original("time", "sleep")


@shared_task
def block(seconds: float) -> None:
    journal.write(current_step.name)
    _sleep(seconds)


blocking = Saga("blocking", steps=[step("a", task=block, compensation=None)])
