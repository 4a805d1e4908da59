"""An eager test suite: `start` says at once what to do, and `inline` runs sagas as ever."""

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any
from weakref import ref

import pytest
from celery import Celery

from sagas import ConfigurationError, PermanentError, Retry, Saga, Sagas, SagaStatus, Step, current_step
from sagas.testing import inline
from tests.support import journal


@pytest.fixture
def sagas(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sagas]:
    app = Celery("eager", broker="memory://", set_as_current=False)
    made = Sagas(app, database=database_url)
    made.migrate()
    journal.create(database_url)
    monkeypatch.setenv("SAGAS_DATABASE_URL", database_url)
    yield made
    made.engine.store.database.dispose()


@pytest.fixture
def order(sagas: Sagas) -> Saga:
    @sagas.app.task(shared=False)
    def hold(refuses: bool = False) -> dict[str, Any]:
        journal.write("hold")
        return {"hold_id": 1}

    @sagas.app.task(shared=False)
    def unhold() -> None:
        journal.write("unhold")

    @sagas.app.task(shared=False)
    def charge(hold_id: int, refuses: bool = False) -> None:
        journal.write(f"charge {hold_id}")
        if refuses:
            raise PermanentError("no")
        if current_step.attempt == 1:
            raise ConnectionError("lost")

    @sagas.app.task(shared=False)
    def tell() -> None:
        journal.write("tell")

    charging = Step(charge, compensation=None, retry=Retry(backoff=0))
    return Saga("eager", steps=[Step(hold, compensation=unhold), charging, Step(tell, compensation=None)])


def eager(sagas: Sagas, *, propagates: bool) -> None:
    sagas.app.conf.update(task_always_eager=True, task_eager_propagates=propagates)


def test_d31_an_eager_start_is_refused_before_anything_is_inserted(
    sagas: Sagas, order: Saga, database_url: str
) -> None:
    eager(sagas, propagates=True)

    with pytest.raises(ConfigurationError, match=r"task_always_eager is set.*sagas\.testing\.inline.*unset"):
        sagas.start(order, {})
    assert journal.query(database_url, "SELECT 1 FROM sagas.saga_instance") == []
    assert journal.query(database_url, "SELECT 1 FROM sagas.saga_definition") == []


@pytest.mark.parametrize("propagates", [True, False])
def test_d31_inline_runs_sagas_in_an_eager_suite(
    sagas: Sagas, order: Saga, database_url: str, *, propagates: bool
) -> None:
    eager(sagas, propagates=propagates)

    with warnings.catch_warnings(), inline(sagas) as caught:
        warnings.simplefilter("error")
        done, undone = sagas.start(order, {}), sagas.start(order, {"refuses": True})
        assert journal.effects(database_url, done.id) == [], "they run when the block ends, not in start()"
        assert caught.is_waiting

    assert (done.status, undone.status) == (SagaStatus.COMPLETED, SagaStatus.COMPENSATED)
    assert journal.effects(database_url, done.id) == ["hold", "charge 1", "charge 1", "tell"]
    assert journal.effects(database_url, undone.id) == ["hold", "charge 1", "unhold"]


def test_other_tasks_stay_eager_inside_the_block(sagas: Sagas) -> None:
    @sagas.app.task(shared=False)
    def add(one: int, other: int) -> int:
        return one + other

    eager(sagas, propagates=True)
    with inline(sagas):
        assert add.delay(1, 2).get() == 3


# -- what a body may ask of its step and of others


def run_body(sagas: Sagas, body: Any) -> Any:
    task = sagas.app.task(shared=False, name="body")(body)
    with inline(sagas):
        return sagas.start(Saga("body", steps=[Step(task, name="body", compensation=None)]), {})


def test_a_step_does_not_wait_for_another_saga_unless_it_says_so(sagas: Sagas, order: Saga) -> None:
    declared = ref(order)  # a body is remembered for longer than its test

    def body() -> dict[str, str]:
        saga = declared()
        assert saga is not None
        other = sagas.start(saga, {})
        for verb, ask in (("wait", lambda: other.wait(0)), ("watch", lambda: next(other.watch(0)))):
            with pytest.raises(RuntimeError, match=rf"{verb}\(\) inside the step 'body'.*disable_sync_subtasks=False"):
                ask()
        with pytest.raises(TimeoutError):
            other.wait(0, disable_sync_subtasks=False)
        return {"status": next(other.watch(0, disable_sync_subtasks=False))["status"]}

    run = run_body(sagas, body)
    assert run.status is SagaStatus.COMPLETED, run.timeline()
    assert run.data["status"] == "pending"


def test_a_thread_of_a_steps_own_is_told_to_take_the_context_along(sagas: Sagas) -> None:
    def body() -> dict[str, Any]:
        with ThreadPoolExecutor(1) as pool:
            with pytest.raises(RuntimeError, match=r"This thread is not the task's.*copy_context\(\)\.run"):
                pool.submit(lambda: current_step.idempotency_key).result()
            known = pool.submit(copy_context().run, lambda: current_step.idempotency_key).result()
        return {"known": known == current_step.idempotency_key}

    assert run_body(sagas, body).data["known"] is True


def test_the_steps_connection_serves_one_thread(sagas: Sagas) -> None:
    def body() -> dict[str, Any]:
        own = current_step.connection
        with ThreadPoolExecutor(1) as pool, pytest.raises(Exception, match="serves one thread"):
            pool.submit(copy_context().run, lambda: current_step.connection).result()
        return {"same": own is current_step.connection}

    assert run_body(sagas, body).data["same"] is True
