"""`self.retry` and `self.replace` in a step: the saga alone answers, and nothing is published before it has."""

from datetime import timedelta
from typing import Any

import pytest

from sagas import SagaStatus, StepStatus
from sagas.engine import CONTROL_QUEUE
from tests.conftest import Shop
from tests.support import journal, self_retrying
from tests.support.inline import run_messages


@pytest.fixture
def in_process(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Its messages are run by the test."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    return shop


def row_of(shop: Shop, run: Any, *columns: str) -> tuple[Any, ...]:
    found = f"SELECT {', '.join(columns)} FROM sagas.saga_step WHERE instance_id = %s AND name = 'b' AND round = 0"
    ((*values,),) = journal.query(shop.database_url, found, str(run.id))
    return tuple(values)


def test_d19_a_poll_is_one_message_at_a_time_and_uses_up_no_attempt(in_process: Shop) -> None:
    run = in_process.sagas.start(self_retrying.polling, {"polls": 5, "script": {}})

    ran = run_messages(in_process.sagas.app)

    assert run.status is SagaStatus.COMPLETED
    assert run.data["polled"] == 5
    assert in_process.effects(run) == [f"b retries={number}" for number in range(6)]
    assert ran == [self_retrying.poll.name] * 6
    assert row_of(in_process, run, "attempts", "polls", "doubt") == (6, 5, False)
    assert journal.events(in_process.database_url, run.id, "attempt_failed") == 0


@pytest.mark.parametrize("form", ["countdown", "eta"])
def test_d19_a_wait_is_as_long_as_the_body_asked_for(in_process: Shop, form: str) -> None:
    run = in_process.sagas.start(self_retrying.asking, {"form": form, "script": {}})

    ran = run_messages(in_process.sagas.app)

    assert ran == [self_retrying.ask.name]
    not_before, claimed_at, dispatched_at = row_of(in_process, run, "not_before", "first_claimed_at", "dispatched_at")
    assert dispatched_at is None
    assert timedelta(minutes=59) < not_before - claimed_at < timedelta(minutes=61)


@pytest.mark.parametrize("form", ["short", "clean", "same", "named"])
def test_d19_what_a_step_asks_for_is_answered_by_its_policy(in_process: Shop, form: str) -> None:
    run = in_process.sagas.start(self_retrying.asking, {"form": form, "script": {}})

    ran = run_messages(in_process.sagas.app)

    assert ran == [self_retrying.ask.name] * 2
    assert run.status is SagaStatus.COMPLETED
    assert in_process.effects(run) == ["b", "b"]


@pytest.mark.parametrize(("form", "attempts"), [("short", 1), ("clean", 2)])
def test_d19_what_is_not_idempotent_is_tried_again_only_for_a_clean_error(
    in_process: Shop, form: str, attempts: int
) -> None:
    run = in_process.sagas.start(self_retrying.asking_carefully, {"form": form, "script": {}})

    run_messages(in_process.sagas.app)

    assert row_of(in_process, run, "attempts", "doubt") == (attempts, form == "short")


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("throw", "self.retry(throw=False)"),
        ("args", "self.retry changes 'form' to 'other'"),
        ("kwargs", "self.retry changes 'form' to 'other'"),
        ("queue", "self.retry(queue='slow')"),
        ("time_limit", "self.retry(time_limit=5)"),
    ],
)
def test_d19_what_a_saga_cannot_do_is_refused_by_name_and_nothing_is_published(
    in_process: Shop, form: str, told: str
) -> None:
    run = in_process.sagas.start(self_retrying.asking, {"form": form, "script": {}})

    ran = run_messages(in_process.sagas.app)

    assert ran == [self_retrying.ask.name]
    error, status = row_of(in_process, run, "error", "status")
    assert status == StepStatus.FAILED
    assert error["type"] == "sagas.errors.NotInAStep"
    assert told in error["message"]
    run_messages(in_process.sagas.app, "slow")
    assert in_process.effects(run) == ["b"]


def test_outside_of_sagas_self_retry_is_celerys(in_process: Shop) -> None:
    app = in_process.sagas.app
    app.tasks[self_retrying.ask_alone.name].apply_async(kwargs={"form": "short"})

    ran = run_messages(app)

    assert ran == [self_retrying.ask_alone.name] * 4  # Celery's own three retries


def test_self_replace_is_refused_before_anything_else_happens(in_process: Shop) -> None:
    run = in_process.start(self_retrying.handing_over)

    ran = run_messages(in_process.sagas.app)
    run_messages(in_process.sagas.app, CONTROL_QUEUE)
    run_messages(in_process.sagas.app)

    assert ran == [self_retrying.hand_over.name]
    assert run.status is SagaStatus.COMPENSATED
    assert in_process.effects(run) == ["b", "undo b"]
    assert run.error is not None
    assert "self.replace" in run.error.message
