"""A task's own time limits, and its app's, hold in a saga as outside of it, unless the step says otherwise."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from sagas import Saga, SagaStatus
from sagas.cli.checks import notes
from tests.conftest import Shop
from tests.support import journal, own_limits
from tests.support.inline import run_message, run_messages
from tests.support.programs import briefly


@pytest.fixture(scope="module")
def limited_shop(own_shop: Shop) -> Iterator[Shop]:
    """An application whose worker ends every task after four seconds, if nothing else is said."""
    with briefly(own_shop.worker("-c", "3", "-I", "tests.support.own_limits", SAGAS_TEST_SETTINGS="task_time_limit=4")):
        yield own_shop


@pytest.fixture
def in_process(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Its messages are run by the test."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    return shop


def take(app: Celery) -> Any:
    """The next message."""
    with app.connection_for_read() as connection:
        source = connection.SimpleQueue("celery")
        message = source.get(block=True, timeout=5)
        message.ack()
        source.close()
    return message


@pytest.mark.parametrize(
    ("saga", "limits"),
    [(own_limits.of_task, (1.0, 2.0)), (own_limits.hard_alone, (2.0, 3.0)), (own_limits.of_app, (3.0, 4.0))],
    ids=lambda value: value.name if isinstance(value, Saga) else "",
)
def test_d36_a_body_is_stopped_by_the_limit_of_its_task_or_app(
    limited_shop: Shop, saga: Saga, limits: tuple[float, float]
) -> None:
    run = limited_shop.start(saga, {"b": "before:sleep:60"})

    assert run.wait(40) is SagaStatus.COMPENSATED
    assert limited_shop.effects(run) == ["a", "undo b", "undo a"]
    assert run.error is not None
    assert run.error.type == "billiard.exceptions.SoftTimeLimitExceeded"
    assert stored_limits(limited_shop, run.id, "b") == limits


@pytest.mark.parametrize("saga", [own_limits.of_step, own_limits.of_hour], ids=lambda saga: saga.name)
def test_what_the_step_says_goes_before_its_tasks_and_its_apps_limits(limited_shop: Shop, saga: Saga) -> None:
    run = limited_shop.start(saga, {"b": "before:sleep:5"})

    assert run.wait(40) is SagaStatus.COMPLETED
    assert limited_shop.effects(run) == ["a", "b", "c"]


def test_a_compensation_is_limited_as_its_own_task_is(limited_shop: Shop) -> None:
    run = limited_shop.start(own_limits.of_undo, {"b": "no", "undo a": "before:sleep:60"})

    assert run.wait(40) is SagaStatus.FAILED
    assert limited_shop.effects(run) == ["a"]


def test_d11_limits_are_no_part_of_the_plan(shop: Shop) -> None:
    engine = shop.sagas.engine

    step = own_limits.of_task.plan(engine).steps[1]

    assert (step.timeout, step.compensation_timeout) == (3600.0, 3600.0)
    assert step.to_json() == step.unmarked().to_json()


def test_d36_a_row_that_was_born_before_keeps_its_limit_whoever_sends_it(in_process: Shop) -> None:
    # Given: the row as the release before has left it
    app = in_process.sagas.app
    run = in_process.start(own_limits.of_task_twice, {"b": ["flaky"]})
    run_message(app, take(app))
    old = "UPDATE sagas.saga_step SET timeout = 3600, soft_timeout = NULL WHERE instance_id = %s AND name = 'b'"
    with journal.connect(in_process.database_url) as connection:
        connection.cursor().execute(old, (str(run.id),))

    # When: its first try fails, and it is sent again
    run_message(app, take(app))
    again = take(app)

    # Then
    assert again.headers["timelimit"] == [3605.0, 3600.0]
    run_message(app, again)
    run_messages(app)
    assert run.status is SagaStatus.COMPLETED


def test_the_deadline_of_a_step_is_when_its_body_is_asked_to_stop(in_process: Shop) -> None:
    run = in_process.start(own_limits.of_task, {"b": "tell:deadline"})

    run_messages(in_process.sagas.app)

    (told,) = [effect for effect in in_process.effects(run) if effect.startswith("deadline=")]
    started = run.steps[1].started_at
    assert started is not None
    deadline = datetime.fromisoformat(told.removeprefix("deadline="))
    assert timedelta(seconds=0.9) < deadline - started < timedelta(seconds=1.1)


def test_d36_check_tells_which_steps_have_less_time_than_before(shop: Shop) -> None:
    found = [line for line in notes(shop.sagas) if "'timed-by-task'" in line]

    assert len(found) == 1
    assert "step 'b' is asked to stop after 1 s and ended after 2 s" in found[0]


def stored_limits(shop: Shop, saga_id: Any, name: str) -> tuple[float, float]:
    found = "SELECT soft_timeout, timeout FROM sagas.saga_step WHERE instance_id = %s AND name = %s AND round = 0"
    ((soft, timeout),) = journal.query(shop.database_url, found, str(saga_id), name)
    return soft, timeout
