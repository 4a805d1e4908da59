"""What a failed step leaves in its process."""

import gc
from collections.abc import Iterator

import pytest
from billiard.einfo import ExceptionInfo
from celery import Celery
from celery.app.trace import build_tracer

from sagas import Sagas


@pytest.fixture
def _no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def reports() -> int:
    """How many of Celery's reports of failures, each with a copy of all frames, are in memory."""
    return sum(type(one) is ExceptionInfo for one in gc.get_objects())


@pytest.mark.usefixtures("_no_collection")
def test_what_celery_reports_of_a_failure_is_freed_without_a_collection() -> None:
    # Given
    app = Celery("garbage", broker="memory://", set_as_current=False)
    Sagas(app, database="postgresql+psycopg2://nobody@nowhere/nothing")

    @app.task(name="garbage.fail", ignore_result=True)
    def fail() -> None:
        raise ValueError("no")

    task = app.tasks["garbage.fail"]
    task.__trace__ = build_tracer(task.name, task, app=app)
    before = reports()

    # When
    for number in range(3):
        done = task.__trace__(f"task-{number}", (), {}, {})
        assert type(done.info.retval) is ValueError
        del done

    # Then
    assert reports() == before
