"""Lists stay fast: with the statistics of ten million rows each filter is answered by indexes."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from config.servers import EmbeddedPostgres
from sagas.model import SagaStatus
from sagas.store import Filters
from tests.conftest import GivenPostgres
from tests.support.bench import Bench, bench_on
from tests.support.query_plans import read, scans

#: As many sagas as there really are, and as PostgreSQL takes them to be.
REALLY, TAKEN_FOR = 20_000, 10_000_000
#: Of a busy shop: one in a hundred has turned back, one in a thousand has failed, the last few are in flight.
FILL = """
INSERT INTO {s}.saga_instance (id, saga, version, key, current, status, plan, plan_hash, data, pending, error, due_at,
                               created_at, finished_at)
SELECT gen_random_uuid(), CASE WHEN number %% 1000 = 7 THEN 'rare' WHEN number %% 50 = 0 THEN 'refund' ELSE 'order' END,
       1, 'order-' || number, number %% 500 <> 3, status, '{}', 'x', '{}', 0,
       CASE WHEN status IN ('failed', 'compensated') THEN jsonb_build_object(
            'type', 'shop.errors.Refused', 'message', 'no piano ' || number) END,
       CASE WHEN status IN ('pending', 'running', 'compensating') THEN now() + interval '1 hour' END,
       now() - make_interval(mins => %(really)s - number),
       CASE WHEN status NOT IN ('pending', 'running', 'compensating') THEN now() END
FROM generate_series(1, %(really)s) AS number CROSS JOIN LATERAL (SELECT CASE
    WHEN number > %(really)s - 20 THEN 'pending' WHEN number > %(really)s - 40 THEN 'running'
    WHEN number > %(really)s - 45 THEN 'compensating' WHEN number %% 1000 = 1 THEN 'failed'
    WHEN number %% 100 = 2 THEN 'compensated' ELSE 'completed' END AS status) AS as_it_ends;
INSERT INTO {s}.saga_step (instance_id, position, branch, round, name, task, queue, timeout, status, token, claimed_at,
                           first_claimed_at, finished_at)
SELECT id, position, 0, 0, name, CASE WHEN name <> 'approval' THEN 'shop.' || name END, 'celery', 60,
       CASE WHEN due_at IS NOT NULL AND position = 2 THEN 'pending'
            WHEN instance.status = 'failed' AND position = 2 THEN 'failed' ELSE 'completed' END,
       gen_random_uuid(), now(), now(), CASE WHEN due_at IS NULL OR position < 2 THEN now() END
FROM {s}.saga_instance AS instance CROSS JOIN LATERAL (VALUES (0, 'reserve'), (1, 'charge'),
    (2, CASE WHEN saga = 'refund' THEN 'approval' ELSE 'ship' END)) AS step (position, name);
"""
#: Without more pages, in which a scan of them all only looks cheaper than it would be.
MAGNIFY = """
SELECT pg_restore_relation_stats('schemaname', 'sagas', 'relname', relname::text, 'relpages', relpages,
                                 'reltuples', (reltuples * %s)::real)
