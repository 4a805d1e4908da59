"""What a task knows while a saga runs it, and the transaction that commits together with its completion."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from sagas import NoCurrentStep, Saga, SagaHandle, SagaStatus, current_step
from tests.conftest import Shop
from tests.support import gates, journal, scripted
from tests.support.programs import briefly
from tests.support.workers import eventually


def test_h12_writes_become_visible_with_the_completion_and_not_before(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": ["write:charge,wait:payment"]})
    gates.until_reached(busy_shop.database_url, run, "payment")
    assert journal.ledger(busy_shop.database_url, run.id) == []

    gates.open_gate(busy_shop.database_url, run, "payment")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert journal.ledger(busy_shop.database_url, run.id) == ["charge"]


@pytest.mark.parametrize("ending", ["no", "flaky", "invalid", "raise:ignore", "return:set", "return:nul", "exit"])
def test_h12_writes_of_an_attempt_that_does_not_complete_are_rolled_back(busy_shop: Shop, ending: str) -> None:
    run = busy_shop.start(scripted.three, {"b": f"write:charge,after:{ending}"})

    assert run.wait(60) is SagaStatus.COMPENSATED
    assert journal.ledger(busy_shop.database_url, run.id) == []
    assert "b" in busy_shop.effects(run)


def test_h12_a_lock_timeout_that_the_body_has_set_costs_its_completion_another_attempt_and_no_more(
    busy_shop: Shop,
) -> None:
    # Given: a body that does not like to wait, and somebody who holds the instance's row at its end
    impatient = "sql:SET LOCAL lock_timeout = '300ms',write:charge,wait:payment"
    run = busy_shop.start(scripted.three, {"b": [impatient, "write:charge"]})
    gates.until_reached(busy_shop.database_url, run, "payment")
    stranger = journal.connect(busy_shop.database_url)
    stranger.autocommit = False
    stranger.cursor().execute("SELECT 1 FROM sagas.saga_instance WHERE id = %s FOR UPDATE", (str(run.id),))
    gates.open_gate(busy_shop.database_url, run, "payment")

    # When: the completion has waited in vain, and its failure waits to be recorded
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
    eventually(lambda: journal.query(busy_shop.database_url, waiting, "BEGIN%EXECUTE sagas%"), "that")
    stranger.close()

    # Then
    assert run.wait(30) is SagaStatus.COMPLETED
    assert run.steps[1].attempts == 2
    assert journal.ledger(busy_shop.database_url, run.id) == ["charge"]


def test_h12_writes_of_a_killed_attempt_are_rolled_back_and_made_once_by_the_next(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": ["write:charge,after:die", "write:charge"]})

    assert run.wait(60) is SagaStatus.COMPLETED
    assert journal.ledger(busy_shop.database_url, run.id) == ["charge"]


def test_an_undo_writes_in_a_transaction_of_its_own_too(busy_shop: Shop) -> None:
    undo = {"undo b": ["write:lost,invalid", "write:refund"]}
    run = busy_shop.start(scripted.three, {"b": ["write:charge"], "c": ["no"], **undo})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert journal.ledger(busy_shop.database_url, run.id) == ["charge", "refund"]


@pytest.mark.parametrize("method", ["commit", "rollback", "close", "detach"])
def test_h12_a_step_cannot_end_the_transaction_itself(busy_shop: Shop, method: str) -> None:
    run = busy_shop.start(scripted.three, {"b": f"write:charge,call:{method}"})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert journal.ledger(busy_shop.database_url, run.id) == []
    assert run.error is not None
    assert run.error.type == "sagas.errors.SagaError"
    assert f"current_step.connection.{method}() is not yours to call" in run.error.message
    assert "begin_nested()" in run.error.message


def test_h12_a_step_whose_connection_was_lost_does_not_complete(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": ["write:charge,call:invalidate", "write:charge"]})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert journal.ledger(busy_shop.database_url, run.id) == ["charge"]
    assert run.steps[1].attempts == 2


def test_h12_a_statement_that_fails_is_an_error_of_the_step_and_recorded_all_the_same(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": "write:charge,sql:SELECT 1/0"})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert journal.ledger(busy_shop.database_url, run.id) == []
    assert run.error is not None
    assert "division by zero" in run.error.message


def test_h12_a_swallowed_error_of_a_statement_does_not_complete_the_step(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": "write:charge,swallow:SELECT 1/0"})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert journal.ledger(busy_shop.database_url, run.id) == []
    assert run.error is not None
    assert "transaction is aborted" in run.error.message


def test_attempts_are_counted_from_one_and_keys_stay_the_same(busy_shop: Shop) -> None:
    tell = "tell:attempt,tell:idempotency_key,tell:action_key,tell:name,tell:saga"
    run = busy_shop.start(
        scripted.three, {"b": [f"{tell},flaky", tell], "c": ["no"], "undo b": [f"{tell},flaky", tell]}
    )

    assert run.wait(30) is SagaStatus.COMPENSATED
    told = [what for what in busy_shop.effects(run) if "=" in what]
    action = [f"idempotency_key={run.id}:b", f"action_key={run.id}:b", "name=b", "saga=three"]
    undo = [f"idempotency_key=comp:{run.id}:b", f"action_key={run.id}:b", "name=b", "saga=three"]
    assert told == ["attempt=1", *action, "attempt=2", *action, "attempt=1", *undo, "attempt=2", *undo]


def test_the_deadline_is_the_steps_own_or_the_sagas_whichever_comes_first(busy_shop: Shop) -> None:
    own = busy_shop.start(scripted.three, {"b": ["tell:deadline"]})
    given = datetime.now(UTC) + timedelta(seconds=30)
    sagas = busy_shop.start(scripted.three, {"b": ["tell:deadline"]}, deadline=given)
    long = busy_shop.start(scripted.three, {"b": ["tell:deadline"]}, deadline=timedelta(hours=1))

    for run in (own, sagas, long):
        assert run.wait(30) is SagaStatus.COMPLETED
    assert deadline_told(busy_shop, sagas) == given
    for run in (own, long):
        started = run.steps[1].started_at
        assert started is not None
        assert abs(deadline_told(busy_shop, run) - started - timedelta(seconds=60)) < timedelta(seconds=1)


def test_seconds_of_a_deadline_count_from_the_first_claim(shop: Shop) -> None:
    # Given: a saga that waits for a worker for longer than its deadline is
    run = shop.start(scripted.three, {"b": ["tell:deadline"]}, deadline=20.0)
    old = "UPDATE sagas.saga_instance SET created_at = created_at - interval '1 day'"
    journal.query(shop.database_url, old)

    with briefly(shop.worker()):
        assert run.wait(30) is SagaStatus.COMPLETED
    first = run.steps[0].started_at
    assert first is not None
    assert abs(deadline_told(shop, run) - first - timedelta(seconds=20)) < timedelta(seconds=1)


def test_the_sagas_deadline_is_none_for_an_undo_nor_from_the_pivot_on(busy_shop: Shop) -> None:
    # Given: deadlines that have passed when the undo, the pivot and the step after it run
    back = busy_shop.start(scripted.three, {"b": ["wait:payment"], "undo b": ["tell:deadline"]}, deadline=0.3)
    on = busy_shop.start(
        scripted.pivoted, {"p": ["tell:deadline,wait:shipping"], "r": ["tell:deadline"]}, deadline=timedelta(seconds=20)
    )
    gates.until_reached(busy_shop.database_url, back, "payment")
    eventually(lambda: journal.events(busy_shop.database_url, back.id, "deadline_passed"), "the deadline")
    gates.open_gate(busy_shop.database_url, back, "payment")
    gates.open_gate(busy_shop.database_url, on, "shipping")

    assert back.wait(30) is SagaStatus.COMPENSATED
    assert on.wait(30) is SagaStatus.COMPLETED
    told = [what for run in (back, on) for what in busy_shop.effects(run) if what.startswith("deadline=")]
    for what in told:
        assert datetime.fromisoformat(what.removeprefix("deadline=")) > datetime.now(UTC) + timedelta(seconds=25)
    assert len(told) == 3


def test_outside_of_a_saga_there_is_no_current_step() -> None:
    assert not current_step
    with pytest.raises(NoCurrentStep, match="if current_step:"):
        _ = current_step.saga_id


def test_a_task_that_is_called_without_a_saga_is_a_plain_task(shop: Shop) -> None:
    worker = shop.worker()
    task = shop.sagas.app.send_task("tests.support.scripted.whoami")
    with briefly(worker):
        shop.start(Saga("who", steps=[scripted.step("a")])).wait(30)
        assert task.id in worker.text()
        assert re.search(rf"whoami\[{task.id}\] succeeded in .*: 'nobody'", worker.text())


def deadline_told(shop: Shop, run: SagaHandle) -> datetime:
    (told,) = [what for what in shop.effects(run) if what.startswith("deadline=")]
    return datetime.fromisoformat(told.removeprefix("deadline="))
