"""What an application's own task class puts around every task, it puts around the bodies of steps too."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Task

from sagas import Retry, Saga, SagaHandle, Sagas, SagaStatus, Step, current_step
from sagas.testing import inline
from tests.conftest import EmbeddedPostgres, GivenPostgres, Shop
from tests.support import journal, task_classes
from tests.support.programs import briefly
from tests.support.workers import Worker

two = Saga(
    "two",
    steps=[
        Step(task_classes.look, name=name, compensation=task_classes.take_back, retry=Retry(backoff=0)) for name in "ab"
    ],
)

Make = Callable[[str], Sagas]


@pytest.fixture(scope="module")
def url(postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[str]:
    made = postgres.create_database(f"test_{uuid4().hex}")
    journal.create(made)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SAGAS_DATABASE_URL", made)  # where the steps' journal is
        yield made


@pytest.fixture
def make(url: str) -> Iterator[Make]:
    """An application with this task class."""
    made: list[Sagas] = []

    def of(task_class: str) -> Sagas:
        made.append(task_classes.make(task_class, "memory://", url))
        made[-1].migrate()
        return made[-1]

    yield of
    for sagas in made:
        sagas.engine.store.database.dispose()


def run_inline(sagas: Sagas, saga: Saga = two, **script: Any) -> SagaHandle:
    with inline(sagas):
        return sagas.start(saga, {"script": script})


def surroundings(task_class: str) -> list[str]:
    return {"Inner": ["inner"], "Outer": ["outer"], "Both": ["outer", "inner"], "Bare": []}[task_class]


@pytest.mark.parametrize("task_class", list(task_classes.CLASSES))
def test_a_body_runs_once_inside_its_task_class_and_sees_its_own_request(make: Make, task_class: str) -> None:
    run = run_inline(make(task_class))

    assert run.status is SagaStatus.COMPLETED
    for position, name in enumerate("ab"):
        seen = run.data[f"{name}_saw"]
        assert [name for name, _ in seen["around"]] == surroundings(task_class)
        assert {id_ for _, id_ in seen["around"]} <= {seen["id"]}
        assert (seen["current"], seen["root"], seen["direct"]) == (seen["id"], str(run.id), False)
        assert seen["headers"] == f"{position}.0.0"
    assert run.data["a_saw"]["id"] != run.data["b_saw"]["id"]


@pytest.mark.parametrize("task_class", ["Inner", "Outer", "Both"])
def test_a_compensation_runs_inside_it_too(make: Make, url: str, task_class: str) -> None:
    run = run_inline(make(task_class), refuses=["b"])

    inside = " in ".join(reversed(surroundings(task_class)))
    assert run.status is SagaStatus.COMPENSATED
    assert journal.effects(url, run.id) == [f"a in {inside}", f"b in {inside}", f"undo a in {inside}"]


def test_what_the_task_class_raises_is_an_answer_of_the_step(make: Make, url: str) -> None:
    run = run_inline(make("Outer"), unlit=True)

    assert run.status is SagaStatus.COMPENSATED
    assert (run.steps[0].attempts, run.steps[0].in_doubt) == (3, True)
    assert run.steps[0].error is not None
    assert run.steps[0].error.message == "no light"


def test_a_plain_call_is_surrounded_as_it_always_was(make: Make) -> None:
    task = make("Both").app.tasks["tests.support.task_classes.tell_surroundings"]

    assert task() == ["outer", "inner"]
    assert task.apply().get() == ["outer", "inner"]


@pytest.mark.parametrize("task_class", ["Inner", "Bare"])
def test_a_base_of_one_task_surrounds_all_of_its_execution(make: Make, url: str, task_class: str) -> None:
    """Its execution begins with the claim: it sees the arguments and the step, as the body does."""
    sagas = make(task_class)
    calls: list[tuple[dict[str, Any], bool]] = []

    class Timed(sagas.app.Task):  # type: ignore[misc,name-defined]
        abstract = True

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            calls.append((kwargs, bool(current_step)))
            return super().__call__(*args, **kwargs)

    @sagas.app.task(base=Timed, bind=True, name=f"timed.{task_class}", shared=False)
    def timed(self: Task, script: dict[str, Any]) -> list[Any]:
        journal.write(current_step.name)
        return [self.request.id is not None, *(name for name, _ in task_classes.around.get())]

    run = run_inline(sagas, Saga(f"timed-{task_class}", steps=[Step(timed, name="t", compensation=None)]))

    assert run.status is SagaStatus.COMPLETED
    assert run.steps[0].result == [True, *surroundings(task_class)]
    assert journal.effects(url, run.id) == ["t"]
    assert calls == [({"script": {}}, True)]


class Mixin:
    """Runs the body itself, as Flask's documentation teaches, and is no task."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)  # type: ignore[attr-defined]


@pytest.mark.parametrize("mixed_in", [True, False])
def test_a_base_of_one_task_that_runs_the_body_itself_does_not_go_past_the_fence(
    make: Make, url: str, *, mixed_in: bool
) -> None:
    sagas = make("Bare")
    bases = (Mixin, sagas.app.Task) if mixed_in else (sagas.app.Task,)
    lit_class = type("Lit", bases, {"abstract": True, "__call__": Mixin.__call__} if not mixed_in else {})

    @sagas.app.task(base=lit_class, name=f"lit.{mixed_in}", shared=False)
    def lit(**data: Any) -> None:
        journal.write(f"{current_step.name} {current_step.attempt}")

    run = run_inline(sagas, Saga(f"lit-{mixed_in}", steps=[Step(lit, name="t", compensation=None)]))

    assert run.status is SagaStatus.COMPLETED
    assert journal.effects(url, run.id) == ["t 1"]


def test_in_a_real_worker_it_is_the_same(shop: Shop) -> None:
    environment = {
        "SAGAS_DATABASE_URL": shop.database_url,
        "SAGAS_BROKER_URL": shop.broker_url,
        "SAGAS_TASK_CLASS": "Both",
    }
    application = "tests.support.task_classes"
    worker = Worker(environment, shop.directory / "worker.log", application=application, arguments=("-c", "1"))
    with briefly(worker):
        done, undone = (shop.sagas.start(two, {"script": script}) for script in ({}, {"refuses": ["b"]}))

        assert (done.wait(30), undone.wait(30)) == (SagaStatus.COMPLETED, SagaStatus.COMPENSATED)

    for name in "ab":
        seen = done.data[f"{name}_saw"]
        assert [name for name, _ in seen["around"]] == ["outer", "inner"]
        assert {seen["id"], seen["current"]} == {id_ for _, id_ in seen["around"]}
        assert (seen["root"], seen["direct"]) == (str(done.id), False)
    inside = "in inner in outer"
    assert journal.effects(shop.database_url, undone.id) == [f"a {inside}", f"b {inside}", f"undo a {inside}"]
