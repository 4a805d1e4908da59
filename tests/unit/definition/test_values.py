"""A saga is a value: it is declared without an app, compiled for any, and comes back from its JSON as it was."""

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery, shared_task

from sagas import DefinitionError, NotBound, Pivot, Retriable, Retry, Saga, Sagas, Step
from sagas.model import Plan, StepKind
from tests.support.workers import ROOT

NOWHERE = "postgresql://nobody@/nowhere?host=/nonexistent"


@shared_task
def act(order_id: str) -> None: ...


@shared_task
def undo(order_id: str) -> None: ...


@shared_task
def ship() -> None: ...


@shared_task(name="custom.name")
def confirm() -> None: ...


class Declined(Exception):
    """A clean no."""


order = Saga(
    "order",
    version=3,
    steps=[
        Step(
            act,
            compensation=undo,
            retry=Retry(max_attempts=5, on=(ConnectionError, OSError), never_on=Declined, backoff=0.5, jitter=True),
            timeout=timedelta(minutes=1),  # type: ignore[arg-type]
            idempotent=False,
            max_losses=0,
        ),
        Step(act, name="act.again", compensation=None, compensation_timeout=5),
        Pivot(ship),
        Retriable(confirm),
    ],
)


def make(name: str) -> Sagas:
    return Sagas(Celery(name, set_as_current=False, broker="memory://"), database=NOWHERE)


def test_a_saga_compiles_to_a_plan_of_names_and_policies() -> None:
    plan = order.plan(make("one").engine)

    assert (plan.saga, plan.version) == ("order", 3)
    assert [step.name for step in plan.steps] == ["act", "act.again", "ship", "confirm"]
    assert [step.task.rpartition(".")[2] for step in plan.steps] == ["act", "act", "ship", "name"]
    assert [step.kind for step in plan.steps] == [
        StepKind.COMPENSATABLE,
        StepKind.COMPENSATABLE,
        StepKind.PIVOT,
        StepKind.RETRIABLE,
    ]
    assert [step.compensation for step in plan.steps[1:]] == [None, None, None]
    first, again, _, last = plan.steps
    assert first.compensation == f"{__name__}.undo"
    assert last.task == "custom.name"
    assert (first.timeout, first.compensation_timeout, first.idempotent, first.max_losses) == (60.0, 60.0, False, 0)
    assert (again.timeout, again.compensation_timeout, again.idempotent, again.max_losses) == (3600.0, 5.0, True, 3)
    assert first.retry.on == ("builtins.ConnectionError", "builtins.OSError")
    assert first.retry.never_on == (f"{__name__}.Declined",)
    assert (first.retry.max_attempts, first.retry.backoff, first.retry.jitter) == (5, 0.5, 1.0)
    assert "http" in again.retry.on
    assert first.compensation_retry.on == ("builtins.Exception",)
    assert last.retry.max_attempts > 10


def test_a_plan_comes_back_from_its_json_as_it_was() -> None:
    plan = order.plan(make("one").engine)

    assert Plan.from_json(json.loads(plan.text)) == plan
    assert Plan.from_json(json.loads(plan.text)).fingerprint == plan.fingerprint


def test_the_plan_is_the_same_on_every_app_and_each_app_fences_its_own_tasks() -> None:
    one, two = make("one"), make("two")

    assert order.plan(one.engine) == order.plan(two.engine)
    assert order.plan(one.engine) is order.plan(one.engine)
    assert one.app.tasks[f"{__name__}.act"].sagas_engine is one.engine
    assert two.app.tasks[f"{__name__}.act"].sagas_engine is two.engine


@pytest.mark.parametrize(
    "change",
    [
        {"timeout": 31},
        {"idempotent": False},
        {"max_losses": 1},
        {"name": "other"},
        {"retry": Retry(max_attempts=4)},
        {"compensation": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_change_of_a_step_changes_the_fingerprint(change: dict[str, Any]) -> None:
    engine = make("one").engine
    options: dict[str, Any] = {"compensation": undo, "timeout": 30}

    before = Saga("order", steps=[Step(act, **options)]).plan(engine)
    after = Saga("order", steps=[Step(act, **options | change)]).plan(engine)

    assert before.fingerprint != after.fingerprint
    assert before.fingerprint == Saga("order", steps=[Step(act, **options)]).plan(engine).fingerprint


def test_a_task_of_another_app_is_not_fenced_here_and_that_is_said() -> None:
    other, here = Celery("other", set_as_current=False), make("here")

    @other.task(name="foreign.task", shared=False)
    def foreign() -> None: ...

    with pytest.raises(NotBound, match=r"step 'foreign': the task 'foreign.task' is not registered on the app 'here'"):
        Saga("foreign", steps=[Step(foreign, compensation=None)]).plan(here.engine)


def test_a_task_with_a_base_of_its_own_is_not_fenced_and_that_is_said() -> None:
    from celery import Task

    here = make("here")

    @here.app.task(name="own.base", base=Task)
    def based() -> None: ...

    with pytest.raises(NotBound, match=r"the task 'own.base' is not fenced.*let base classes inherit from app.Task"):
        Saga("based", steps=[Step(based, compensation=None)]).plan(here.engine)


def test_a_shared_task_that_retries_itself_is_refused_when_it_is_looked_at_on_an_app() -> None:
    here = make("here")

    @here.app.task(name="self.retrying", autoretry_for=(ValueError,))
    def retrying() -> None: ...

    with pytest.raises(DefinitionError, match="autoretry_for"):
        Saga("retrying", steps=[Step(retrying, compensation=None)]).plan(here.engine)


def test_it_can_be_looked_at() -> None:
    assert repr(order.steps[2]) == "Pivot('ship')"
    assert repr(order).startswith("Saga('order', version=3, steps=[Step('act'),")


DECLARES = """
import celery._state as state
from celery import Celery, shared_task
{app}

@shared_task
def shared(order_id: str) -> dict: ...

@shared_task(bind=True, name="x.named")
def bound(self, order_id: str) -> None: ...

from sagas import Saga, Step, Pivot, Retriable, Retry

def sagas():
    return Saga("order", steps=[
        Step(shared, compensation=bound, retry=Retry(on=(ConnectionError,))),
        {step}
        Pivot(bound, name="p"),
        Retriable(shared, name="r"),
    ], input={{"order_id"}})

declared = sagas()
repr(declared)
assert state.default_app is None, "a default app was created"
assert getattr(state._tls, "current_app", None) is None or {expected}
"""


def run_script(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_declaring_sagas_of_shared_tasks_creates_no_default_app() -> None:
    run_script(DECLARES.format(app="", step="", expected="False"))


def test_declaring_sagas_of_app_tasks_finalises_no_app() -> None:
    app = "app = Celery('mine')\n@app.task\ndef own(order_id: str) -> None: ..."
    step = "Step(own, compensation=own, name='own'),"
    script = DECLARES.format(app=app, step=step, expected="True")
    run_script(script + "assert not app.finalized, 'the app was finalised'\n")
