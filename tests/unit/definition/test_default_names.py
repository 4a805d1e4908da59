"""A step is called as its task's function; a task class has no function of its own, so as its task."""

from functools import partial, update_wrapper
from typing import Any

from celery import Celery

from sagas import Saga, Sagas, Step
from sagas.engine import TaskFace

app = Celery("shop", set_as_current=False, broker="memory://")
sagas = Sagas(app, database="postgresql://nobody@/nowhere?host=/nonexistent")


class Charge(app.Task):  # type: ignore[name-defined,misc]
    name = "shop.payments.charge"

    def run(self, amount: int = 0) -> None: ...


class Refund(app.Task):  # type: ignore[name-defined,misc]
    def run(self) -> None: ...


@app.task
def run() -> None: ...


@app.task(bind=True)
def bound(self: Any) -> None: ...


def pay(amount: int) -> None: ...


charge = app.register_task(Charge())
refund = app.register_task(Refund())


def name_of(task: Any) -> str:
    return Step(task, compensation=None).name


def test_a_task_class_is_called_as_its_task() -> None:
    assert name_of(charge) == "charge"
    assert name_of(Charge()) == "charge"
    # Before it is registered it may have no name yet.
    assert name_of(Refund()) == "Refund"
    assert name_of(refund) == "Refund"


def test_d11_a_function_is_called_as_ever_whatever_its_name() -> None:
    assert (name_of(run), name_of(bound)) == ("run", "bound")
    # Also once Celery has made a class of it.
    app.finalize()
    assert (name_of(app.tasks[run.name]), name_of(app.tasks[bound.name])) == ("run", "bound")


def test_a_callable_without_a_name_is_called_as_its_task() -> None:
    # Celery itself takes none of these yet: it asks them for `__name__`.
    assert TaskFace(partial(pay, 1), False, "shop.payments.pay_one", None, {}).short_name == "pay_one"
    assert TaskFace(update_wrapper(partial(pay, 1), pay), False, "shop.one", None, {}).short_name == "pay"
    assert TaskFace(None, False, None, None, {}).short_name is None


def test_two_task_classes_stand_in_one_saga() -> None:
    saga = Saga("two", steps=[Step(charge, compensation=None), Step(refund, compensation=None)])

    assert [step.name for step in saga.plan(sagas.engine).steps] == ["charge", "Refund"]
    # The last release refused them: there is no former plan.
    assert saga.former_plan(sagas.engine) is None


def test_d11_the_name_that_a_task_class_had_is_known() -> None:
    one = Saga("one", steps=[Step(charge, compensation=None), Step(run, name="last", compensation=None)])
    named = Saga("named", steps=[Step(charge, name="run", compensation=None)])

    former = one.former_plan(sagas.engine)

    assert former is not None
    assert [step.name for step in former.steps] == ["run", "last"]
    assert [step.name for step in named.plan(sagas.engine).steps] == ["run"]
    assert named.former_plan(sagas.engine) is None
