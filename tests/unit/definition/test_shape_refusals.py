"""Shapes that cannot work are refused when they are declared, with the step and the cure in the message."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from celery import shared_task

from sagas import (
    BestEffort,
    Child,
    DefinitionError,
    Pivot,
    Retriable,
    Saga,
    Sleep,
    Step,
    WaitFor,
    condition,
    parallel,
)


@shared_task
def act() -> None: ...


@shared_task
def other() -> None: ...


@shared_task
def undo() -> None: ...


@condition
def is_wanted(data: Mapping[str, Any]) -> bool:
    return bool(data)


def not_registered(data: Mapping[str, Any]) -> bool:
    return bool(data)


def step(name: str = "act", **options: Any) -> Step:
    return Step(act, compensation=undo, name=name, **options)


def saga(*steps: Any, name: str = "order", **options: Any) -> Saga:
    return Saga(name, steps=steps, **options)


payment = saga(step("pay"), name="payment")
shipping = saga(step("pack"), Pivot(other, name="ship"), name="shipping")
locking = saga(step(), name="locking", locks=["account"])
limited = saga(step(), name="limited", max_concurrent=1)

#: what is declared, and what the refusal must say
Refusals = dict[str, tuple[Callable[[], object], str]]
PARALLEL: Refusals = {
    "no branch": (lambda: parallel(), r"parallel\(…\) takes 2 to 50 branches, not 0"),
    "one branch": (lambda: parallel(step()), "takes 2 to 50 branches, not 1"),
    "too many": (lambda: parallel(*(step(f"a{number}") for number in range(51))), "takes 2 to 50 branches, not 51"),
    "an empty branch": (lambda: parallel(step(), []), r"\[\] is not a branch; pass a step, or a list of steps"),
    "a task": (lambda: parallel(step(), act), "is not a branch; pass a step, or a list of steps"),
    "a task in a list": (
        lambda: parallel(step(), [act]),
        r"is not a step; wrap the task in Step\(…\) or Retriable\(…\)",
    ),
    "branches in branches": (lambda: parallel(step(), parallel(step("b"), step("c"))), "is not a branch"),
    "branches in lanes": (lambda: parallel(step(), [parallel(step("b"), step("c"))]), "is not a step"),
    "a pivot": (
        lambda: parallel(step(), Pivot(other)),
        "the Pivot 'other' cannot run beside others, which may still say no: give it a position of its own",
    ),
    "a pivot in a list": (lambda: parallel(step(), [step("b"), Pivot(other)]), "the Pivot 'other' cannot run beside"),
    "another way back": (lambda: parallel(step(), step("b"), undo="at once"), "undo='at once' must be 'reverse' or"),
    "another way to fail": (
        lambda: parallel(step(), step("b"), if_one_fails="ignore"),
        "if_one_fails='ignore' must be 'finish' or 'cancel'",
    ),
    "a name twice": (lambda: saga(parallel(step(), [step("b"), step()])), "has two steps named 'act': pass name=…"),
    "a name again": (lambda: saga(step(), parallel(step("b"), step())), "has two steps named 'act'"),
    "retriable branches first": (
        lambda: saga(parallel(Retriable(act), Retriable(other))),
        "Retriable 'act' is before any Pivot",
    ),
    "branches to undo after the pivot": (
        lambda: saga(Pivot(other), parallel(step(), Retriable(act, name="b"))),
        "step 'act' is after the pivot, where nothing can be undone",
    ),
}
STEPS: Refusals = {
    "an empty condition": (lambda: step(when=""), "step 'act': when='' must be a name in the data, or a function with"),
    "a function that nobody knows": (lambda: step(when=not_registered), "must be a name in the data, or a function"),
    "a condition's answer": (lambda: step(when=True), "step 'act': when=True must be a name"),
    "no queue": (lambda: step(queue=""), "step 'act': queue='' must be a queue's name"),
    "a queue's number": (lambda: step(queue=7), "step 'act': queue=7 must be a queue's name"),
    "no time to undo": (lambda: step(compensation_deadline=0), "compensation_deadline: 0 must be between 0.001"),
    "time as text": (
        lambda: step(compensation_deadline="1h"),
        "compensation_deadline: '1h' is not a number of seconds",
    ),
    "a pivot's undo in time": (lambda: Pivot(act, compensation_deadline=1), "Pivot takes no compensation_deadline"),
    "a best effort that is undone after the pivot": (
        lambda: saga(Pivot(other), BestEffort(act, compensation=undo)),
        "'act' is after the pivot, where nothing is undone: its compensation would never run",
    ),
}
WAITING: Refusals = {
    "no time": (lambda: Sleep(), "Sleep 'sleep': 0.0 must be between 0.001"),
    "time that runs back": (lambda: Sleep(-1), "Sleep 'sleep': -1 must be between 0"),
    "time as text": (lambda: Sleep("3"), "Sleep 'sleep': '3' is not a number of seconds"),  # type: ignore[arg-type]
    "days as text": (lambda: Sleep(days="3"), "Sleep 'sleep'"),  # type: ignore[arg-type]
    "for ever": (lambda: Sleep(float("inf")), "Sleep 'sleep': inf is not a number"),
    "for ages": (lambda: Sleep(days=11 * 365), "Sleep 'sleep': .* must be between"),
    "for longer than can be said": (lambda: Sleep(days=1e12), "Sleep 'sleep'"),
    "no number of hours": (lambda: Sleep(hours=float("nan")), "Sleep 'sleep'"),
    "an awkward name": (lambda: Sleep(1, name="a b"), "step name 'a b' must be letters"),
    "two that are called sleep": (lambda: saga(Sleep(1), step(), Sleep(1)), "two steps named 'sleep': pass name=…"),
    "no signal": (lambda: WaitFor("", timeout=1), r"WaitFor\(''\): a signal's name is letters, digits"),
    "an awkward signal": (lambda: WaitFor("a b", timeout=1), r"WaitFor\('a b'\): a signal's name is"),
    "a signal's number": (lambda: WaitFor(7, timeout=1), r"WaitFor\(7\): a signal's name"),  # type: ignore[arg-type]
    "a wait without patience": (lambda: WaitFor("a", timeout=0), r"WaitFor\('a'\): timeout: 0 must be between 0.001"),
    "a wait for ever": (lambda: WaitFor("a", timeout=float("inf")), r"WaitFor\('a'\): timeout: inf is not a number"),
    "another consequence": (
        lambda: WaitFor("a", timeout=1, on_timeout="fail"),
        r"WaitFor\('a'\): on_timeout='fail' must be 'compensate' or 'continue'",
    ),
    "odd names in the payload": (
        lambda: WaitFor("a", timeout=1, payload=[1]),
        "pass names, a TypedDict or a dataclass",
    ),
    "turning back after the pivot": (
        lambda: saga(Pivot(other), WaitFor("approved", timeout=1)),
        "WaitFor 'approved' is after the pivot, where nothing can be undone: pass on_timeout='continue', or move",
    ),
    "turning back beside others after the pivot": (
        lambda: saga(Pivot(other), parallel(Retriable(act), [Sleep(1), WaitFor("approved", timeout=1)])),
        "WaitFor 'approved' is after the pivot",
    ),
}
CHILDREN: Refusals = {
    "a name": (lambda: Child("payment"), r"Child\('payment'\): pass the Saga that the step is to start"),  # type: ignore[arg-type]
    "a step": (lambda: Child(step()), "pass the Saga that the step is to start"),  # type: ignore[arg-type]
    "one with locks": (
        lambda: Child(locking),
        "it has locks or max_concurrent, and two parents that wait for each other's children would wait for ever",
    ),
    "one with a limit": (lambda: Child(limited), "it has locks or max_concurrent"),
    "one with a pivot": (
        lambda: saga(Child(shipping), step()),
        "the child saga 'shipping' has a pivot, so it could not be undone once it is done: move it after this",
    ),
    "one with a pivot beside others": (lambda: saga(parallel(step(), [Child(shipping)])), "'shipping' has a pivot"),
    "one of a child with a pivot": (
        lambda: saga(Child(saga(Pivot(act), Child(shipping), name="delivery"))),
        "the child saga 'delivery' has a pivot",
    ),
    "the same one twice": (lambda: saga(Child(payment), Child(payment)), "two steps named 'payment': pass name=…"),
    "odd input": (lambda: Child(payment, input=[1]), "pass names"),  # type: ignore[list-item]
    "a single name": (lambda: Child(payment, input="order_id"), "names"),
}
SAGAS: Refusals = {
    "another way back": (lambda: saga(step(), undo="at once"), "saga 'order': undo='at once' must be 'reverse' or"),
    "another way to fail": (
        lambda: saga(step(), if_undo_fails="ignore"),
        "if_undo_fails='ignore' must be 'continue'",
    ),
    "another way to wait": (lambda: saga(step(), if_locked="steal"), "if_locked='steal' must be 'wait' or 'refuse'"),
    "one lock": (lambda: saga(step(), locks="account"), "locks='account' must be a list of names"),
    "an empty lock": (lambda: saga(step(), locks=[""]), "'' cannot name a resource"),
    "a number": (lambda: saga(step(), locks=[7]), "7 cannot name a resource"),
    "a limit's name": (lambda: saga(step(), locks=["limit:order"]), "'limit:order' cannot name a resource"),
    "a nameless place": (lambda: saga(step(), locks=["account:{}"]), "only plain names can stand in braces"),
    "an attribute": (lambda: saga(step(), locks=["{order.id}"]), "only plain names can stand in braces"),
    "an open brace": (lambda: saga(step(), locks=["account:{id"]), "'account:{id' cannot name a resource"),
    "a way to write it": (lambda: saga(step(), locks=["account:{id:d}"]), "only plain names can stand in braces"),
    "what the input has not": (
        lambda: saga(step(), locks=["account:{account_id}"], input={"order_id"}),
        "the lock 'account:{account_id}' needs 'account_id', but the input has order_id",
    ),
    "nobody at once": (lambda: saga(step(), max_concurrent=0), "max_concurrent=0 must be a whole number from 1 to"),
    "half of one": (lambda: saga(step(), max_concurrent=1.5), "max_concurrent=1.5 must be a whole number"),
    "true": (lambda: saga(step(), max_concurrent=True), "max_concurrent=True must be a whole number"),
    "no continuation": (
        lambda: saga(step(), continuation="inlined"),
        "continuation='inlined' must be 'chain' or 'inline'",
    ),
    "a continuation that is no text": (
        lambda: saga(step(), continuation=True),
        "continuation=True must be 'chain', 'inline' or sagas.Inline",
    ),
    "no priority": (lambda: saga(step(), priority=-1), "priority=-1 must be a whole number from 0 to 255"),
    "too urgent": (lambda: saga(step(), priority=256), "priority=256 must be a whole number from 0 to 255"),
}


@pytest.mark.parametrize(("declare", "says"), PARALLEL.values(), ids=PARALLEL)
def test_branches_that_cannot_work_are_refused(declare: Callable[[], object], says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        declare()


@pytest.mark.parametrize(("declare", "says"), STEPS.values(), ids=STEPS)
def test_an_option_that_cannot_work_is_refused(declare: Callable[[], object], says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        declare()


@pytest.mark.parametrize(("declare", "says"), WAITING.values(), ids=WAITING)
def test_a_wait_that_cannot_end_well_is_refused(declare: Callable[[], object], says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        declare()


def test_m5_a_wait_without_a_timeout_is_refused() -> None:
    """Due never and not final, it would be found by nobody when its signal does not come."""
    with pytest.raises(TypeError, match="timeout"):
        WaitFor("approved")  # type: ignore[call-arg]
    with pytest.raises(DefinitionError, match=r"WaitFor\('approved'\): timeout: None is not a number of seconds"):
        WaitFor("approved", timeout=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("declare", "says"), CHILDREN.values(), ids=CHILDREN)
def test_a_child_that_cannot_be_undone_or_would_wait_for_ever_is_refused(
    declare: Callable[[], object], says: str
) -> None:
    with pytest.raises(DefinitionError, match=says):
        declare()


@pytest.mark.parametrize(("declare", "says"), SAGAS.values(), ids=SAGAS)
def test_a_saga_with_an_option_that_cannot_work_is_refused(declare: Callable[[], object], says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        declare()


def test_what_can_stand_anywhere_does() -> None:
    order = saga(
        Sleep(timedelta(seconds=1), name="first"),
        parallel(step("a"), [Sleep(1, name="beside"), BestEffort(act, name="b", compensation=undo)], Child(payment)),
        WaitFor("approved", timeout=60),
        step("c", when=is_wanted),
        Pivot(other, when="wanted"),
        Child(shipping),
        BestEffort(act, name="d"),
        parallel(Retriable(act, name="e"), [WaitFor("paid", timeout=1, on_timeout="continue"), Sleep(1, name="last")]),
    )

    assert [part.name for part in order.parts if part.kind is None] == [
        *("first", "beside", "b", "payment", "approved", "shipping", "d", "paid", "last"),
    ]
