"""Progress as server-sent events: on each change, until the end, without holding a connection."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response
from werkzeug.test import TestResponse

from sagas import InstanceNotFound
from sagas.contrib.events import KEEP_ALIVE, events, sse
from sagas.contrib.flask import event_stream
from sagas.testing import inline
from tests.integration.flask.conftest import Office
from tests.integration.flask.office import db, greeting


@pytest.fixture
def app(office: Office) -> Flask:
    """With a view that streams; the timeout and the keep-alive are in its address."""

    def view(saga_id: str, timeout: float, keep_alive: float) -> Response:
        # A view mostly looks into its database first.
        assert db.session.query(db.text("1")).scalar() == 1
        return event_stream(office.sagas.get(saga_id), timeout, keep_alive=keep_alive)

    office.app.add_url_rule("/<saga_id>/<float:timeout>/<float:keep_alive>", view_func=view)
    office.app.register_error_handler(InstanceNotFound, lambda error: (str(error), 404))
    return office.app


def stream(response: TestResponse) -> Iterator[str]:
    for chunk in response.iter_encoded():
        yield chunk.decode()


def progress(event: str) -> dict[str, Any]:
    name, data, *end = event.split("\n")
    assert name == "event: progress"
    assert end == ["", ""]
    return json.loads(data.removeprefix("data: "))


def test_each_change_is_an_event_and_the_end_of_the_saga_ends_the_stream(office: Office, app: Flask) -> None:
    with inline(office.sagas) as running:
        run = office.sagas.start(greeting, {"name": "Ann"}, key="k")
        response = app.test_client().get(f"/{run.id}/30.0/15.0")
        seen = stream(response)
        first = progress(next(seen))
        running.run()
        (last,) = [progress(event) for event in seen if event != KEEP_ALIVE]

    assert response.mimetype == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert (first["key"], first["status"], first["ended"]) == ("k", "pending", False)
    assert [step["status"] for step in first["steps"]] == ["pending", "pending"]
    assert (last["status"], last["ended"]) == ("completed", True)
    assert [step["status"] for step in last["steps"]] == ["completed", "completed"]


def test_the_stream_of_what_has_ended_is_one_event(office: Office, app: Flask) -> None:
    with inline(office.sagas):
        run = office.sagas.start(greeting, {"name": "Ann"})

    (event,) = stream(app.test_client().get(f"/{run.id}/30.0/15.0"))

    assert progress(event) == run.progress()


def test_without_news_a_comment_keeps_it_alive_until_the_time_is_over(office: Office, app: Flask) -> None:
    run = office.sagas.start(greeting, {"name": "Ann"})

    first, *rest = stream(app.test_client().get(f"/{run.id}/1.6/0.1"))

    assert progress(first)["status"] == "pending"
    assert rest
    assert set(rest) == {KEEP_ALIVE}


def test_while_it_waits_no_connection_of_the_application_is_held(office: Office, app: Flask) -> None:
    run = office.sagas.start(greeting, {"name": "Ann"})
    seen = stream(app.test_client().get(f"/{run.id}/30.0/0.1"))
    next(seen)
    assert next(seen) == KEEP_ALIVE

    assert office.sagas.engine.store.database.engine.pool.checkedout() == 0
    with app.app_context():
        assert db.engine.pool.checkedout() == 0


def test_an_instance_that_is_not_there_is_the_views_error(app: Flask) -> None:
    response = app.test_client().get("/01890a5d-ac96-774b-bcce-b302099a8057/30.0/15.0")

    assert response.status_code == 404


def test_a_handle_on_what_was_rolled_back_is_the_views_error_too(office: Office, app: Flask) -> None:
    with app.app_context():
        run = office.start(session=db.session)
        db.session.rollback()

    with pytest.raises(InstanceNotFound):
        event_stream(run)


def test_an_event_is_one_line_of_data_whatever_the_key_holds(office: Office) -> None:
    run = office.sagas.start(greeting, {"name": "Ann"}, key="two\nlines\u2028and é")

    first = next(events(run))

    assert first == sse(run.progress())
    assert progress(first)["key"] == "two\nlines\u2028and é"
