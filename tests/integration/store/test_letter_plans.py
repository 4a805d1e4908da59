"""Dead letters and the samples of `check` stay fast: pages and versions are found by indexes, however much there is."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from config.servers import EmbeddedPostgres
from sagas.handle.letter_pages import GREATEST, Place, after_deliveries, after_events
from sagas.store import letter_statements, run_statements
from sagas.store.letters import FILTERS
from tests.conftest import GivenPostgres
from tests.support.bench import Bench, bench_on
from tests.support.query_plans import read, scans

#: Runs with five events each, of which every second run has a delivery that was given up; and versions of each type.
RUNS, VERSIONS, PAGE = 4_000, 3, 50
FILL = """
INSERT INTO {s}.saga_instance (id, saga, version, plan, plan_hash, data, numbered, closed, due_at)
SELECT gen_random_uuid(), CASE WHEN number % 1000 = 7 THEN 'rare' ELSE 'order' END, 1, '{}', 'x', '{}', 5, '{}', now()
FROM generate_series(1, 4000) AS number;
INSERT INTO {s}.saga_inbox (instance_id, kind, name, payload, event_id, version, number, seen_at, consumed_at, letter)
SELECT id, 'event', 'Event' || number, '{}', gen_random_uuid(), 1 + (row_number() OVER ()) % 3, number, now(),
       now() - make_interval(secs => (row_number() OVER ())), CASE WHEN number = 5 THEN 'late' END
FROM {s}.saga_instance, generate_series(1, 5) AS number;
INSERT INTO {s}.saga_step (instance_id, position, branch, round, name, task, queue, timeout, status, token, claimed_at,
                           finished_at, event_id, dead_at, error)
SELECT instance_id, number, 0, 0, CASE WHEN n % 500 = 0 THEN 'charge' ELSE 'ship' END, 'do', 'celery', 60,
       CASE WHEN is_dead THEN 'failed' ELSE 'completed' END, gen_random_uuid(), now(), now(), event_id,
       CASE WHEN is_dead THEN now() - make_interval(secs => n) END, CASE WHEN is_dead THEN '{"type": "X"}'::jsonb END
FROM (SELECT *, row_number() OVER () AS n, number = 2 AND id % 2 = 0 AS is_dead FROM {s}.saga_inbox) AS event;
"""
NOTHING = dict.fromkeys(FILTERS)


@pytest.fixture(scope="module")
def full(postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[Bench]:
    with bench_on(postgres.create_database("full_of_letters")) as bench:
        bench.sql(FILL)
        bench.sql("VACUUM ANALYZE {s}.saga_instance, {s}.saga_step, {s}.saga_inbox")
        yield bench


def scans_of(bench: Bench, statement: str, **given: Any) -> list[dict[str, Any]]:
    explained = text("EXPLAIN (ANALYZE, FORMAT JSON) " + statement.replace("{s}", "sagas"))
    with bench.store.database.autocommit() as connection:
        (plan,) = connection.scalar(explained, given)
    return list(scans(plan["Plan"]))


FIRST, LATER = None, Place(datetime.now(UTC) - timedelta(hours=1), False, GREATEST)
PAGES: dict[str, tuple[Place | None, dict[str, Any], str]] = {
    "the first page": (FIRST, {}, "saga_step_dead"),
    "a later page": (LATER, {}, "saga_step_dead"),
    "of a handler": (FIRST, {"handler": "charge"}, "saga_step_dead_of"),
    "a later page of a handler": (
        LATER,
        {"handler": "ship"},
        "saga_step_dead",
    ),  # nearly all are of it: by either index
    "of an error": (LATER, {"error": "X"}, "saga_step_dead"),
    "older": (FIRST, {"older_than": timedelta(minutes=30)}, "saga_step_dead"),
}


@pytest.mark.parametrize(("place", "filters", "index"), PAGES.values(), ids=PAGES)
def test_a_page_of_dead_letters_is_found_by_an_index_and_reads_little(
    full: Bench, place: Place | None, filters: dict[str, Any], index: str
) -> None:
    asked = {**NOTHING, **filters, **after_deliveries(place), "limit": PAGE}

    found = scans_of(full, letter_statements.DEAD, **asked)

    assert any(scan.get("Index Name", "").startswith(index) for scan in found)
    assert "Seq Scan" not in {scan["Node Type"] for scan in found}
    assert sum(map(read, found)) <= 10 * PAGE


@pytest.mark.parametrize("place", [FIRST, LATER], ids=["the first page", "a later page"])
def test_a_page_of_events_without_a_handler_is_found_by_an_index_and_reads_little(
    full: Bench, place: Place | None
) -> None:
    asked = {**NOTHING, **after_events(place), "limit": PAGE}

    found = scans_of(full, letter_statements.UNDELIVERED, **asked)

    assert "saga_inbox_undelivered" in {scan.get("Index Name") for scan in found}
    assert sum(map(read, found)) <= 10 * PAGE


def test_the_letters_of_a_run_are_found_by_the_run(full: Bench) -> None:
    ((run,),) = full.sql("SELECT instance_id::text FROM {s}.saga_step WHERE dead_at IS NOT NULL LIMIT 1")
    asked = {**NOTHING, "run": run, "limit": PAGE}

    dead = scans_of(full, letter_statements.DEAD, **asked, **after_deliveries(FIRST))
    undelivered = scans_of(full, letter_statements.UNDELIVERED, **asked, **after_events(FIRST))

    assert sum(map(read, [*dead, *undelivered])) <= 20


def test_the_newest_event_of_each_version_is_found_without_reading_the_inbox(full: Bench) -> None:
    found = scans_of(full, run_statements.SAMPLES)

    assert len(full.store.runs.samples()) == 5 * VERSIONS
    assert "saga_inbox_type" in {scan.get("Index Name") for scan in found}
    assert sum(map(read, found)) <= 10 * 5 * VERSIONS
