"""Sagas of tasks with their own limits (see `scripted`)."""

from celery import shared_task

from sagas import Retry, Saga
from tests.support import scripted
from tests.support.scripted import act, step

#: The same body under other limits.
brief = shared_task(act.run, name="tests.support.own_limits.brief", soft_time_limit=1, time_limit=2)
ended = shared_task(act.run, name="tests.support.own_limits.ended", time_limit=3)
brief_undo = shared_task(scripted.undo.run, name="tests.support.own_limits.brief_undo", soft_time_limit=1, time_limit=2)

ONCE = Retry(max_attempts=1)


def timed(name: str, **options: object) -> Saga:
    """Return a saga of three steps, the second of which matters."""
    return Saga(name, steps=[step("a"), step("b", **{"retry": ONCE, "timeout": None} | options), step("c")])


of_task = timed("timed-by-task", task=brief)
of_task_twice = timed("timed-by-task-twice", task=brief, retry=scripted.QUICK)
hard_alone = timed("timed-by-hard-limit", task=ended)
of_app = timed("timed-by-app")
of_step = timed("timed-by-step", task=brief, timeout=20)
of_hour = timed("timed-by-hour", task=brief, timeout=3600)
of_undo = Saga(
    "timed-by-undo",
    steps=[step("a", compensation=brief_undo, timeout=None, compensation_retry=ONCE), step("b", retry=ONCE)],
)
