"""An application whose tenant travels in a header: put there at each publish, restored before each task."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

from celery import Celery, Task, current_task, shared_task, signals

from sagas import Child, PermanentError, Retry, Saga, Sagas, Step, WaitFor, current_step
from tests.support import journal

tenant: ContextVar[str] = ContextVar("tenant", default="public")


def put(headers: dict[str, Any], **_: Any) -> None:
    headers["tenant"] = tenant.get()


def put_nested(headers: dict[str, Any], **_: Any) -> None:
    """Set the header as integrations do whose workers read the nested headers first."""
    headers.setdefault("headers", {})["tenant"] = tenant.get()


def overwrite(headers: dict[str, Any], **_: Any) -> None:
    """Overwrite the header as the last receiver."""
    headers["tenant"] = "a thief"
    if "headers" in headers:
        headers["headers"]["tenant"] = "a thief"


def restore(task: Any, **_: Any) -> None:
    named = task.request.headers or {}
    tenant.set(named.get("tenant") or getattr(task.request, "tenant", None) or "public")


def forget(**_: Any) -> None:
    tenant.set("a former task's")


@contextmanager
def connected(*receivers: Callable[..., None]) -> Iterator[None]:
    """Connect receivers to publishing, in this order, and `restore` and `forget` to running."""
    with ExitStack() as stack:
        for receiver in receivers:
            stack.enter_context(_hearing(signals.before_task_publish, receiver))
        stack.enter_context(_hearing(signals.task_prerun, restore))
        stack.enter_context(_hearing(signals.task_postrun, forget))
        yield


@contextmanager
def _hearing(signal: Any, receiver: Callable[..., None]) -> Iterator[None]:
    signal.connect(receiver, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver)


@contextmanager
def of(name: str) -> Iterator[None]:
    """Act as a request of this tenant in the block."""
    token = tenant.set(name)
    try:
        yield
    finally:
        tenant.reset(token)


class TenantTask(Task):
    """A task class that adds the header, instead of a receiver."""

    abstract = True

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        options["headers"] = {"tenant": tenant.get(), **(options.get("headers") or {})}
        return super().apply_async(args, kwargs, **options)


class CarelessTask(TenantTask):
    """A task class that loses the headers that it is given."""

    abstract = True

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        return super().apply_async(args, kwargs, **options | {"headers": None})


@shared_task
def act(script: Mapping[str, Any]) -> None:
    write(current_step.name)
    lines = script.get(current_step.name, [])
    match lines[current_step.attempt - 1] if current_step.attempt <= len(lines) else "ok":
        case "no":
            raise PermanentError("no")
        case "flaky":
            raise ConnectionError("again")


@shared_task
def undo(script: Mapping[str, Any]) -> None:
    write(f"undo {current_step.name}")


def write(what: str) -> None:
    kept, carried = current_step.headers.get("tenant"), getattr(current_task.request, "tenant", None)
    told = f"{what} in {tenant.get()}"
    journal.write(told if kept == carried else f"{told}, but {kept} is kept and {carried} was sent")


def step(name: str) -> Step:
    quick = Retry(max_attempts=3, on=(ConnectionError,), backoff=0.05, jitter=0)
    return Step(act, name=name, compensation=undo, retry=quick, compensation_retry=quick, timeout=60)


order = Saga("tenants_order", steps=[step("a"), step("b"), step("c")])
parent = Saga("tenants_parent", steps=[step("a"), Child(order, name="child"), step("z")])
patient = Saga("tenants_patient", steps=[WaitFor("paid", name="paid", timeout=3600), step("a")])


def make(broker_url: str, database_url: str, *, task_cls: Any = None, **options: Any) -> Sagas:
    celery = Celery("tests.support.tenants", broker=broker_url, set_as_current=False, task_cls=task_cls)
    celery.conf.worker_hijack_root_logger = False
    return Sagas(celery, database=database_url, heartbeat=0.5, sweep_every=0.5, **options)


if "SAGAS_TENANTS" in os.environ:
    # A worker's process, whose receivers have the last word at each of its publishes.
    sagas = make(os.environ["SAGAS_BROKER_URL"], os.environ["SAGAS_DATABASE_URL"])
    app = sagas.app
    signals.before_task_publish.connect(put, weak=False)
    signals.before_task_publish.connect(overwrite, weak=False)
    signals.task_prerun.connect(restore, weak=False)
    signals.task_postrun.connect(forget, weak=False)
