"""Sagas whose steps do what the saga's data tells them to, and write down every effect.

``data["script"]`` maps a step's name (or ``undo <name>``) to a list of behaviours, one for each attempt; when the
list is used up the step succeeds. A text instead of a list is the behaviour of every attempt. So tests steer workers
by data alone, and by gates (see `gates`) while they run.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from celery import current_task, shared_task
from celery.exceptions import Ignore, Reject
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sagas import BindingError, PermanentError, Pivot, Retriable, Retry, Saga, Step, current_step
from tests.support import gates, journal


class CleanNo(PermanentError):
    """A refusal before any effect."""


#: ``raise:<name>``: the errors that Celery or Python treat specially.
ERRORS = {
    "binding": lambda: BindingError("of a start within the body, say"),
    "ignore": lambda: Ignore(),
    "reject": lambda: Reject("no", requeue=False),
    "requeue": lambda: Reject("no", requeue=True),
    "memory": lambda: MemoryError("too much"),
    "interrupt": lambda: KeyboardInterrupt("stop"),
}
#: ``return:<name>``: values that JSON or PostgreSQL cannot store.
UNSTORABLE = {
    "set": {1, 2},
    "nul": {"text": "a\x00b"},
    "nan": {"number": float("nan")},
    "big": {"text": "x" * 1_100_000},
}


def behave(behaviour: str) -> Any:
    """Do as told. ``before:…`` and ``after:…`` are relative to the effect; everything else comes before it."""
    kind, _, argument = behaviour.partition(":")
    match kind:
        case "ok":
            return None
        case "no":
            raise CleanNo(argument or "no")
        case "invalid":
            raise ValueError(argument or "invalid")
        case "flaky":
            raise ConnectionError(argument or "connection lost")
        case "broken":  # until the test opens the gate
            if not gates.is_open(argument):
                raise ConnectionError(f"{argument} is not open")
        case "raise":
            raise ERRORS[argument]()
        case "retry":  # as Celery users do without sagas
            current_task.retry(exc=ConnectionError("again, please"), countdown=0.05)
        case "sleep":
            time.sleep(float(argument))
        case "wait":
            gates.wait_for(argument)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            sys.exit(3)
        case "return":
            return UNSTORABLE[argument]
        case "say":  # how far an undo got
            return argument
        case "record":
            current_step.record({"charge_id": argument})
        case "write":
            enter_in_ledger(argument)
        case "sql":
            current_step.connection.execute(text(argument))
        case "swallow":
            try:
                current_step.connection.execute(text(argument))
            except DBAPIError:
                pass
        case "call":  # what a step must not do with its connection
            getattr(current_step.connection, argument)()
        case "tell":
            journal.write(f"{argument}={getattr(current_step, argument)}")
        case _:
            raise AssertionError(f"unknown behaviour {behaviour!r}")
    return None


def enter_in_ledger(entry: str) -> None:
    current_step.connection.execute(
        text("INSERT INTO public.ledger (saga_id, entry) VALUES (:saga_id, :entry)"),
        {"saga_id": current_step.saga_id, "entry": entry},
    )


def play(script: Mapping[str, Sequence[str]], what: str) -> Any:
    """Play one attempt: the behaviours of its line, with the effect between ``before`` and ``after``."""
    lines = script.get(what, [])
    if isinstance(lines, str):
        line = lines
    else:
        line = lines[current_step.attempt - 1] if current_step.attempt <= len(lines) else "ok"
    parts = [part.strip() for part in line.split(",")]
    result = None
    for part in parts:
        if not part.startswith("after:"):
            result = behave(part.removeprefix("before:")) or result
    journal.write(what)
    for part in parts:
        if part.startswith("after:"):
            result = behave(part.removeprefix("after:")) or result
    return result


@shared_task
def act(script: Mapping[str, Sequence[str]]) -> Any:
    played = play(script, current_step.name)
    return played if played is not None else {f"{current_step.name}_done": current_step.attempt}


@shared_task
def undo(script: Mapping[str, Sequence[str]]) -> Any:
    return play(script, f"undo {current_step.name}")


@shared_task
def give(gifts: Mapping[str, Any]) -> Any:
    """Return what the data says that this step returns."""
    journal.write(current_step.name)
    return gifts[current_step.name]


@shared_task
def pass_on(gift: Any) -> Any:
    return {"passed": gift}


@shared_task
def pass_on_again(passed: Any) -> Any:
    return {"again": passed}


@shared_task
def tell_what_is_seen(data: Mapping[str, Any]) -> None:
    """Write down, as a compensation, the data that it sees."""
    seen = ", ".join(f"{name}={value}" for name, value in sorted(data.items()) if name != "gifts")
    journal.write(f"undo {current_step.name} with {seen}")


@shared_task
def whoami() -> str:
    return current_step.name if current_step else "nobody"


if os.environ.get("TEST_RELEASE") == "2":

    @shared_task
    def demand(signature: str = "none needed") -> None:
        journal.write(f"{current_step.name} with {signature}")
else:

    @shared_task
    def demand(signature: str) -> None:
        """Require a parameter that nothing provides until a later release of this application."""
        raise AssertionError("called without its parameter")


QUICK = Retry(max_attempts=3, backoff=0.05, max_backoff=0.2)
QUICK_UNDO = Retry(max_attempts=4, on=(Exception,), backoff=0.05, max_backoff=0.2)


def step(name: str, **options: Any) -> Step:
    options = {"compensation": undo, "retry": QUICK, "compensation_retry": QUICK_UNDO, "timeout": 60} | options
    return Step(options.pop("task", act), name=name, **options)


five = Saga("five", steps=[step(name) for name in "abcde"])
three = Saga("three", steps=[step("a"), step("b"), step("c")])
fifty = Saga("fifty", steps=[step(f"s{number}") for number in range(50)])
ten = Saga("ten", steps=[step(f"s{number}") for number in range(10)])
pivoted = Saga(
    "pivoted",
    steps=[
        step("a"),
        Pivot(act, name="p", retry=QUICK, clean=()),
        Retriable(act, name="r", retry=Retry(max_attempts=3, on=(Exception,), backoff=0.05)),
    ],
)
patient = Saga(
    "patient",
    steps=[step("a"), step("b", retry=Retry(max_attempts=200, backoff=0.3, factor=1.0, jitter=0.0)), step("c")],
)
careful = Saga("careful", steps=[step("a"), step("b", idempotent=False), step("c")])
limited = Saga("limited", steps=[step("a"), step("b", timeout=1.0), step("c")])
