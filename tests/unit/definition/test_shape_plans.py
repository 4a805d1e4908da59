"""What a plan stores of every shape, and that a plan without any is what it was before there were shapes."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery, shared_task

from sagas import (
    BestEffort,
    Child,
    MissingInput,
    Pivot,
    Retriable,
    Saga,
    Sagas,
    Sleep,
    StartRefused,
    Step,
    WaitFor,
    condition,
    parallel,
)
from sagas.model import IfLocked, OnTimeout, Plan, PlanStep, StepKind, StepRole
from sagas.store import LIMIT_PREFIX, LockRequest

NOWHERE = "postgresql://nobody@/nowhere?host=/nonexistent"


@shared_task
def act() -> None: ...


@shared_task
def undo() -> None: ...


@condition
def is_wanted(data: Mapping[str, Any]) -> bool:
    return bool(data)


def step(name: str, **options: Any) -> Step:
    return Step(act, compensation=undo, name=name, **options)


def plan_of(*steps: Any, **options: Any) -> Plan:
    engine = Sagas(Celery("shapes", set_as_current=False, broker="memory://"), database=NOWHERE).engine
    return Saga("order", steps=steps, **options).plan(engine)


payment = Saga("payment", version=2, steps=[step("pay"), step("book")])


def everything() -> Plan:
    return plan_of(
        step("a", when="wanted", queue="slow", compensation_deadline=timedelta(minutes=1)),
        parallel(step("b"), [step("c", when=is_wanted), Sleep(5, name="nap")], undo="parallel", if_one_fails="cancel"),
        WaitFor("order:approved", timeout=timedelta(hours=1)),
        Child(payment, input=["order_id", "amount"]),
        Pivot(act, name="p"),
        parallel(Retriable(act, name="r"), BestEffort(act, name="n")),
        WaitFor("paid", timeout=60, on_timeout="continue"),
        undo="parallel",
        if_undo_fails="stop",
        locks=["account:{account_id}", "all"],
        if_locked="refuse",
        max_concurrent=3,
        priority=9,
    )


def named(name: str) -> PlanStep:
    return next(it for it in everything().steps if it.name == name)


# -- places


def test_every_branch_has_its_place() -> None:
    plan = plan_of(step("a"), parallel(step("b"), [step("c"), step("d")], step("e")), step("f"))

    assert [(it.name, it.position, it.branch, it.lane) for it in plan.steps] == [
        ("a", 0, 0, 0),
        ("b", 1, 0, 0),
        ("c", 1, 1, 1),
        ("d", 1, 2, 1),
        ("e", 1, 3, 2),
        ("f", 2, 0, 0),
    ]


def test_one_finds_one_s_way_among_them() -> None:
    plan = plan_of(step("a"), parallel(step("b"), [step("c"), step("d")]), Sleep(1))
    _, b, c, d, _ = plan.steps

    assert plan.heads(1) == (b, c)
    assert plan.beside(1) == (b, c, d)
    assert (plan.next_in_lane(b), plan.next_in_lane(c), plan.next_in_lane(d)) == (None, d, None)
    assert (plan.lane(c), plan.lane(b)) == ((c, d), (b,))
    assert [plan.is_parallel(position) for position in range(4)] == [False, True, False, False]
    assert [plan.is_plain(position) for position in range(4)] == [True, True, False, True]
    assert plan.step(1, 2) is d


def test_what_stands_before_the_pivot_can_be_undone_and_what_stands_after_it_goes_forward() -> None:
    kinds = {it.name: it.kind for it in everything().steps}

    assert {name for name, kind in kinds.items() if kind is StepKind.RETRIABLE} == {"r", "n", "paid"}
    assert {name for name, kind in kinds.items() if kind is StepKind.PIVOT} == {"p"}


@pytest.mark.parametrize(
    ("steps", "options", "begins"),
    [
        ([step("a")], {}, True),
        ([parallel(step("a"), step("b"))], {}, True),
        ([parallel(step("a"), [Sleep(1), step("b")])], {}, False),
        ([Sleep(1), step("a")], {}, False),
        ([step("a"), Sleep(1)], {}, True),
        ([Child(payment)], {}, False),
        ([step("a")], {"locks": ["account"]}, False),
        ([step("a")], {"max_concurrent": 1}, False),
    ],
)
def test_a_saga_begins_at_once_unless_it_waits_for_something(steps: list[Any], options: dict[str, Any], begins: bool):
    assert plan_of(*steps, **options).begins_at_once is begins


# -- values


def test_a_step_keeps_its_options() -> None:
    a, c = named("a"), named("c")

    assert (a.when, a.predicate, a.queue, a.compensation_deadline) == ("wanted", None, "slow", 60.0)
    assert (c.when, c.predicate) == (None, f"{__name__}.is_wanted")
    assert (named("p").queue, named("p").when, named("p").compensation_deadline) == (None, None, None)


def test_branches_know_how_they_are_undone_and_what_becomes_of_them_when_one_fails() -> None:
    beside = [named(name) for name in ("b", "c", "nap")]

    assert all(it.undo_at_once and it.cancels_siblings for it in beside)
    assert not any(it.undo_at_once or it.cancels_siblings for it in (named("a"), named("r"), named("n")))


def test_a_sleep_has_neither_task_nor_compensation() -> None:
    nap = named("nap")

    assert (nap.role, nap.seconds, nap.task, nap.compensation) == (StepRole.SLEEP, 5.0, None, None)
    assert not nap.is_task
    assert not nap.is_undoable


def test_the_parts_of_a_duration_add_up() -> None:
    [slept] = plan_of(Sleep(timedelta(seconds=1), days=1, hours=2, minutes=3, seconds=4)).steps

    assert slept.seconds == 86400 + 2 * 3600 + 3 * 60 + 5


def test_a_wait_knows_its_signal_and_what_follows_without_it() -> None:
    approved, paid = named("order.approved"), named("paid")

    assert (approved.role, approved.signal, approved.seconds) == (StepRole.WAIT, "order:approved", 3600.0)
    assert (approved.on_timeout, paid.on_timeout) == (OnTimeout.COMPENSATE, OnTimeout.CONTINUE)


def test_a_child_is_kept_with_its_own_plan() -> None:
    child = named("payment")

    assert child.role is StepRole.CHILD
    assert child.child is not None
    assert (child.child.saga, child.child.version) == ("payment", 2)
    assert [it.name for it in child.child.steps] == ["pay", "book"]
    assert child.child_input == ("amount", "order_id")
    assert child.is_undoable
    assert named("payment").child == child.child


def test_a_child_is_given_everything_unless_it_says_what() -> None:
    [child] = plan_of(Child(payment)).steps

    assert child.child_input is None


def test_all_that_it_returned_is_merged_unless_the_parent_says_what() -> None:
    some, all_ = plan_of(Child(payment, output=["paid", "book"], name="a"), Child(payment, name="b")).steps

    assert (some.child_output, all_.child_output) == (("book", "paid"), None)


def test_a_best_effort_is_one() -> None:
    assert named("n").best_effort
    assert not named("r").best_effort
    assert named("n").compensation is None


def test_a_best_effort_may_be_undone() -> None:
    [kind, _] = plan_of(BestEffort(act, name="n", compensation=undo), step("a")).steps

    assert (kind.kind, kind.compensation) == (StepKind.COMPENSATABLE, f"{__name__}.undo")


def test_the_plan_keeps_the_options_of_its_saga() -> None:
    plan = everything()

    assert (plan.undo_at_once, plan.stop_at_failed_undo) == (True, True)
    assert (plan.locks, plan.if_locked) == (("account:{account_id}", "all"), IfLocked.REFUSE)
    assert (plan.max_concurrent, plan.priority) == (3, 9)


def test_by_default_it_has_none() -> None:
    plan = plan_of(step("a"))

    assert plan == Plan(saga="order", version=1, steps=plan.steps)


# -- locks


def test_an_instance_wants_what_its_data_names() -> None:
    order = Saga("order", steps=[step("a")], locks=["account:{source}", "account:{target}", "all"], max_concurrent=3)

    wanted = order.lock_requests({"source": 7, "target": "x"})

    assert wanted == [
        LockRequest(resource="account:7"),
        LockRequest(resource="account:x"),
        LockRequest(resource="all"),
        LockRequest(resource=f"{LIMIT_PREFIX}order", capacity=3, lasting=False),
    ]


def test_one_resource_is_wanted_once_whoever_names_it() -> None:
    order = Saga("order", steps=[step("a")], locks=["account:{source}", "account:{target}"])

    assert order.lock_requests({"source": 7, "target": 7}) == [LockRequest(resource="account:7")]


@pytest.mark.parametrize("data", [{}, {"source": None}])
def test_a_lock_without_its_name_is_refused_at_start(data: dict[str, Any]) -> None:
    order = Saga("order", steps=[step("a")], locks=["account:{source}"])

    with pytest.raises(
        MissingInput, match=r"the lock 'account:{source}' needs 'source', but the data has no such value"
    ):
        order.lock_requests(data)


@pytest.mark.parametrize("source", ["x" * 600, "a\x00b"])
def test_a_resource_that_no_database_can_keep_is_refused_at_start(source: str) -> None:
    order = Saga("order", steps=[step("a")], locks=["account:{source}"])

    with pytest.raises(StartRefused, match="is not a valid resource name: 1 to 512 characters"):
        order.lock_requests({"source": source})


# -- JSON


def test_a_plan_of_every_shape_comes_back_from_its_json_as_it_was() -> None:
    plan = everything()
    back = Plan.from_json(json.loads(plan.text))

    assert back == plan
    assert back.fingerprint == plan.fingerprint
    assert [type(it.role) for it in back.steps] == [StepRole] * len(plan.steps)


def test_a_plan_without_shapes_has_the_fingerprint_that_it_had_before_there_were_any() -> None:
    """Else every instance in flight would have a changed plan after an update of the library."""
    plan = Plan(
        saga="x",
        version=1,
        steps=(
            PlanStep(position=0, name="a", task="t.a", compensation="t.u"),
            PlanStep(position=1, name="p", task="t.p", compensation=None, kind=StepKind.PIVOT),
        ),
    )

    assert plan.fingerprint == "f0f7ad6a6c2426032858cca70e3942b2"


@pytest.mark.parametrize(
    "change",
    [
        {"branch": 0, "lane": 0, "queue": "slow"},
        {"when": "wanted"},
        {"predicate": "shop.is_wanted"},
        {"best_effort": True},
        {"compensation_deadline": 3.0},
        {"undo_at_once": True},
        {"cancels_siblings": True},
        {"role": StepRole.SLEEP, "seconds": 1.0},
        {"role": StepRole.WAIT, "signal": "paid"},
        {"on_timeout": OnTimeout.CONTINUE},
        {"child_input": ("order_id",)},
        {"child_input": ()},
        {"child_output": ()},
    ],
    ids=lambda change: list(change)[-1],
)
def test_every_option_of_a_step_changes_the_fingerprint(change: dict[str, Any]) -> None:
    plan = plan_of(step("a"))

    changed = replace(plan, steps=(replace(plan.steps[0], **change),))

    assert changed.fingerprint != plan.fingerprint
    assert Plan.from_json(json.loads(changed.text)) == changed


@pytest.mark.parametrize(
    "change",
    [
        {"undo_at_once": True},
        {"stop_at_failed_undo": True},
        {"locks": ("account",)},
        {"if_locked": IfLocked.REFUSE},
        {"max_concurrent": 1},
        {"priority": 0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_so_does_every_option_of_a_saga(change: dict[str, Any]) -> None:
    plan = plan_of(step("a"))

    changed = replace(plan, **change)

    assert changed.fingerprint != plan.fingerprint
    assert Plan.from_json(json.loads(changed.text)) == changed


def test_so_does_a_change_of_a_child() -> None:
    before, after = plan_of(Child(payment)), plan_of(Child(Saga("payment", version=2, steps=[step("pay")])))

    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize(
    "places",
    [
        [(0, 1, 0)],
        [(0, 0, 0), (0, 2, 1)],
        [(0, 0, 0), (0, 1, 2)],
        [(0, 0, 0), (0, 1, 1), (0, 2, 0)],
        [(0, 0, 0), (2, 0, 0)],
        [(0, 0, 0), (0, 0, 0)],
    ],
)
def test_places_count_up_from_0(places: list[tuple[int, int, int]]) -> None:
    steps = tuple(
        PlanStep(position=position, branch=branch, lane=lane, name=str(number), task="t", compensation=None)
        for number, (position, branch, lane) in enumerate(places)
    )

    with pytest.raises(ValueError, match="must count up from 0"):
        Plan(saga="order", version=1, steps=steps)


# -- the way it looks


def test_shapes_can_be_looked_at() -> None:
    beside = parallel(step("b"), [Sleep(5, name="nap"), step("c")])

    assert repr(beside) == "parallel(Step('b'), [Sleep('nap'), Step('c')])"
    assert repr(Child(payment)) == "Child('payment')"


def test_a_saga_knows_every_task_that_it_uses() -> None:
    order = Saga("order", steps=[parallel(step("a"), [step("b"), Sleep(1)]), Child(payment), BestEffort(act, name="n")])

    assert order.tasks() == [act, undo, act, undo, act]
    assert [part.name for part in order.parts] == ["a", "b", "sleep", "payment", "n"]
