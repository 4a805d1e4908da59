"""Whether steps have results in the app's backend, which `django-celery-results` shows, is the application's to say."""

from pathlib import Path

import pytest
from celery import Celery

from sagas import Saga, Sagas, SagaStatus, Step
from tests.conftest import Shop
from tests.support.inline import run_messages


@pytest.mark.parametrize(("wanted", "kept"), [(False, []), (True, ["charge", "reserve"])])
def test_steps_leave_results_only_where_they_are_wanted(
    shop: Shop, tmp_path: Path, wanted: bool, kept: list[str]
) -> None:
    app = Celery("results", set_as_current=False, broker=shop.broker_url, backend=f"file://{tmp_path}")
    bound = Sagas(app, database=shop.database_url, step_results=wanted)

    @app.task(shared=False, name=f"results.{wanted}.reserve")
    def reserve() -> dict[str, str]:
        return {"name": "reserve"}

    @app.task(shared=False, name=f"results.{wanted}.charge")
    def charge() -> dict[str, str]:
        return {"name": "charge"}

    saga = Saga("results", steps=[Step(reserve, compensation=None), Step(charge, compensation=None)])

    run = bound.start(saga, {})
    run_messages(app)

    assert run.status is SagaStatus.COMPLETED
    stored = [path.read_text() for path in tmp_path.iterdir()]
    assert sorted(name for name in ("reserve", "charge") for text in stored if f'"{name}"' in text) == kept


def test_a_backend_that_prepares_for_each_reply_keeps_nothing_from_starting(shop: Shop) -> None:
    app = Celery("replies", set_as_current=False, broker=shop.broker_url, backend="rpc://")
    bound = Sagas(app, database=shop.database_url, step_results=True)

    @app.task(shared=False, name="replies.reserve")
    def reserve() -> None: ...

    run = bound.start(Saga("replies", steps=[Step(reserve, compensation=None)]), {})
    run_messages(app)

    assert run.status is SagaStatus.COMPLETED
