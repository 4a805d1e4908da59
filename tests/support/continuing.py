"""Sagas with ``continuation="inline"``, whose steps and signals report which request, process and task they see."""

import time
from collections.abc import Mapping
from typing import Any

from celery import current_task, shared_task, signals

from sagas import Inline, Saga, Step, current_step, parallel
from tests.support import gates, journal
from tests.support.scripted import play, step
from tests.support.self_retrying import ONCE, hang

#: Traced step by step, and not one within the other.
TRACED = ("tests.support.continuing.see",)


@shared_task(bind=True)
def see(self: Any) -> None:
    seen = current_task.request
    assert seen.id == self.request.id
    journal.write(f"{current_step.name} id={seen.id} parent={seen.parent_id} retries={seen.retries}")


@shared_task
def forget() -> None:
    journal.write(f"undo {current_step.name}")


@shared_task(rate_limit="100/s")
def wait_for_its_turn(script: Mapping[str, Any]) -> Any:
    return play(script, current_step.name)


@shared_task
def sleep(seconds: float) -> None:
    journal.write(f"{current_step.name} begins")
    time.sleep(seconds)
    journal.write(f"{current_step.name} ends")


@shared_task
def meet() -> None:
    journal.write(f"{current_step.name} begins")
    gates.wait_for("meeting")
    journal.write(f"{current_step.name} ends")


def write_signal(saga_id: str, what: str) -> None:
    """Write down a signal, which is sent outside the step."""
    connection = journal.connect()
    try:
        connection.cursor().execute(
            "INSERT INTO public.journal (saga_id, what, key, action_key, attempt, pid) VALUES (%s, %s, '', '', 1, 0)",
            (saga_id, what),
        )
    finally:
        connection.close()


@signals.task_prerun.connect
def on_prerun(sender: Any, kwargs: Any, **_: Any) -> None:
    if sender.name in TRACED:
        write_signal(kwargs["saga_id"], "prerun")


@signals.task_success.connect
def on_success(sender: Any, **_: Any) -> None:
    if sender.name in TRACED:
        write_signal(sender.request.kwargs["saga_id"], "success")


@signals.task_postrun.connect
def on_postrun(sender: Any, kwargs: Any, **_: Any) -> None:
    if sender.name in TRACED:
        write_signal(kwargs["saga_id"], "postrun")


def saga(name: str, *steps: Any, continuation: str | Inline = "inline") -> Saga:
    return Saga(name, steps=steps, continuation=continuation)


seen = saga("seen", *(Step(see, name=name, compensation=forget) for name in "abc"))
plain = saga("inline-plain", *(step(name) for name in "abcd"))
pairs = saga("inline-pairs", *(step(name) for name in "abcd"), continuation=Inline(steps=2))
brief = saga("inline-brief", *(step(name) for name in "abc"), continuation=Inline(seconds=0.3))
elsewhere = saga("inline-elsewhere", step("a"), step("b", queue="other"), step("c", queue="other"))
turns = [step(name, task=wait_for_its_turn, compensation=None, queue="limited") for name in "abc"]
limited = saga("inline-limited", *turns)
lanes = saga("inline-lanes", step("a"), parallel(step("l"), [step("r"), step("r2")]), step("z"))
stopping = saga("inline-stopping", step("a"), parallel(step("l"), step("r"), if_one_fails="cancel"), step("z"))
slow_second = saga(
    "inline-slow-second",
    step("a", timeout=1),
    Step(sleep, name="b", compensation=forget, timeout=20),
    Step(sleep, name="c", compensation=forget, timeout=1, retry=ONCE),
)
hanging_second = saga(
    "inline-hanging-second", step("a"), Step(hang, name="b", compensation=forget, timeout=None, retry=ONCE)
)
meeting = saga("inline-meeting", Step(meet, name="a", compensation=forget), step("b"), step("c"))
