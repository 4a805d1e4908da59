"""B9: a thousand that wake up at one moment cost a few statements, and their messages leave in order."""

from itertools import pairwise
from uuid import UUID

import pytest
from sqlalchemy import event

from sagas import Saga, SagaStatus, Sleep
from sagas.recovery.filling import LEAST, Filler
from sagas.recovery.sweep import BATCH, NO_LIMIT, SENT_AT_ONCE, Sweeper
from sagas.signals import saga_status_changed
from tests.conftest import Shop
from tests.support import journal, queues
from tests.support.bench import Bench
from tests.support.copies import copy_rows
from tests.support.scripted import step

MANY = 1_000
night = Saga("wakes-from-a-night", steps=[Sleep(hours=8), step("a")])


@pytest.fixture
def sleepers(shop: Shop) -> list[UUID]:
    """In the order in which they wake up, which is now."""
    shop.start(night)
    for table, column in (("saga_instance", "id"), ("saga_step", "instance_id")):
        changes = f"jsonb_build_object('{column}', md5(number::text)::uuid)"
        copy_rows(shop.database_url, table, MANY - 1, changes)
    journal.query(shop.database_url, "UPDATE sagas.saga_step SET not_before = clock_timestamp()")
    woken = journal.query(
        shop.database_url,
        "UPDATE sagas.saga_instance SET due_at = clock_timestamp() - random() * interval '1 minute' "
        "RETURNING id, due_at",
    )
    return [UUID(str(run)) for run, _ in sorted(woken, key=lambda row: row[1])]


def taken(shop: Shop) -> list[UUID]:
    """Whose messages a worker would take now, and has taken by this."""
    found = [UUID(message["headers"]["root_id"]) for message in queues.take_out(shop.sagas)]
    journal.query(
        shop.database_url,
        "UPDATE sagas.saga_step SET status = 'running', token = gen_random_uuid(), claimed_at = clock_timestamp() "
        "WHERE position = 1 AND instance_id = ANY (%s::uuid[])",
        [str(run) for run in found],
    )
    return found


def test_b9_a_thousand_sleepers_wake_by_few_statements_and_each_is_sent_once_in_order(
    shop: Shop, sleepers: list[UUID]
) -> None:
    rows = Bench(shop.database_url, shop.sagas.engine.store)
    statements, told = [], []

    def note(*given: object) -> None:
        statements.append(str(given[2]))

    def hear(sender: object, saga_id: UUID, status: str, **_: object) -> None:
        told.append((saga_id, status))

    # When: one pass of one worker
    event.listen(shop.sagas.engine.store.database.engine, "before_cursor_execute", note)
    saga_status_changed.connect(hear)
    moved = Sweeper(shop.sagas.engine).run(NO_LIMIT)
    saga_status_changed.disconnect(hear)

    # Then: all of them have woken up, and receivers of signals were told
    assert moved == MANY
    assert len(statements) < MANY / 5
    assert sorted(told) == sorted((run, SagaStatus.RUNNING) for run in sleepers)
    assert rows.sql("SELECT status, count(*) FROM {s}.saga_step WHERE position = 0 GROUP BY 1") == [("completed", MANY)]
    assert rows.sql("SELECT count(*) FROM {s}.saga_step WHERE position = 1") == [(MANY,)]

    # And: their messages are out as fast as they are taken
    sent = taken(shop)
    at_once = len(sent)
    assert SENT_AT_ONCE <= at_once < BATCH
    assert set(sent) == set(sleepers[:at_once])
    filler, windows = Filler(shop.sagas.engine), [LEAST]
    while len(sent) < MANY:
        windows.append(filler.fill())
        now = taken(shop)
        assert len(now) == windows[-1] > 0
        sent += now
    assert all(later <= 2 * earlier for earlier, later in pairwise(windows))
    assert sent[at_once:] == sleepers[at_once:]
    assert filler.fill() == 0


def test_b9_what_the_batch_stumbles_over_is_looked_at_one_by_one(
    shop: Shop, sleepers: list[UUID], caplog: pytest.LogCaptureFixture
) -> None:
    """A constraint that somebody has added, say."""
    rows, bad = Bench(shop.database_url, shop.sagas.engine.store), sleepers[20]
    rows.sql("DELETE FROM {s}.saga_instance WHERE NOT id = ANY (%s::uuid[])", [str(run) for run in sleepers[:40]])
    rows.sql(f"ALTER TABLE {{s}}.saga_step ADD CHECK (instance_id <> '{bad}' OR position = 0)")

    assert Sweeper(shop.sagas.engine).run(NO_LIMIT) == 39

    assert "instances that wake up are looked at one by one" in caplog.text
    assert rows.events(bad) == ["sweep_failed"]
    assert rows.sql("SELECT count(*) FROM {s}.saga_step WHERE position = 1") == [(39,)]
