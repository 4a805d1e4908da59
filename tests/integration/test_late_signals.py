"""Signals that come too late: their caller is told, and so is whoever reads the history."""

from typing import Any

import pytest

from sagas import SagaHandle, SagaStatus, TransitionRefused
from sagas.store.inbox import Inbox
from tests.conftest import Shop
from tests.support import gates, journal, shapes
from tests.support.workers import eventually


def letters(shop: Shop, run: SagaHandle) -> int:
    found = "SELECT count(*) FROM sagas.saga_inbox WHERE instance_id = %s"
    return int(journal.query(shop.database_url, found, str(run.id))[0][0])


def test_one_that_comes_too_late_is_refused_and_leaves_a_line_in_the_history(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.impatient)
    assert run.wait(30) is SagaStatus.COMPENSATED

    for _ in range(2):
        with pytest.raises(TransitionRefused, match="is compensated and takes no signals"):
            run.signal("approval", by="maria", key="click")

    (entry,) = [entry for entry in run.history() if entry.event == "signal_too_late"]
    assert (entry.detail["signal"], entry.detail["by"]) == ("approval", "maria")
    assert letters(busy_shop, run) == 1  # of its key


def test_one_after_a_wait_that_was_done_without_is_refused_too(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.patient, {"b": ["wait:door"]})
    gates.until_reached(busy_shop.database_url, run, "door")

    with pytest.raises(TransitionRefused, match="no longer waits for signal 'approval'"):
        run.signal("approval")

    gates.open_gate(busy_shop.database_url, run, "door")
    assert run.wait(30) is SagaStatus.COMPLETED
    assert "signal_too_late" in run.timeline()


def test_a_call_answers_by_its_own_look_and_not_by_the_one_before(
    busy_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It seemed to run, and has ended by the time at which the signal comes; whoever looks first."""
    for somebody_else_looks in (False, True):
        run = busy_shop.start(shapes.approved)
        eventually(lambda run=run: run.steps[1].started_at, "the wait to begin")
        seen = run.snapshot()
        run.cancel("changed mind")
        run.wait(30)
        with monkeypatch.context() as patch:
            patch.setattr(SagaHandle, "snapshot", lambda self, seen=seen: seen)
            put_now = Inbox.put_now

            def put(self: Inbox, *args: Any, put_now: Any = put_now) -> int | None:
                number: int | None = put_now(self, *args)
                busy_shop.sagas.sweep()
                return number

            if somebody_else_looks:
                patch.setattr(Inbox, "put_now", put)
            with pytest.raises(TransitionRefused):
                run.signal("approval")

        assert [entry.event for entry in run.history()].count("signal_too_late") == 1
