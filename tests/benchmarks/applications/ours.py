"""Sagas of steps that do nothing, and choreographies: what is measured is what the library adds."""

import inspect
import os
from typing import Any

from celery import Celery, shared_task

from sagas import Retry, Saga, Sagas, Sleep, Step, WaitFor
from tests.benchmarks.applications.choreographies import CHAIN, CHOREOGRAPHIES, example
from tests.benchmarks.applications.noted_times import BENCH, WARM, note_end
from tests.benchmarks.applications.statements import count_what_is_sent

LENGTHS = (1, 3, CHAIN, 10, 50, 100)
CAN_CONTINUE_INLINE = "continuation" in inspect.signature(Saga).parameters
CONTINUATION = os.environ.get("SAGAS_BENCH_CONTINUATION", "")


@shared_task(ignore_result=True)
def noop() -> None:
    """Do nothing."""


@shared_task(ignore_result=True)
def undo() -> None:
    """Undo nothing."""


@shared_task(ignore_result=True)
def end() -> None:
    """Say that a saga has come to its last step, or was undone to its first."""
    note_end()


@shared_task(ignore_result=True)
def fail() -> None:
    raise ValueError("the benchmark turns this saga back")


def saga(name: str, *steps: Any) -> Saga:
    options: dict[str, Any] = {"continuation": CONTINUATION} if CONTINUATION and CAN_CONTINUE_INLINE else {}
    return Saga(name, steps=steps, **options)


def forward(length: int, queue: str, last: Any = end) -> list[Step]:
    tasks = [*([noop] * (length - 1)), last]
    return [Step(task, name=f"s{number}", compensation=undo, queue=queue) for number, task in enumerate(tasks)]


def back(length: int, queue: str) -> list[Step]:
    """So many steps and one that fails: so many undos."""
    first = Step(noop, name="s0", compensation=end, queue=queue)
    failing = Step(fail, compensation=None, queue=queue, retry=Retry(max_attempts=1))
    return [first, *forward(length, queue, noop)[1:], failing]


def sagas_by_name() -> dict[str, Saga]:
    made = {
        "plain": saga("plain", *forward(3, WARM, noop)),
        "sleeping": saga("sleeping", Sleep(0.5), *forward(3, WARM, noop)),
        "waiting": saga(
            "waiting",
            Step(noop, compensation=undo),
            WaitFor("never", timeout=86_400),
            Step(noop, name="last", compensation=None),
        ),
    }
    for queue in (WARM, BENCH):
        made |= {f"chain {queue} {length}": saga(f"{queue}-{length}", *forward(length, queue)) for length in LENGTHS}
        made[f"back {queue} 3"] = saga(f"{queue}-back", *back(3, queue))
    return made


SAGAS = sagas_by_name()


def make(broker_url: str, database_url: str) -> Sagas:
    app = Celery("tests.benchmarks.applications.ours", broker=broker_url)
    app.conf.worker_hijack_root_logger = False
    return Sagas(app, database=database_url)


def prepare() -> None:
    sagas.migrate()
    sagas.register()


def start(what: str, **options: Any) -> None:
    if what in CHOREOGRAPHIES:
        CHOREOGRAPHIES[what].start(example(0), **options)
    else:
        SAGAS[what].start({}, **options)


if "SAGAS_BROKER_URL" in os.environ and "SAGAS_DATABASE_URL" in os.environ:
    count_what_is_sent()
    sagas = make(os.environ["SAGAS_BROKER_URL"], os.environ["SAGAS_DATABASE_URL"])
    app = sagas.app
