"""An application whose own task class has every hook that Celery knows, some of which raise."""

import os
from collections.abc import Mapping
from typing import Any

from celery import Celery, Task, shared_task, signals

from sagas import Retry, Saga, Sagas, Step, current_step
from tests.support import journal

COUNT = """
INSERT INTO public.gate (saga_id, name, reached) VALUES (%s, %s, 1)
ON CONFLICT (saga_id, name) DO UPDATE SET reached = gate.reached + 1 RETURNING reached
"""


class Hooked(Task):
    """A task class that counts how often each hook was called for a saga, and raises in those that a task names."""

    abstract = True
    #: How often `before_start` raises, for each saga.
    late_starts = 0
    #: The other hooks, which raise always.
    broken: tuple[str, ...] = ()

    def before_start(self, *_: Any) -> None:
        if self._called("before_start") <= self.late_starts:
            raise LookupError("no such database")

    def on_success(self, *_: Any) -> None:
        self._called("on_success")

    def on_failure(self, *_: Any) -> None:
        self._called("on_failure")

    def on_retry(self, *_: Any) -> None:
        self._called("on_retry")

    def after_return(self, *_: Any) -> None:
        self._called("after_return")

    def _called(self, hook: str) -> int:
        if not getattr(self.request, "saga_step", None):
            return 1
        name = f"{hook} {self.name.rpartition('.')[2]}"
        ((times,),) = journal.query(os.environ["SAGAS_DATABASE_URL"], COUNT, self.request.root_id, name)
        if hook in self.broken:
            raise LookupError(f"{hook} is broken")
        return int(times)


def make(broker_url: str, database_url: str) -> Sagas:
    app = Celery("tests.support.task_hooks", broker=broker_url, set_as_current=False, task_cls=Hooked)
    app.conf.worker_hijack_root_logger = False
    return Sagas(app, database=database_url, heartbeat=0.5, sweep_every=0.5)


def act(script: Mapping[str, Any]) -> None:
    """Fail as often as the script says for its step."""
    journal.write(f"{current_step.name} {current_step.attempt}")
    if current_step.attempt <= script.get(current_step.name, 0):
        raise ConnectionError("lost")


def take_back() -> None:
    journal.write(f"undo {current_step.name}")


NOISY = "hooked.noisy"
plain = shared_task(name="hooked.plain")(act)
undo = shared_task(name="hooked.undo")(take_back)
late_once = shared_task(name="hooked.late_once", late_starts=1)(act)
never_ready = shared_task(name="hooked.never_ready", late_starts=1000)(act)
never_undoes = shared_task(name="hooked.never_undoes", late_starts=1000)(take_back)
noisy = shared_task(name=NOISY, broken=("on_success", "on_failure", "on_retry", "after_return"))(act)

SOON = Retry(max_attempts=3, backoff=0)
TWICE = Retry(max_attempts=2, on=(Exception,), backoff=0)

first = Step(plain, name="a", compensation=undo)
curing = Saga("curing", steps=[first, Step(late_once, name="b", compensation=undo, retry=TWICE)])
refusing = Saga("refusing", steps=[first, Step(never_ready, name="b", compensation=undo)])
stuck = Saga(
    "stuck",
    steps=[
        Step(plain, name="a", compensation=never_undoes, compensation_retry=TWICE),
        Step(never_ready, name="b", compensation=undo),
    ],
)
loud = Saga("loud", steps=[Step(noisy, name=name, compensation=undo, retry=SOON) for name in "ab"])


@signals.task_prerun.connect
@signals.task_postrun.connect
@signals.task_success.connect
@signals.task_failure.connect
@signals.task_retry.connect
def break_down(sender: Any = None, **_: Any) -> None:
    """Raise in a receiver: Celery logs it, and goes on."""
    if getattr(sender, "name", "") == NOISY:
        raise LookupError("the receiver is broken")


if "SAGAS_HOOKED" in os.environ:
    sagas = make(os.environ["SAGAS_BROKER_URL"], os.environ["SAGAS_DATABASE_URL"])
    app = sagas.app
