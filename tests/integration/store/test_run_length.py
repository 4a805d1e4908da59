"""V14: what happens to a run costs the same, however many events it has had: rows are counted where they are read."""

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from sagas.model import Address
from sagas.store import Store
from tests.support.bench import Bench
from tests.support.runs import RunBench
from tests.unit.model.choreography.graphs import graph, handler

HANDLERS = ("one", "three", "two")
PLAN = graph(*(handler(name, ("A", "B"), publishes=("B",)) for name in HANDLERS), ends=("E",))
EVENTS = 1_000
#: So many events that three handlers have had, after the first one.
LENGTHEN = """
INSERT INTO {s}.saga_inbox (instance_id, kind, name, payload, event_id, version, number, seen_at, consumed_at)
SELECT %s, 'event', 'B', '{}', gen_random_uuid(), 1, number, now(), now() FROM generate_series(2, %s) AS number;
INSERT INTO {s}.saga_step (instance_id, position, branch, round, name, task, queue, timeout, status, token, attempts,
                           claimed_at, first_claimed_at, finished_at, event_id)
SELECT instance_id, number, place, 0, 'one', 'tasks.one', 'celery', 60, 'completed', gen_random_uuid(), 1, now(), now(),
       now(), event_id
FROM {s}.saga_inbox, generate_series(0, 2) AS place WHERE instance_id = %s AND number > 1;
UPDATE {s}.saga_instance SET numbered = %s WHERE id = %s;
ANALYZE;
"""
READ = """
SELECT (SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables WHERE schemaname = 'sagas')
     + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE schemaname = 'sagas')
"""


class Reads:
    """How many rows, and entries of indexes, the only session of a store has read."""

    def __init__(self, store: Store) -> None:
        self._database = store.database

    def now(self) -> int:
        with self._database.autocommit() as connection:
            connection.execute(text("SELECT pg_stat_force_next_flush()"))
            connection.execute(text("SELECT pg_stat_clear_snapshot()"))
            return int(connection.scalar(text(READ)))

    def of(self, work: Callable[[], object]) -> int:
        before = self.now()
        assert work()
        return self.now() - before


@pytest.fixture
def runs(bench: Bench) -> RunBench:
    return RunBench(bench.store)


def what_happens(runs: RunBench, run: UUID) -> dict[str, int]:
    """Everything that happens to a run again and again, with the rows that it reads."""
    reads = Reads(runs.store)
    number = runs.state(run).numbered
    read = {"publish and look": reads.of(lambda: runs.publish(run, "B"))}
    one, three, two = (Address(number + 1, place) for place in range(len(HANDLERS)))
    tokens = {address: uuid4() for address in (one, three, two)}
    read["claim"] = reads.of(lambda: runs.claim(run, one, "tasks.one", tokens[one]))
    for address, name in ((three, "three"), (two, "two")):
        assert runs.claim(run, address, f"tasks.{name}", tokens[address])
    read["end by the statement"] = reads.of(lambda: runs.reaches(run, runs.handled(one, tokens[one], "B")))
    read["end by the loop"] = reads.of(lambda: runs.happens(run, runs.handled(three, tokens[three])))
    read["failure"] = reads.of(lambda: runs.fails(run, two, tokens[two]))
    read["look"] = reads.of(lambda: runs.look(run))
    return read


def test_v14_whatever_happens_reads_as_much_of_a_long_run_as_of_a_short_one(runs: RunBench, bench: Bench) -> None:
    first, short, long = (runs.start(PLAN) for _ in range(3))
    for run in (first, short, long):
        while runs.works(run, PLAN, lambda _: ()):
            pass
    bench.sql(LENGTHEN, long, EVENTS, long, EVENTS, long)
    what_happens(runs, first)  # a session plans what it does for the first time

    of_the_long = what_happens(runs, long)
    of_the_short = what_happens(runs, short)

    assert runs.state(long).numbered == EVENTS + 2
    more = {what: (read, of_the_short[what]) for what, read in of_the_long.items() if read > of_the_short[what] + 10}
    assert not more, "rows read of the long run, and of the short one"
