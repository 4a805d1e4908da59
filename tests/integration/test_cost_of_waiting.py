"""A sweep reads what is due, however many instances wait beside it: counted in rows and blocks, not in seconds.

SAGAS_TEST_WAITING sets how many wait: 20,000 if it is not set.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import pytest
from sqlalchemy import text

from sagas import Child, Saga, SagaHandle, Sleep, StepStatus, WaitFor
from tests.conftest import Shop
from tests.support import journal, shapes
from tests.support.copies import copy_rows
from tests.support.scripted import step

MANY = int(os.environ.get("SAGAS_TEST_WAITING", "20000"))
#: An index of many rows is a level or two deeper than one of few: so many times the blocks that a sweep may read.
DEEPER = 4
#: A sweep that has nothing to do reads the rows of workers, sweep and epoch, and ours is not the only session.
IDLE = 100

night = Saga("costs-a-night", steps=[Sleep(hours=8), step("a")])
asks = Saga("costs-a-signal", steps=[WaitFor("approval", timeout=8 * 3600), step("a")])
asks_twice = Saga(
    "costs-an-early-signal",
    steps=[WaitFor("approval", timeout=8 * 3600), WaitFor("payment", timeout=8 * 3600), step("a")],
)
parents = Saga("costs-a-child", steps=[Child(night), step("b")])
holds = Saga("costs-a-lock", steps=[WaitFor("approval", timeout=8 * 3600), step("a")], locks=["account:{account}"])


@dataclass(frozen=True)
class Read:
    """What the sessions of a database have read of the library's tables."""

    rows: int
    blocks: int


def read_by(shop: Shop, work: Callable[[], object]) -> Read:
    before = counters(shop)
    work()
    after = counters(shop)
    return Read(after.rows - before.rows, after.blocks - before.blocks)


def counters(shop: Shop) -> Read:
    # Sequential scans count every row that they pass, index scans what they fetch.
    rows = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables WHERE schemaname = 'sagas'"
    blocks = (
        "SELECT sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit + idx_blks_read, 0)) "
        "FROM pg_statio_user_tables WHERE schemaname = 'sagas'"
    )
    # The library's own session, which the sweep has used, tells what it has read so far.
    with shop.sagas.engine.store.database.autocommit() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        connection.execute(text("SELECT pg_stat_clear_snapshot()"))
        return Read(int(connection.scalar(text(rows)) or 0), int(connection.scalar(text(blocks)) or 0))


def copies(shop: Shop, run: SagaHandle, *, resource: str = "one.resource || number") -> None:
    """As many more of this instance, with all that belongs to it."""
    for table, column, further in (
        ("saga_instance", "id", ", 'key', NULL"),
        ("saga_step", "instance_id", ""),
        ("saga_lock", "instance_id", f", 'resource', {resource}"),
    ):
        changes = f"jsonb_build_object('{column}', md5(one.{column}::text || number)::uuid{further})"
        copy_rows(shop.database_url, table, MANY, changes, f"one.{column} = %s", str(run.id))
    journal.query(
        shop.database_url,
        "INSERT INTO sagas.saga_inbox (instance_id, kind, name, seen_at) "
        "SELECT md5(instance_id::text || copy)::uuid, kind, name, seen_at "
        f"FROM sagas.saga_inbox, generate_series(1, {MANY}) AS copy WHERE instance_id = %s AND consumed_at IS NULL",
        str(run.id),
    )
    assert journal.query(shop.database_url, "SELECT count(*) > %s FROM sagas.saga_instance", MANY) == [(True,)]


def analyze(shop: Shop) -> None:
    """As autovacuum does, in its own time."""
    for table in ("saga_instance", "saga_step", "saga_lock", "saga_inbox"):
        journal.query(shop.database_url, f"VACUUM (ANALYZE) sagas.{table}")


def five_due(shop: Shop) -> list[UUID]:
    """Something to do for a sweep: steps whose messages are lost."""
    runs = [shop.start(shapes.sleepy) for _ in range(5)]
    journal.query(
        shop.database_url,
        "UPDATE sagas.saga_step SET dispatched_at = NULL WHERE instance_id = ANY (%s::uuid[])",
        [str(run.id) for run in runs],
    )
    journal.query(
        shop.database_url,
        "UPDATE sagas.saga_instance SET due_at = clock_timestamp() WHERE id = ANY (%s::uuid[])",
        [str(run.id) for run in runs],
    )
    return [run.id for run in runs]


def sleeping(shop: Shop) -> SagaHandle:
    return shop.start(night)


def waiting(shop: Shop) -> SagaHandle:
    return shop.start(asks)


def waiting_with_an_early_signal(shop: Shop) -> SagaHandle:
    run = shop.start(asks_twice)
    run.signal("payment")
    return run


def waiting_for_a_child(shop: Shop) -> SagaHandle:
    return shop.start(parents)


def waiting_with_a_lock(shop: Shop) -> SagaHandle:
    return shop.sagas.start(holds, {"script": {}, "account": "7/"})


@pytest.mark.parametrize(
    "one",
    [sleeping, waiting, waiting_with_an_early_signal, waiting_for_a_child, waiting_with_a_lock],
    ids=lambda one: one.__name__,
)
def test_a_sweep_reads_what_is_due_and_not_those_who_wait(shop: Shop, one: Callable[[Shop], SagaHandle]) -> None:
    # Given: what a sweep reads that has five to send, beside one that waits
    run = one(shop)
    assert run.steps[0].status is StepStatus.PENDING
    assert run.steps[0].started_at is not None
    analyze(shop)
    five_due(shop)
    while shop.sagas.sweep():  # a broker that is slow to answer leaves some for the next pass
        pass
    five_due(shop)
    alone = swept(shop, 5)

    # When: very many wait
    copies(shop, run)
    analyze(shop)
    five_due(shop)
    beside_many = swept(shop, 5)
    idle = swept(shop, 0)

    # Then
    assert beside_many.rows < alone.rows + IDLE, (alone, beside_many)
    assert beside_many.blocks < alone.blocks * DEEPER, (alone, beside_many)
    assert idle.rows < IDLE, idle


def swept(shop: Shop, moves: int) -> Read:
    moved: list[int] = []
    read = read_by(shop, lambda: moved.append(shop.sagas.sweep()))
    assert moved == [moves]
    return read


def test_a_sweep_does_not_read_the_line_in_front_of_a_lock(shop: Shop) -> None:
    # Given: one that holds a resource, and one in line for it
    waiting_with_a_lock(shop)
    in_line = waiting_with_a_lock(shop)
    assert in_line.steps[0].started_at is None
    analyze(shop)
    swept(shop, 0)
    alone = swept(shop, 0)

    # When: the line is long
    copies(shop, in_line, resource="one.resource")
    analyze(shop)
    beside_many = swept(shop, 0)

    # Then
    assert beside_many.rows < alone.rows + IDLE, (alone, beside_many)
    assert beside_many.blocks < alone.blocks * DEEPER, (alone, beside_many)
