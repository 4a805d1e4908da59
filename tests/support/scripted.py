"""Sagas whose steps do what the saga's data tells them to, and write down every effect.

``data["script"]`` maps a step's name (or ``undo <name>``) to a list of behaviours, one for each attempt; when the
list is used up the step succeeds. So tests steer workers by data alone.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from celery import shared_task

from sagas import PermanentError, Pivot, Retriable, Retry, Saga, Step, current_step
from tests.support import journal


class CleanNo(PermanentError):
    """A refusal before any effect."""


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
        case "sleep":
            time.sleep(float(argument))
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            sys.exit(3)
        case "memory":
            raise MemoryError("too much")
        case "return":
            return {"set": {1, 2}, "nul": {"text": "a\x00b"}, "nan": {"number": float("nan")}}[argument]
        case _:
            raise AssertionError(f"unknown behaviour {behaviour!r}")
    return None


def play(script: Mapping[str, Sequence[str]], what: str) -> Any:
    """One attempt: the behaviours of its line, the effect between ``before`` and ``after``."""
    lines = script.get(what, [])
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


QUICK = Retry(max_attempts=3, backoff=0.05, max_backoff=0.2)
QUICK_UNDO = Retry(max_attempts=4, on=(Exception,), backoff=0.05, max_backoff=0.2)


def step(name: str, **options: Any) -> Step:
    options = {"compensation": undo, "retry": QUICK, "compensation_retry": QUICK_UNDO, "timeout": 60} | options
    return Step(act, name=name, **options)


three = Saga("three", steps=[step("a"), step("b"), step("c")])
fifty = Saga("fifty", steps=[step(f"s{number}") for number in range(50)])
ten = Saga("ten", steps=[step(f"s{number}") for number in range(10)])
pivoted = Saga(
    "pivoted",
    steps=[
        step("a"),
        Pivot(act, name="p", retry=QUICK),
        Retriable(act, name="r", retry=Retry(max_attempts=3, on=(Exception,), backoff=0.05)),
    ],
)
careful = Saga("careful", steps=[step("a"), step("b", idempotent=False), step("c")])
limited = Saga("limited", steps=[step("a"), step("b", timeout=1.0), step("c")])
