"""B8: no statement of recovery reads or moves all of a backlog. PostgreSQL's own plan of each is read, not its text."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, text

from config.servers import EmbeddedPostgres
from sagas.recovery import filling
from sagas.store import (
    letter_statements,
    line_statements,
    loop_statements,
    run_statements,
    sweep_statements,
    wake_statements,
)
from sagas.store.neighbour_statements import FORGET_INBOX, PICK_ENDED_HOLDERS, PICK_UNSEEN
from tests.conftest import GivenPostgres
from tests.support.bench import bench_on

#: What grows with the sagas in flight, or with those that have ended, or with the workers that ever were.
GROWING = ("saga_instance", "saga_step", "saga_inbox", "saga_event", "saga_lock", "saga_record", "saga_worker")
#: Rows that are found by these are those of one instance, or of one worker.
KEYS = ("(id = ", "(instance_id = ")
#: A nested loop reads only what it needs. With the few rows of a test, other plans look cheaper.
BY_INDEX = "; ".join(f"SET enable_{how} = off" for how in ("hashjoin", "mergejoin", "seqscan", "bitmapscan"))
#: A backlog: some run, some are out, some stand in a line, some sleep; with mail, locks and a history.
BACKLOG = """
INSERT INTO {s}.saga_instance (id, saga, version, plan, plan_hash, data, due_at)
SELECT gen_random_uuid(), 'order', 1, '{}', 'x', '{}', now() + make_interval(secs => number)
FROM generate_series(1, 6000) AS number;
INSERT INTO {s}.saga_step (instance_id, position, branch, round, name, task, queue, timeout, status, token, claimed_at,
                           finished_at, line, not_before)
SELECT id, position, 0, 0, 'step', CASE WHEN kind < 5 OR position = 0 THEN 'do' END, 'queue ' || kind % 3, 60,
       CASE WHEN position = 0 THEN 'completed' WHEN kind = 0 THEN 'running' ELSE 'pending' END, gen_random_uuid(),
       now(), CASE WHEN position = 0 THEN now() END, CASE WHEN position = 1 AND kind IN (1, 2) THEN '' END,
       CASE WHEN kind = 5 THEN now() END