FROM pg_class WHERE relnamespace = 'sagas'::regnamespace AND relname ~ '^saga_(instance|step)' AND reltuples > 0
"""


@pytest.fixture(scope="module")
def full(postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[Bench]:
    with bench_on(postgres.create_database("full_of_sagas")) as bench:
        for table in ("saga_instance", "saga_step"):
            bench.sql(f"ALTER TABLE {{s}}.{table} SET (autovacuum_enabled = false)")
        cursor = bench.driver().cursor()
        cursor.execute(FILL.replace("{s}", "sagas"), {"really": REALLY})
        cursor.execute("VACUUM ANALYZE sagas.saga_instance, sagas.saga_step")
        cursor.execute(MAGNIFY, [TAKEN_FOR / REALLY])
        yield bench


def plan_of(bench: Bench, filters: Filters, limit: int = 51) -> dict[str, Any]:
    statement, parameters = bench.store.listing.ids(filters, limit)
    ((plan,),) = bench.sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *parameters)
    found: dict[str, Any] = plan[0]["Plan"]
    return found


LISTS: dict[str, tuple[Filters, str]] = {
    "all": (Filters(), "saga_instance_listed"),
    "the next page": (Filters(after=(datetime.now(UTC) - timedelta(days=3), UUID(int=0))), "saga_instance_listed"),
    "a saga": (Filters(saga="order"), "saga_instance_listed"),
    "a rare saga": (Filters(saga="rare"), "saga_instance_listed"),
    "a saga that is not there": (Filters(saga="nothing"), "saga_instance_listed"),
    "older": (Filters(older_than=timedelta(days=7)), "saga_instance_listed"),
    "older than all": (Filters(older_than=timedelta(days=70)), "saga_instance_listed"),
    "completed": (Filters(status=SagaStatus.COMPLETED), "saga_instance_listed"),
    "failed": (Filters(status=SagaStatus.FAILED), "saga_instance_setback"),
    "failed, of a saga": (Filters(status=SagaStatus.FAILED, saga="rare"), "saga_instance_setback"),
    "failed, and older": (Filters(status=SagaStatus.FAILED, older_than=timedelta(days=7)), "saga_instance_setback"),
    "compensated": (Filters(status=SagaStatus.COMPENSATED), "saga_instance_setback"),
    "compensating": (Filters(status=SagaStatus.COMPENSATING), "saga_instance_setback"),
    "pending": (Filters(status=SagaStatus.PENDING), "saga_instance_due"),
    "running": (Filters(status=SagaStatus.RUNNING), "saga_instance_due"),
    "running, of a saga": (Filters(status=SagaStatus.RUNNING, saga="rare"), "saga_instance_due"),
    "a key": (Filters(key="order-4711"), "saga_instance_key"),
    "a former key": (Filters(key="order-503"), "saga_instance_former"),
    "a key of a saga": (Filters(key="order-4711", saga="order"), "saga_instance_key"),
    "the beginning of a key": (Filters(text="order-471"), "saga_instance_key"),
    "the beginning of all keys": (Filters(text="order-"), "saga_instance_listed"),
    "a word of few errors": (Filters(text="piano 4002"), "saga_instance_error"),
    "a word of many errors": (Filters(text="piano"), "saga_instance_error"),
    "a word of no error": (Filters(text="unicorn"), "saga_instance_error"),
    "a step that many are at": (Filters(step="ship"), "saga_step_live"),
    "a step that waits": (Filters(step="approval"), "saga_step_waiting"),
    "a step of those failed": (Filters(step="ship", status=SagaStatus.FAILED), "saga_instance_setback"),
    "a person": (Filters(needs_person=True), "saga_instance_setback"),
    "quiet": (Filters(quiet=True), "saga_instance_quiet"),
    "quiet, of one choreography": (Filters(quiet=True, saga="order"), "saga_instance_quiet"),
    "a person, for a saga": (Filters(needs_person=True, saga="order"), "saga_instance_setback"),
}


@pytest.mark.parametrize(("filters", "index"), LISTS.values(), ids=LISTS)
def test_each_filter_is_answered_by_an_index_and_reads_little(full: Bench, filters: Filters, index: str) -> None:
    found = list(scans(plan_of(full, filters)))

    assert [scan for scan in found if scan["Node Type"] == "Seq Scan"] == []
    assert index in {scan.get("Index Name") for scan in found}
    assert sum(map(read, found)) < REALLY / 10


def test_the_admins_long_list_of_a_filter_is_answered_by_an_index_too(full: Bench) -> None:
    for status in (SagaStatus.FAILED, SagaStatus.RUNNING):
        found = list(scans(plan_of(full, Filters(status=status), 10_000)))

        assert [scan for scan in found if scan["Node Type"] == "Seq Scan"] == []
