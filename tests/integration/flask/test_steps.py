"""Steps in a real worker of a Flask application: inside its app context, with its config, session and teardown."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import make_url

from sagas import SagaStatus
from tests.integration.flask.conftest import Office
from tests.integration.flask.office import Order, db, greeting
from tests.support.programs import briefly
from tests.support.queues import received
from tests.support.workers import Worker


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_steps_and_compensations_run_inside_the_app_context(
    make_office: Callable[..., Office], tmp_path: Path, driver: str
) -> None:
    office = make_office(driver=driver)
    url = make_url(office.database_url).set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)
    worker = Worker(
        {"SAGAS_DATABASE_URL": url, "SAGAS_BROKER_URL": office.broker_url},
        tmp_path / "worker.log",
        application="tests.integration.flask.office",
    )
    with office.app.app_context():
        db.session.add(Order(note="new"))
        polite = office.start(key="polite")
        angry = greeting.start({"name": "Ben", "angry": True})
        db.session.commit()
        with briefly(worker):
            assert polite.wait(30) is SagaStatus.COMPLETED
            assert angry.wait(30) is SagaStatus.COMPENSATED

    assert office.notes(polite) == ["hello Ann", "context ended", "bye"]
    assert office.notes(angry) == ["hello Ben", "context ended", "hello no more"]
    assert received(worker).count("greeting/greet") == 2
