"""What `check` says of a task whose messages cannot be written, or are refused by workers."""

from typing import Any

import pytest
from celery import Celery

from sagas import Saga, Sagas, Step
from sagas.cli.checks import findings

NOWHERE = "postgresql://nobody@/nowhere?host=/nonexistent"


def found(serializer: str | None, **settings: Any) -> list[str]:
    app = Celery("serializers", set_as_current=False, broker="memory://")
    app.conf.update(settings)
    sagas = Sagas(app, database=NOWHERE)

    @app.task(name="tasks.pay", shared=False)
    def pay() -> None: ...

    @app.task(name="tasks.refund", shared=False, serializer=serializer)
    def refund() -> None: ...

    saga = Saga("serialized", steps=[Step(pay, compensation=refund)])
    return [line for line in findings(sagas) if "serializer" in line and saga]


@pytest.mark.parametrize(
    ("serializer", "settings"),
    [(None, {}), ("json", {}), ("yaml", {"accept_content": ["json", "application/x-yaml"]})],
)
def test_a_serializer_that_workers_accept_is_no_finding(serializer: str | None, settings: dict[str, Any]) -> None:
    assert found(serializer, **settings) == []


def test_a_serializer_that_workers_refuse_is_named_with_its_task() -> None:
    (line,) = found("pickle")

    assert line.startswith("tasks.refund: its serializer 'pickle' is not in accept_content (json): workers")
    assert "serializer='json'" in line


def test_a_serializer_that_this_process_does_not_have_is_named_with_its_task() -> None:
    (line,) = found("jsno")

    assert line.startswith("tasks.refund: its serializer 'jsno' is not installed")


def test_the_tasks_of_the_library_itself_have_the_serializer_of_the_app() -> None:
    lines = found("json", task_serializer="pickle", accept_content=["json"])

    assert {"sagas.on_error", "sagas.purge", "sagas.sweep", "tasks.pay"} <= {line.partition(":")[0] for line in lines}
    assert "tasks.refund" not in "\n".join(lines)
