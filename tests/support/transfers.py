"""Money that is moved between accounts: one task is used twice, with different arguments."""

from collections.abc import Mapping
from typing import Any

from celery import shared_task

from sagas import BestEffort, Child, Const, PermanentError, Pivot, Retriable, Retry, Saga, Step, current_step, parallel
from tests.support import journal

ONCE = Retry(max_attempts=1, on=(Exception,))


@shared_task
def move(account: str, amount: int, sign: int = 1) -> Any:
    if account == "closed":
        raise PermanentError("this account is closed")
    if account == "mute":
        raise ConnectionError("no answer")
    journal.write(f"{current_step.name} {account} {sign * amount}")
    return {"entry": f"{account}:{sign * amount}", "source": "the bank's own"}


@shared_task
def move_back(account: str, sign: int = 1, entry: str | None = None, amount: int = 0) -> None:
    journal.write(f"undo {current_step.name} {account} {-sign * amount} {entry}")


@shared_task
def drop(entry: str | None = None, of: Mapping[str, Any] | None = None, why: str = "") -> None:
    journal.write(f"drop {entry} {of['entry'] if of else None} {why}")


@shared_task
def count(debit: Mapping[str, Any]) -> int:
    return len(debit)


@shared_task
def tell(counted: int, credit: Mapping[str, Any]) -> None:
    journal.write(f"tell {counted} {credit['entry']}")


@shared_task
def give(gifts: Mapping[str, Any]) -> Any:
    return gifts[current_step.name]


def debit(**options: Any) -> Step:
    said = {"name": "debit", "inputs": {"account": "source", "sign": Const(-1)}, "output": "debit"}
    return Step(move, **{"compensation": move_back, "retry": ONCE, **said, **options})


def credit(**options: Any) -> Step:
    said = {"name": "credit", "inputs": {"account": "target"}, "output": "credit"}
    return Step(move, **{"compensation": move_back, "retry": ONCE, **said, **options})


transfer = Saga("transfer", steps=[debit(), credit()])
beside = Saga("transfer-beside", steps=[parallel(debit(), credit())])
told = Saga(
    "transfer-told",
    steps=[
        debit(),
        Step(count, compensation=None, output="counted"),
        Step(count, name="counted.again", compensation=None, output="again", when="debit"),
        Pivot(move, name="credit", inputs={"account": "target"}, output="credit", retry=ONCE),
        BestEffort(tell, inputs={"counted": "counted"}, retry=ONCE),
        Retriable(tell, name="tell.again", inputs={"counted": Const({"by": [1.5, None]})}, retry=ONCE),
    ],
)
dropping = Saga(
    "transfer-dropping",
    steps=[
        debit(compensation=drop, undo_inputs={"of": "debit", "why": Const("closed")}),
        credit(compensation=drop, undo_inputs={}),
    ],
)
family = Saga("transfer-family", steps=[Child(transfer, output=["credit"]), Step(give, compensation=None)])
clashing = Saga(
    "transfer-clashing",
    steps=[parallel(Step(give, name="a", compensation=None, output="x"), Step(give, name="b", compensation=None))],
)
kept = Saga("kept", steps=[Step(give, name="a", compensation=None, output="kept")])
doubtful = Saga(
    "doubtful",
    steps=[
        Pivot(move, name="credit", inputs={"account": "target"}, output="credit", retry=ONCE),
        Retriable(tell, inputs={"counted": Const(0)}, retry=ONCE),
    ],
)
stuck = Saga(
    "stuck",
    steps=[
        Pivot(move, name="debit", inputs={"account": "source"}, retry=ONCE),
        Retriable(move, name="credit", inputs={"account": "target"}, output="credit", retry=ONCE),
        Retriable(tell, inputs={"counted": Const(0)}, retry=ONCE),
    ],
)
