"""An application whose own task classes surround every body, as Flask's does with its app context."""

import os
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from celery import Celery, Task, current_task, shared_task

from sagas import PermanentError, Sagas, current_step
from tests.support import journal

#: The classes around the running body, outermost first, each with the id of the request that it saw.
around: ContextVar[tuple[tuple[str, str | None], ...]] = ContextVar("around", default=())


class Inner(Task):
    """A task class that runs the body itself, as in Flask's documentation."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        token = around.set((*around.get(), ("inner", self.request.id)))
        try:
            return self.run(*args, **kwargs)
        finally:
            around.reset(token)


class Outer(Task):
    """A task class that lets Celery run the body."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if "unlit" in kwargs.get("script", ()) and self.name == look.name:
            raise ConnectionError("no light")
        token = around.set((*around.get(), ("outer", self.request.id)))
        try:
            return super().__call__(*args, **kwargs)
        finally:
            around.reset(token)


class Both(Outer, Inner):
    """A task class with one around the other."""

    abstract = True


class Bare(Task):
    """A task class that adds nothing."""

    abstract = True


CLASSES = {kind.__name__: kind for kind in (Inner, Outer, Both, Bare)}


def make(task_cls: str, broker_url: str, database_url: str) -> Sagas:
    app = Celery("tests.support.task_classes", broker=broker_url, set_as_current=False, task_cls=CLASSES[task_cls])
    app.conf.worker_hijack_root_logger = False
    return Sagas(app, database=database_url, heartbeat=0.5, sweep_every=0.5)


@shared_task(bind=True)
def look(self: Task, script: Mapping[str, Any], nothing: None = None) -> dict[str, Any]:
    """Report what a body sees."""
    journal.write(f"{current_step.name} in {' in '.join(name for name, _ in reversed(around.get())) or 'nothing'}")
    if current_step.name in script.get("refuses", ()):
        raise PermanentError("no")
    return {
        f"{current_step.name}_saw": {
            "around": [list(seen) for seen in around.get()],
            "id": self.request.id,
            "current": current_task.request.id,
            "root": self.request.root_id,
            "headers": getattr(self.request, "saga_step", None),
            "direct": self.request.called_directly,
        }
    }


@shared_task(bind=True)
def take_back(self: Task, script: Mapping[str, Any]) -> None:
    journal.write(f"undo {current_step.name} in {' in '.join(name for name, _ in reversed(around.get())) or 'nothing'}")


@shared_task
def tell_surroundings() -> list[str]:
    return [name for name, _ in around.get()]


if "SAGAS_TASK_CLASS" in os.environ:
    sagas = make(os.environ["SAGAS_TASK_CLASS"], os.environ["SAGAS_BROKER_URL"], os.environ["SAGAS_DATABASE_URL"])
    app = sagas.app
