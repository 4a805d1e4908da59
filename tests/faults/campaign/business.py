"""The sagas of the campaign: their steps move money as the data says, and misbehave as its script says.

`CAMPAIGN_RELEASE` is the number of the release that a process runs: each raises the version of `transfer`, some with a
step whose task no earlier release has.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery import shared_task

from sagas import (
    BestEffort,
    Child,
    PermanentError,
    Pivot,
    Retriable,
    Retry,
    Saga,
    Sleep,
    Step,
    WaitFor,
    current_step,
    parallel,
)
from tests.faults.campaign import bank

Script = Mapping[str, str | Sequence[str]]
Moves = Mapping[str, Sequence[Any]]

RELEASE = int(os.environ.get("CAMPAIGN_RELEASE", "1"))
#: How long an approval is waited for, in seconds.
APPROVAL = float(os.environ.get("CAMPAIGN_APPROVAL", "30"))
#: Of a step, in seconds. A drain waits as long for what a worker ran that fell silent: it may still be acting.
TIMEOUT = float(os.environ.get("CAMPAIGN_TIMEOUT", "60"))
#: Of all sagas: `chain` or `inline`.
CONTINUATION: Any = os.environ.get("CAMPAIGN_CONTINUATION", "chain")
#: Tasks whose completion means an effect, through the barrier; and through the step's own transaction.
THROUGH_BARRIER = ("withdraw", "deposit", "reserve", "capture", "notify")
THROUGH_STEP = ("withdraw_in_step", "deposit_in_step", "capture_in_step", "pay_out", "charge_fee")

#: Everything that a campaign can do to a process is to cost nothing but time.
LOSSES = 10_000
QUICK = Retry(max_attempts=4, backoff=0.2, max_backoff=1.0)
STUBBORN = Retry(max_attempts=10_000, backoff=0.2, max_backoff=2.0)
STUBBORN_ANYWAY = Retry(max_attempts=10_000, on=(Exception,), backoff=0.2, max_backoff=2.0)


class Impossible(PermanentError):
    """An undo that the campaign has made impossible."""


def misbehave(script: Script, what: str, moment: str) -> None:
    """Do what the script says for this attempt and moment: a text holds for all attempts, a list has one for each."""
    lines = script.get(what, ())
    if isinstance(lines, str):
        line = lines
    else:
        line = lines[current_step.attempt - 1] if current_step.attempt <= len(lines) else ""
    for part in line.split():
        when, _, behaviour = part.partition(":")
        if when == moment:
            do(behaviour)


#: What ends a process; not while this file is there: what something else costs is measured then.
DEADLY = ("exit", "interrupt", "die")
GENTLE = Path(os.environ.get("CAMPAIGN_DIRECTORY", ".")) / "gentle"


def do(behaviour: str) -> None:
    kind, _, argument = behaviour.partition(":")
    if kind in DEADLY and GENTLE.exists():
        return
    match kind:
        case "slow":
            time.sleep(float(argument))
        case "overrun":
            sleep_through_limits(float(argument))
        case "no":
            raise bank.Refused("no")
        case "flaky":
            raise ConnectionError("connection lost")
        case "memory":
            raise MemoryError("too much")
        case "exit":
            sys.exit(3)
        case "interrupt":
            raise KeyboardInterrupt("stop")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            raise AssertionError(f"unknown behaviour {behaviour!r}")


def sleep_through_limits(seconds: float) -> None:
    """As a body does that swallows whatever is raised in it."""
    ends_at = time.monotonic() + seconds
    while (left := ends_at - time.monotonic()) > 0:
        try:
            time.sleep(left)
        except SoftTimeLimitExceeded:
            continue


def perform(moves: Moves, script: Script, *, in_step: bool) -> dict[str, Any]:
    """An action: its beginning, its effect, and what goes wrong around it."""
    name = current_step.name
    bank.note_beginning(current_step.idempotency_key)
    misbehave(script, name, "before")
    (bank.act_in_step if in_step else bank.act)(bank.Move(*moves[name]))
    misbehave(script, name, "after")
    return {f"{name}_ref": current_step.idempotency_key}


def action(name: str, *, in_step: bool) -> Any:
    """A task of its own, as each service would have one."""

    def run(moves: Moves, script: Script) -> dict[str, Any]:
        return perform(moves, script, in_step=in_step)

    run.__name__ = run.__qualname__ = name
    return shared_task(name=f"campaign.{name}")(run)


withdraw, deposit, reserve, capture, notify = (action(name, in_step=False) for name in THROUGH_BARRIER)
withdraw_in_step, deposit_in_step, capture_in_step, pay_out = (action(name, in_step=True) for name in THROUGH_STEP[:4])
#: Only the releases from the second on know the fee.
charge_fee = action("charge_fee", in_step=True) if RELEASE > 1 else None


@shared_task(name="campaign.confirm")
def confirm(script: Script) -> None:
    """Has no effect, and may say no."""
    misbehave(script, current_step.name, "before")


def take_back(script: Script, impossible: str | None, *, in_step: bool) -> str | None:
    what = f"undo {current_step.name}"
    misbehave(script, what, "before")
    if impossible and current_step.name == "withdraw" and not bank.is_repaired(current_step.saga_id):
        if impossible == "manual":
            return "manual"
        raise Impossible("the account is closed")
    (bank.undo_in_step if in_step else bank.undo)()
    misbehave(script, what, "after")
    return None


@shared_task(name="campaign.undo")
def undo(script: Script, impossible: str | None = None) -> str | None:
    return take_back(script, impossible, in_step=False)


@shared_task(name="campaign.undo_in_step")
def undo_in_step(script: Script, impossible: str | None = None) -> str | None:
    return take_back(script, impossible, in_step=True)


def step(task: Any, name: str | None = None, **options: Any) -> Step:
    given = {"compensation": undo, "retry": QUICK, "compensation_retry": STUBBORN_ANYWAY, "max_losses": LOSSES}
    return Step(task, name=name, **(given | {"timeout": TIMEOUT} | options))


def check(name: str = "confirm") -> Step:
    return step(confirm, name, compensation=None)


def onward(task: Any, name: str | None = None) -> Retriable:
    return Retriable(task, name=name, retry=STUBBORN_ANYWAY, max_losses=LOSSES, timeout=TIMEOUT)


fee = [step(charge_fee, "charge_fee", compensation=undo_in_step)] if charge_fee and RELEASE % 2 == 0 else []
transfer = Saga(
    "transfer",
    continuation=CONTINUATION,
    version=RELEASE,
    steps=[step(withdraw), *fee, step(deposit_in_step, "deposit", compensation=undo_in_step), check()],
)
purchase = Saga(
    "purchase",
    continuation=CONTINUATION,
    steps=[
        parallel(
            step(reserve, "reserve1"),
            step(withdraw_in_step, "reserve2"),
            *[step(reserve, f"reserve{number}", when=f"wants{number}") for number in (3, 4, 5)],
        ),
        Pivot(capture, retry=STUBBORN, max_losses=LOSSES, timeout=TIMEOUT),
        onward(pay_out),
        BestEffort(notify, retry=QUICK, max_losses=LOSSES, timeout=TIMEOUT),
    ],
)
basket = Saga(
    "basket",
    continuation=CONTINUATION,
    undo="parallel",
    steps=[
        parallel(
            [step(reserve, "reserve1"), step(reserve, "reserve2", compensation=undo_in_step)],
            step(withdraw_in_step, "reserve3"),
            step(reserve, "reserve4"),
            if_one_fails="cancel",
        ),
        BestEffort(notify, retry=QUICK, max_losses=LOSSES, timeout=TIMEOUT),
        Pivot(capture_in_step, name="capture", retry=STUBBORN, max_losses=LOSSES, timeout=TIMEOUT),
    ],
)
approval = Saga(
    "approval",
    continuation=CONTINUATION,
    steps=[
        step(withdraw),
        WaitFor("approved", timeout=APPROVAL, payload=["by"]),
        Sleep(seconds=1),
        step(deposit),
        check(),
    ],
)
lodging = Saga(
    "lodging",
    continuation=CONTINUATION,
    steps=[step(deposit, "deposit1"), step(deposit_in_step, "deposit2", compensation=undo_in_step)],
)
family = Saga(
    "family",
    continuation=CONTINUATION,
    steps=[step(withdraw), Child(lodging, input=["moves", "script"]), check()],
)
careful = Saga(
    "careful",
    continuation=CONTINUATION,
    steps=[
        step(withdraw, idempotent=False, timeout=2.0, compensation_timeout=4.0),
        step(deposit_in_step, "deposit", timeout=2.0, compensation=undo_in_step),
        check(),
    ],
)
exclusive = Saga(
    "exclusive",
    continuation=CONTINUATION,
    steps=[step(withdraw), step(deposit), check()],
    locks=["account:{account}"],
    max_concurrent=8,
)
ALL = {saga.name: saga for saga in (transfer, purchase, basket, approval, family, careful, exclusive)}
