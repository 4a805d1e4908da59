"""How a doubt reads in timeline, views and command line: what may be undone, and what the action has recorded."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from cryptography.fernet import Fernet

from sagas import PermanentError, Pivot, Retry, Saga, SagaHandle, Sagas, SagaStatus, Step, current_step
from sagas.cli import sagas as group
from sagas.testing import inline
from tests.support.commands import runner

CARD = "4111 1111 1111 1111"
ONCE = Retry(max_attempts=1)


@pytest.fixture
def app(database_url: str) -> Iterator[Celery]:
    app = Celery("shown-doubt", broker="memory://", set_as_current=False)
    sagas = Sagas(app, database=database_url, secrets=["card"], codec=Fernet(Fernet.generate_key()))
    sagas.migrate()
    yield app
    sagas.engine.store.database.dispose()


def run(app: Celery, *steps: Any) -> SagaHandle:
    sagas: Sagas = app.sagas
    with inline(sagas):
        return sagas.start(Saga("shown", steps=steps), {})


def shown(app: Celery, handle: SagaHandle, *options: str) -> str:
    done = runner().invoke(group, ["show", str(handle.id), *options], obj=SimpleNamespace(app=app))
    assert done.exit_code == 0, done.output
    return done.stdout


def charging(app: Celery) -> tuple[Any, Any]:
    @app.task(shared=False)
    def charge() -> None:
        current_step.record({"charge_id": "ch_1", "card": CARD})
        raise KeyError(f"no receipt for {CARD}")

    @app.task(shared=False)
    def refund(charge_id: str | None = None) -> None:
        """Does it."""

    return charge, refund


def raising(app: Celery, error: Exception) -> Any:
    @app.task(shared=False, name=f"raising-{type(error).__name__}")
    def act() -> None:
        raise error

    return act


def test_d34_an_action_in_doubt_without_a_compensation_says_that_there_is_nothing_to_undo(app: Celery) -> None:
    handle = run(app, Step(raising(app, KeyError("id")), name="look", compensation=None, retry=ONCE))

    assert handle.status is SagaStatus.COMPENSATED
    (step,) = handle.steps
    assert (step.in_doubt, step.nothing_to_undo, step.doubt) == (True, True, "in doubt, nothing to undo")
    assert "in doubt, nothing to undo" in handle.timeline()
    assert "in doubt, nothing to undo" in shown(app, handle)
    (told,) = json.loads(shown(app, handle, "--json"))["steps"]
    assert (told["in_doubt"], told["nothing_to_undo"]) == (True, True)


def test_what_is_undone_is_a_pivot_or_has_said_a_clean_no_does_not_say_so(app: Celery) -> None:
    charge, refund = charging(app)
    undone = run(app, Step(charge, compensation=refund, retry=ONCE))
    clean = run(app, Step(raising(app, PermanentError("no")), name="look", compensation=None))
    pivot = run(app, Pivot(raising(app, KeyError("id")), name="ship", retry=ONCE))
    asking = run(
        app, Step(raising(app, ValueError("id")), name="ask", compensation=None, if_in_doubt="person", retry=ONCE)
    )

    assert [handle.steps[0].doubt for handle in (undone, clean, pivot, asking)] == [
        "in doubt",
        None,
        "in doubt",
        "in doubt",
    ]
    for handle in (undone, clean, pivot, asking):
        assert "nothing to undo" not in handle.timeline()


def test_d12_what_an_action_has_recorded_is_shown_and_of_a_secret_only_its_name(app: Celery) -> None:
    charge, refund = charging(app)
    handle = run(app, Step(charge, compensation=refund, retry=Retry(max_attempts=2, on=(KeyError,), backoff=0.01)))

    (step,) = handle.steps
    assert step.records == ({"charge_id": "ch_1", "card": "•••"},) * 2
    assert "recorded card=••• charge_id=ch_1" in handle.timeline()
    (told,) = json.loads(shown(app, handle, "--json"))["steps"]
    assert told["records"] == [{"charge_id": "ch_1", "card": "•••"}] * 2
    # An error's text may tell what was recorded.
    assert "no receipt for •••" in str(step.error)
    assert CARD not in f"{shown(app, handle)} {shown(app, handle, '--json')} {handle.timeline()} {handle.history()}"


def test_a_step_that_has_recorded_nothing_shows_none(app: Celery) -> None:
    handle = run(app, Step(raising(app, PermanentError("no")), name="look", compensation=None))

    assert handle.steps[0].records == ()
    assert "recorded" not in handle.timeline()
