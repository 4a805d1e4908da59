"""Hooks of an application's task class that raise: a reason in the history, and nothing lost or doubled."""

from collections.abc import Iterator

import pytest

from sagas import SagaHandle, SagaStatus, StepStatus
from tests.conftest import EmbeddedBroker, EmbeddedPostgres, GivenPostgres, Shop, empty_keyspace
from tests.support import journal, task_hooks
from tests.support.programs import briefly
from tests.support.workers import Worker


@pytest.fixture(scope="module")
def hooked_shop(
    postgres: EmbeddedPostgres | GivenPostgres, broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """One application with such a task class, and one worker."""
    database_url = postgres.create_database("test_hooks")
    sagas = task_hooks.make(empty_keyspace(broker), database_url)
    sagas.migrate()
    journal.create(database_url)
    shop = Shop(sagas, database_url, sagas.app.conf.broker_url, tmp_path_factory.mktemp("hooks"))
    environment = {"SAGAS_DATABASE_URL": database_url, "SAGAS_BROKER_URL": shop.broker_url, "SAGAS_HOOKED": "1"}
    application = "tests.support.task_hooks"
    with briefly(Worker(environment, shop.directory / "worker.log", application=application, arguments=("-c", "2"))):
        yield shop
    sagas.engine.store.database.dispose()


def called(shop: Shop, run: SagaHandle, hook: str) -> int:
    rows = journal.query(
        shop.database_url, "SELECT reached FROM public.gate WHERE saga_id = %s AND name = %s", str(run.id), hook
    )
    return int(rows[0][0]) if rows else 0


def test_d35_a_before_start_that_raises_is_the_tasks_failure_with_its_reason_and_nothing_was_done(
    hooked_shop: Shop,
) -> None:
    run = hooked_shop.start(task_hooks.refusing)

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert hooked_shop.effects(run) == ["a 1", "undo a"]
    second = run.steps[1]
    assert (second.status, second.in_doubt) == (StepStatus.FAILED, False)
    assert run.error is not None
    assert str(run.error) == "builtins.LookupError: no such database"
    assert "no such database" in " ".join(run.timeline().split())


def test_d35_a_before_start_that_cures_itself_is_tried_again_by_the_steps_policy(hooked_shop: Shop) -> None:
    run = hooked_shop.start(task_hooks.curing)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert hooked_shop.effects(run) == ["a 1", "b 2"]
    assert called(hooked_shop, run, "before_start late_once") == 2


def test_d35_a_before_start_of_a_compensation_that_does_not_cure_itself_waits_for_a_person(hooked_shop: Shop) -> None:
    run = hooked_shop.start(task_hooks.stuck)

    assert run.wait(30) is SagaStatus.FAILED
    undo = run.steps[0].compensation
    assert undo is not None
    assert (undo.status, undo.attempts) == (StepStatus.FAILED, 2)
    assert undo.error is not None
    assert undo.error.message == "no such database"


def test_hooks_and_receivers_that_raise_afterwards_lose_nothing_and_double_nothing(hooked_shop: Shop) -> None:
    done = hooked_shop.start(task_hooks.loud, {"a": 1})  # type: ignore[dict-item]
    undone = hooked_shop.start(task_hooks.loud, {"b": 3})  # type: ignore[dict-item]

    assert (done.wait(30), undone.wait(30)) == (SagaStatus.COMPLETED, SagaStatus.COMPENSATED)
    assert hooked_shop.effects(done) == ["a 1", "a 2", "b 1"]
    assert hooked_shop.effects(undone) == ["a 1", "b 1", "b 2", "b 3", "undo b", "undo a"]
    assert called(hooked_shop, done, "on_success noisy") == 2
    assert called(hooked_shop, done, "on_retry noisy") == 1
    assert called(hooked_shop, undone, "on_failure noisy") == 1
    assert called(hooked_shop, undone, "after_return noisy") >= 1
