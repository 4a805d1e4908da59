"""What a worker's log says of sagas: one line for each that failed or was compensated, and no alarm for a clean no."""

import logging

import pytest
from celery.app.task import Task

from sagas import SagaHandle, SagaStatus
from sagas.engine import recording
from tests.conftest import Shop
from tests.support import journal, scripted, shapes
from tests.support.inline import run_messages
from tests.support.programs import briefly


@pytest.fixture(autouse=True)
def journal_of_the_shop(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps run in this process, too."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)


def until_nothing_moves(shop: Shop) -> None:
    while run_messages(shop.sagas.app) + run_messages(shop.sagas.app, "sagas"):
        pass


def lines_of(caplog: pytest.LogCaptureFixture, run: SagaHandle, event: str) -> list[logging.LogRecord]:
    found = [record for record in caplog.records if getattr(record, "event", None) == event]
    return [record for record in found if getattr(record, "saga_id", None) == str(run.id)]


def test_a_failed_saga_is_one_warning_with_its_id_key_step_and_both_errors(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    run = shop.start(shapes.stopping, {"c": "no:sold out", "undo b": "say:manual"}, key="order-7")
    until_nothing_moves(shop)
    run.retry("once more")
    until_nothing_moves(shop)

    assert run.status is SagaStatus.FAILED
    first, *others = lines_of(caplog, run, "saga_failed")
    assert len(others) == 1  # it failed twice
    assert first.levelno == logging.WARNING
    assert (vars(first)["key"], vars(first)["step"], vars(first)["saga"]) == ("order-7", "b", "stopping")
    for expected in (str(run.id), "order-7", "compensation of b", "by hand", "sold out (in step c)"):
        assert expected in first.getMessage()


def test_a_compensated_saga_is_one_line_of_information(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="sagas")
    run = shop.start(scripted.three, {"b": "no:out of stock"}, key="order-8")
    until_nothing_moves(shop)

    (line,) = lines_of(caplog, run, "saga_compensated")
    assert line.levelno == logging.INFO
    for expected in (str(run.id), "order-8", "out of stock (in step b)"):
        assert expected in line.getMessage()
    assert not lines_of(caplog, run, "saga_failed")


def test_a_clean_no_is_expected_in_a_workers_log_and_has_no_traceback(shop: Shop) -> None:
    worker = shop.worker()
    with briefly(worker):
        run = shop.start(scripted.three, {"c": "no:sold out"}, key="clean")
        assert run.wait(30) is SagaStatus.COMPENSATED
        said = worker.text()
        other = shop.start(scripted.three, {"c": "invalid:no such address"})
        assert other.wait(30) is SagaStatus.COMPENSATED

    for expected in ("raised expected", "sold out"):
        assert expected in said
    for alarming in ("Traceback", "ERROR"):
        assert alarming not in said
    assert "raised unexpected" in worker.text().removeprefix(said)


def test_what_a_task_names_as_expected_stays_so_beside_its_clean_no(shop: Shop) -> None:
    def body() -> None: ...

    class Named(shop.sagas.app.Task):  # type: ignore[name-defined,misc]
        throws = (KeyError,)

    own = shop.sagas.app.task(name="tests.logs.own", throws=(LookupError,))(body)
    based = shop.sagas.app.task(name="tests.logs.based", base=Named)(body)
    plain = shop.sagas.app.task(name="tests.logs.plain")(body)

    assert (own.throws, based.throws, plain.throws) == ((LookupError,), (KeyError,), Task.throws)
    own.push_request()
    own.expecting(ValueError("no"))
    assert own.throws == (LookupError, ValueError)
    own.pop_request()
    assert own.throws == (LookupError,)


def test_a_step_that_cannot_be_called_is_logged_once_with_its_saga_however_often_it_is_tried(
    shop: Shop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "is_for_good", lambda *_: False)  # as where its code is of another deploy
    run = shop.start(shapes.wanting, key="order-9")
    for _ in range(3):
        until_nothing_moves(shop)
        journal.query(shop.database_url, "UPDATE sagas.saga_step SET not_before = NULL RETURNING 1")
        shop.sagas.engine.store.sweeping.hasten(run.id)
        shop.sagas.sweep()

    (line,) = lines_of(caplog, run, "step_parked")
    for expected in (str(run.id), "wanting", "step b", "requires 'signature'"):
        assert expected in line.getMessage()
    assert run.status is SagaStatus.RUNNING
