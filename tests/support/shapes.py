"""Scripted sagas of every shape; their steps are those of `scripted`, so their data tells them what to do."""

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from celery import shared_task

from sagas import (
    BestEffort,
    Child,
    Pivot,
    Retriable,
    Retry,
    Saga,
    Sleep,
    Step,
    WaitFor,
    condition,
    current_step,
    parallel,
)
from tests.support import journal
from tests.support.scripted import QUICK, act, demand, give, step

#: Past a pivot: a few quick tries, then a person.
FORWARD = Retry(max_attempts=2, on=(Exception,), backoff=0.05, max_backoff=0.2)

inline = Saga("inline", steps=[step("a"), step("b"), step("c")], continuation="inline")
beside = Saga("beside", steps=[step("a"), parallel(step("b"), step("c"), step("d")), step("e")])
undone_beside = Saga(
    "undone-beside", steps=[step("a"), parallel(step("b"), step("c"), step("d"), undo="parallel"), step("e")]
)
lanes = Saga("lanes", steps=[parallel([step("a"), step("a2")], [step("b"), step("b2"), step("b3")]), step("c")])
cancelling = Saga("cancelling", steps=[parallel(step("a"), step("b"), if_one_fails="cancel"), step("c")])
eight = Saga("eight", steps=[parallel(*(step(f"b{number}") for number in range(8))), step("last")])
fifty_branches = Saga("fifty-branches", steps=[parallel(*(step(f"b{number}") for number in range(50))), step("last")])
#: Both may return what the data says: a clash that cannot be seen beforehand.
clashing = Saga(
    "clashing", steps=[parallel(step("a", task=give), step("b", task=give)), step("c")], input=["script", "gifts"]
)


@condition
def is_wanted(data: Mapping[str, Any]) -> bool:
    return bool(data["script"].get("wanted"))


@condition
def somebody_agrees(data: Mapping[str, Any]) -> bool:
    """Ask an outside service, which may not answer, and may answer differently a second time."""
    answers = journal.query(
        os.environ["SAGAS_DATABASE_URL"], "SELECT open FROM public.gate WHERE name = %s", data["question"]
    )
    if not answers:
        raise ConnectionError("no answer")
    return bool(answers[0][0])


optional = Saga(
    "optional", steps=[step("a"), step("b", when="extra"), parallel(step("c", when=is_wanted), step("d")), step("e")]
)
forward = Saga(
    "forward",
    steps=[
        step("a"),
        Pivot(act, name="p", retry=QUICK, timeout=60, clean=()),
        parallel(Retriable(act, name="r", retry=FORWARD), Retriable(act, name="s", retry=FORWARD)),
        BestEffort(act, name="n", retry=QUICK),
        Retriable(act, name="last", retry=FORWARD),
    ],
)
noted = Saga("noted", steps=[step("a"), BestEffort(act, name="n", retry=QUICK), step("b")])
sleepy = Saga("sleepy", steps=[step("a"), Sleep(seconds=1), step("b")])
approved = Saga("approved", steps=[step("a"), WaitFor("approval", timeout=timedelta(hours=1)), step("b")])
impatient = Saga("impatient", steps=[step("a"), WaitFor("approval", timeout=0.5), step("b")])
patient = Saga("patient", steps=[step("a"), WaitFor("approval", timeout=0.5, on_timeout="continue"), step("b")])
first_waits = Saga("first-waits", steps=[WaitFor("approval", timeout=3600), step("a")])

payment = Saga("payment", steps=[step("pay"), step("book")])
parent = Saga("parent", steps=[step("a"), Child(payment), step("b")])
stopping = Saga("stopping", steps=[step("a"), step("b"), step("c")], if_undo_fails="stop")
independent = Saga("independent", steps=[step("a"), step("b"), step("c")], undo="parallel")
locking = Saga("locking", steps=[step("a"), step("b")], locks=["account:{account}"])
locking_two = Saga("locking-two", steps=[step("a"), step("b")], locks=["account:{source}", "account:{target}"])
#: Its second step requires what nothing provides, until a later release of the application.
wanting = Saga("wanting", steps=[step("a"), Step(demand, name="b", compensation=None), step("c")])
refusing = Saga("refusing", steps=[step("a")], locks=["account:{account}"], if_locked="refuse")
limited_to_two = Saga("limited-to-two", steps=[step("a")], max_concurrent=2)
limited_forward = Saga(
    "limited-forward",
    steps=[Pivot(act, name="p", retry=QUICK, timeout=60, clean=()), Retriable(act, name="r", retry=FORWARD)],
    max_concurrent=1000,
)
queued_elsewhere = Saga("queued-elsewhere", steps=[step("a"), step("b", queue="slow"), step("c")])
urgent = Saga("urgent", steps=[step("a")], priority=0)
leisurely = Saga("leisurely", steps=[step("a")], priority=9)
late_undo = Saga("late-undo", steps=[step("a", compensation_deadline=0.3), step("b")])


@shared_task
def see(data: Mapping[str, Any]) -> dict[str, str]:
    """Write down the names of all results that it is given."""
    seen = ", ".join(name for name in sorted(data) if name != "script") or "nothing"
    journal.write(f"{current_step.name} sees {seen}")
    return {f"{current_step.name}_saw": seen}


seeing = Saga(
    "seeing-branches",
    steps=[
        step("a"),
        parallel([step("b"), step("b2", task=see, compensation=see)], [step("c"), step("c2", task=see)], step("d")),
        step("e", task=see),
        step("f"),
    ],
)
