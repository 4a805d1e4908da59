"""Sagas that ended long ago, by their rows, and what is left of them after a purge."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from sagas import Saga, SagaHandle, SagaStatus
from sagas.model import Address, ErrorInfo, Failed, Plan, Tick, Verdict
from tests.conftest import Shop
from tests.support import journal, scripted, shapes
from tests.support.bench import Bench
from tests.support.inline import run_messages

HOUR = timedelta(hours=1)
TABLES = ("saga_instance", "saga_step", "saga_event", "saga_inbox")


def completed(shop: Shop, saga: Saga = scripted.three, **options: Any) -> SagaHandle:
    """Make a saga that has just completed."""
    run = shop.start(saga, **options)
    run_messages(shop.sagas.app)
    assert run.status is SagaStatus.COMPLETED
    return run


def compensated(shop: Shop, rows: Bench, **options: Any) -> SagaHandle:
    """Make a saga that was cancelled after its first step."""
    run = shop.start(scripted.three, **options)
    rows.step(run.id, plan_of(run))
    run.cancel("changed mind")
    run_messages(shop.sagas.app)
    assert run.status is SagaStatus.COMPENSATED
    return run


def failed(shop: Shop, rows: Bench, **options: Any) -> SagaHandle:
    """Make a saga whose pivot is in doubt."""
    run = shop.start(scripted.pivoted, **options)
    rows.step(run.id, plan_of(run))
    token, pivot = uuid4(), Address(1)
    assert rows.claim(run.id, pivot, token=token) is not None
    error = ErrorInfo(type="builtins.TimeoutError", message="no answer", step="p")
    rows.apply(run.id, Failed(address=pivot, token=token, error=error, verdict=Verdict.UNKNOWN))
    rows.apply(run.id, Tick())
    assert run.status is SagaStatus.FAILED
    return run


def with_child(shop: Shop) -> tuple[SagaHandle, SagaHandle]:
    """Make a saga and the child that it started, both completed."""
    run = completed(shop, shapes.parent)
    found = "SELECT id FROM sagas.saga_instance WHERE parent_id = %s"
    ((child,),) = journal.query(shop.database_url, found, str(run.id))
    return run, shop.sagas.get(child)


def plan_of(run: SagaHandle) -> Plan:
    return run.snapshot().plan


def grow_old(rows: Bench, *runs: SagaHandle, ended: timedelta = 2 * HOUR) -> None:
    """Make sagas end so much earlier, by their rows."""
    ids = [str(run.id) for run in runs]
    aged = "UPDATE {s}.saga_instance SET created_at = created_at - %s, finished_at = finished_at - %s"
    rows.sql(f"{aged} WHERE id = ANY (%s::uuid[])", ended, ended, ids)


def left_of(rows: Bench, run: SagaHandle) -> dict[str, int]:
    """Return how many rows it has in each table."""
    counted = {}
    for table in TABLES:
        column = "id" if table == "saga_instance" else "instance_id"
        ((counted[table],),) = rows.sql(f"SELECT count(*) FROM {{s}}.{table} WHERE {column} = %s", run.id)
    return {table: count for table, count in counted.items() if count}
