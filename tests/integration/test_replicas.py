"""What only looks works on a read replica: it writes nothing, and reads no table that a replica has not."""

import pytest
from sqlalchemy import event

from sagas import SagaStatus
from tests.conftest import Shop
from tests.support import scripted
from tests.support.application import make
from tests.support.inline import run_messages


def test_lists_and_looks_write_nothing_and_read_no_unlogged_table(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given: an application that may only read
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)  # where the steps' journal is
    run = shop.start(scripted.three, key="order-1")
    run_messages(shop.sagas.app)
    shop.start(scripted.pivoted)
    reading = make("memory://", f"{shop.database_url}&options=-cdefault_transaction_read_only%3Don")
    sent: list[str] = []
    event.listen(reading.engine.store.database.engine, "before_cursor_execute", lambda *seen: sent.append(seen[2]))

    # When
    found = [one.id for one in reading.list()]
    for status in SagaStatus:
        reading.list(status=status)
    reading.list(key="order-1", text="order", step="a", needs_person=True)
    same = reading.find(saga="three", key="order-1")
    assert same is not None
    looks = (same.wait(timeout=1), same.progress()["status"], same.timeline(), next(same.watch(timeout=1)), same.data)

    # Then
    assert (found[-1], same.id, looks[0]) == (run.id, run.id, SagaStatus.COMPLETED)
    assert len(sent) > 10
    assert not [statement for statement in sent if "saga_epoch" in statement or "saga_queue" in statement]
    reading.engine.store.database.dispose()