FROM (SELECT id, row_number() OVER () % 6 AS kind FROM {s}.saga_instance) AS one, generate_series(0, 1) AS position;
INSERT INTO {s}.saga_inbox (instance_id, kind) SELECT id, 'wake' FROM {s}.saga_instance;
INSERT INTO {s}.saga_lock (resource, instance_id) SELECT 'lock ' || id, id FROM {s}.saga_instance;
INSERT INTO {s}.saga_event (instance_id, event) SELECT id, 'sweep_failed' FROM {s}.saga_instance;
INSERT INTO {s}.saga_worker (id, hostname, pid, queues, deliveries, listed_at, dead_at)
SELECT gen_random_uuid(), 'host', number, '{}', '{}', now(), CASE WHEN number > 50 THEN now() END
FROM generate_series(1, 3000) AS number;
"""
#: What has to read all of its input before it has its first row.
READ_ALL = ("Aggregate", "Sort", "WindowAgg", "Hash")
#: Parts of statements.
PARTS = ("UNCLAIMED", "LINE_OF", "LEASE_HELD", "HOLDER", "HAS_ALARMS", "IS_EARLY_TOO_LONG")
#: A value of each parameter.
GIVEN: dict[str, Any] = {
    **dict.fromkeys(("id", "me"), uuid4()),
    **dict.fromkeys(("position", "branch", "round"), 0),
    **dict.fromkeys(("limit", "most", "grace", "slots", "pid"), 5),
    **dict.fromkeys(("lease", "hold", "often", "lately", "outage", "silence", "alarm_pause"), timedelta(seconds=4)),
    **dict.fromkeys(("lease_name", "queue", "hostname", "release"), "sagas"),
    **{name: ["a"] for name in ("known_plans", "queues", "deliveries", "kept", "sleeping", "plans", "names", "tasks")},
    **{name: [0] for name in ("after", "branches", "lanes")},
    **{name: [1.0] for name in ("timeouts", "soft_timeouts")},
    "synced_claims": [False],
    **dict.fromkeys(("idle", "is_unreadable"), False),
    "ids": [uuid4()],
    **dict.fromkeys(("detail", "closed", "came", "payload", "reason"), "{}"),
    **dict.fromkeys(("steps", "notes"), "[]"),
    **dict.fromkeys(("error", "stop", "written", "letter", "caused_by", "cause"), None),
    **dict.fromkeys(("deadline", "due_at", "finished_at", "turned_at", "quiet_from", "quiet_at"), None),
    **dict.fromkeys(("pending", "numbered", "ended_by", "number", "version", "depth"), 1),
    **dict.fromkeys(("status", "loaded", "starts", "type", "by"), "running"),
    **dict.fromkeys(("whole", "is_over"), True),
    **dict.fromkeys(("run_id", "event_id"), uuid4()),
    **{name: ["late"] for name in ("letters", "fields")},
    **{name: [0] for name in ("rows", "numbers")},
    "listed_at": datetime.now(UTC),
}


#: The package's `sweep` is a function.
sweeping = import_module("sagas.recovery.sweep")


def statements_of(module: ModuleType) -> dict[str, str]:
    """The named statements that a module has."""
    named = {name: value for name, value in vars(module).items() if name.isupper() and name not in PARTS}
    return {name: value for name, value in named.items() if isinstance(value, str)}


STATEMENTS = {
    **statements_of(line_statements),
    **statements_of(sweep_statements),
    **statements_of(wake_statements),
    "PICK_UNSEEN": PICK_UNSEEN,
    "PICK_ENDED_HOLDERS": PICK_ENDED_HOLDERS,
    "FORGET_INBOX": FORGET_INBOX,
    "BURY_EARLY": letter_statements.BURY_EARLY,
    # What a look at an instance, and at a run, reads and writes.
    **{name: getattr(loop_statements, name) for name in ("LOCK_INSTANCE", "LOAD", "SAVE")},
    **{
        name: getattr(run_statements, name)
        for name in (
            "LOAD_ARRIVED",
            "LOAD_FIRST",
            "LOAD_DONE",
            "LOAD_LATE",
            "ANSWER_LATE",
            "NUMBER",
            "RECORD",
            "SAVE_RUN",
        )
    },
}
#: What is not limited, and why that is right.
FLEET = "it has to see every worker that is alive; those that are gone are deleted a week later, a batch at a time"
EXCEPT = {
    ("LOOK_AT_QUEUES", "saga_worker"): FLEET,
    ("PUT_LOST_BACK", "saga_worker"): FLEET,
    ("LOOK_AROUND", "saga_worker"): FLEET,
    ("DECLARE_DEAD_WORKERS", "saga_worker"): FLEET,
    ("OF_OTHER_RELEASES", "saga_worker"): FLEET,
    ("LOAD", "saga_instance"): "the children of one saga, which are as many as its plan has",
    ("PICK_LOST", "saga_step"): "it reads all that is claimed or sent, and rests a hundred times as long as that took",
}


@pytest.fixture(scope="module")
def planner(postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[Connection]:
    """A session of a database with a backlog, whose plans are those of one that is a hundred times as long."""
    with bench_on(postgres.create_database("full_of_backlog")) as bench:
        bench.sql(BACKLOG.replace("%", "%"))
        bench.sql("ANALYZE")
        with bench.store.database.engine.connect() as connection:
            connection.detach()
            connection.exec_driver_sql(BY_INDEX)
            yield connection


def plan_of(planner: Connection, statement: str) -> dict[str, Any]:
    explained = text("EXPLAIN (VERBOSE, FORMAT JSON) " + statement.replace("{s}", "sagas"))
    (plan,) = planner.scalar(explained, {name: GIVEN[name] for name in explained.compile().params})
    found: dict[str, Any] = plan["Plan"]
    return found


def unlimited(node: dict[str, Any], *, limited: bool = False) -> Iterator[str]:
    """The growing tables of which this part of a plan may read any number of rows."""
    kind, table = node["Node Type"], node.get("Relation Name")
    limited = kind not in READ_ALL and (limited or kind == "Limit" or asks_for_one(node))
    found_by = node.get("Index Cond", "") + node.get("Recheck Cond", "")
    if table in GROWING and kind.endswith("Scan") and not limited and not is_keyed(found_by):
        yield f"{table} by {found_by or 'no index'}"
    for part in node.get("Plans", ()):
        yield from unlimited(part, limited=limited)


def asks_for_one(node: dict[str, Any]) -> bool:
    """Whether it is a subquery whose first row is all that is asked for: that of EXISTS, say."""
    is_query = node.get("Parent Relationship") in ("InitPlan", "SubPlan")
    return is_query and not node.get("Subplan Name", "").startswith("CTE")


def is_keyed(condition: str) -> bool:
    return any(f"{before}{key[1:]}" in condition for key in KEYS for before in ("(", "."))


@pytest.mark.parametrize("name", STATEMENTS)
def test_b8_no_statement_of_recovery_is_without_a_limit(planner: Connection, name: str) -> None:
    read = unlimited(plan_of(planner, STATEMENTS[name]))
    found = {scan for scan in read if (name, scan.split()[0]) not in EXCEPT}

    assert not found, f"{name} may read any number of rows of {found}"


def test_b8_batches_are_small() -> None:
    assert max(filling.BATCH, filling.AT_A_TIME, sweeping.BATCH, sweeping.WOKEN_AT_ONCE) <= 500


UNLIMITED = {
    "all that is due": "UPDATE {s}.saga_instance SET due_at = due_at WHERE due_at <= clock_timestamp()",
    "a part of it, but of all": "SELECT count(*) FROM {s}.saga_step WHERE finished_at IS NULL AND task IS NOT NULL",
    "all of it for each one": "WITH one AS (SELECT id FROM {s}.saga_instance ORDER BY id LIMIT 1) "
    "UPDATE {s}.saga_step AS step SET line = NULL FROM one WHERE step.queue = CAST(one.id AS text)",
    "a limit that comes too late": "SELECT (SELECT count(*) FROM {s}.saga_inbox) FROM {s}.saga_lease LIMIT 1",
}


@pytest.mark.parametrize("statement", UNLIMITED.values(), ids=UNLIMITED)
def test_b8_a_statement_without_a_limit_is_found(planner: Connection, statement: str) -> None:
    assert list(unlimited(plan_of(planner, statement)))
