"""What steps publish is inserted in their own transaction, before their saga is locked, and in one order."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from sagas.engine.outgoing import Outbox, Posted
from sagas.store import BY_A_STEP, NewRun, run_id_of
from tests.support.bench import Background, Bench
from tests.support.runs import event
from tests.unit.model.choreography.graphs import graph, handler

LINE = graph(handler("reserve", "A"), ends=("E",))


def started(key: str) -> Posted:
    new = NewRun.of(LINE, key, event("A", caused_by=f"saga:{key}"), by=BY_A_STEP, beginner=uuid4())
    return Posted(run_id=new.id, event=new.event, starts=new)


def outbox(bench: Bench, keys: Sequence[str]) -> Outbox:
    engine: Any = SimpleNamespace(store=bench.store)
    return Outbox(engine, uuid4(), [started(key) for key in keys])


def test_v22_two_steps_that_start_the_same_runs_do_not_wait_for_each_other_crosswise(bench: Bench) -> None:
    keys = sorted(("one", "two", "three"), key=lambda key: run_id_of(LINE.name, key))
    database = bench.store.database

    def insert(*keys: str) -> None:
        with database.transaction() as connection:
            outbox(bench, keys).insert(connection)

    with database.transaction() as connection:
        outbox(bench, keys[1:2]).insert(connection)  # both have a key, and wait for this one
        one = Background(lambda: insert(*keys))
        bench.wait_for_lock_waiters(1)
        other = Background(lambda: insert(*reversed(keys)))
        bench.wait_for_lock_waiters(2)
        connection.rollback()

    one.join()
    other.join()
    assert bench.sql("SELECT count(*) FROM {s}.saga_instance") == [(3,)]


def test_inserting_again_inserts_nothing_more(bench: Bench) -> None:
    run_id = run_id_of(LINE.name, "one")
    said = started("one")
    box = outbox(bench, ())
    box.posted += [said, Posted(run_id=run_id, event=event("B", caused_by="saga:one"))]

    for _ in range(2):
        with bench.store.database.transaction() as connection:
            box.insert(connection)

    names = bench.sql("SELECT name FROM {s}.saga_inbox WHERE instance_id = %s ORDER BY id", run_id)
    assert names == [("A",), ("B",)]


def test_what_is_begun_by_what_a_step_began_belongs_to_the_same_saga(bench: Bench) -> None:
    runs, kinship = bench.store.runs, bench.store.kinship
    first = NewRun.of(LINE, "first", event("A"))
    second = NewRun.of(LINE, "second", event("A", caused_by="a"), beginner=first.id)
    third = NewRun.of(LINE, "third", event("A", caused_by="b"), beginner=second.id)
    elsewhere = uuid4()
    foreign = NewRun.of(LINE, "foreign", event("A"), beginner=elsewhere)

    with bench.store.database.autocommit() as connection:
        for new in (first, second, third, foreign):
            runs.start(connection.scalar, new)

    assert [kinship.correlation_of(new.id) for new in (first, second, third)] == [first.id] * 3
    assert list(kinship.correlated(first.id)) == [first.id, second.id, third.id]
    assert kinship.correlation_of(foreign.id) == elsewhere
    assert kinship.correlation_of(uuid4()) is None
