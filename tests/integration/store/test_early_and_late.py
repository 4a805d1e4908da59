"""Events whose run is not there yet, or not any more (V16), and what a purge takes and leaves (V17)."""

import re
from datetime import timedelta
from uuid import UUID

import pytest

from sagas.handle.letter_pages import after_events
from sagas.model import Address, SagaStatus
from sagas.model.choreography import ChoreographyPlan, IfDead
from sagas.model.choreography.events import LetterSkipped
from sagas.model.choreography.state import Delivery
from sagas.store import NewRun, letter_statements, purge_statements, run_id_of
from sagas.store.purging import BEGINNING
from sagas.store.runs import IntendedRun
from tests.integration.store.test_runs import LINE, RESERVE, STREAM, numbers
from tests.support.bench import PLACED, Background, Bench
from tests.support.runs import RunBench, event
from tests.unit.model.choreography.graphs import graph, handler


@pytest.fixture
def runs(bench: Bench) -> RunBench:
    return RunBench(bench.store)


WAITED_LONG = "UPDATE {s}.saga_inbox SET early_until = clock_timestamp() WHERE instance_id = %s"


def test_v16_an_event_whose_run_does_not_come_is_a_letter_after_its_time_and_never_dropped(
    runs: RunBench, bench: Bench
) -> None:
    letters, run = bench.store.letters, run_id_of(STREAM.name, "order-42")
    runs.publish(run, "B", intended=IntendedRun(choreography=STREAM.name, key="order-42", early_for=3600.0))
    bench.store.instances.inbox.forget(run)
    assert (letters.bury_early(10), bench.store.sweeping.look_around().has_early) == ([], False)

    bench.sql(WAITED_LONG, run)
    assert bench.store.sweeping.look_around().has_early
    (buried,) = letters.bury_early(10)
    assert (buried.choreography, buried.run_key, buried.name) == (STREAM.name, "order-42", "B")
    assert letters.bury_early(10) == []
    (letter,) = letters.undelivered(limit=10, choreography=STREAM.name, **after_events(None))
    assert (letter.letter, letter.key, letter.number) == ("early", "order-42", None)

    assert letters.deliver_early(run, letter.event, {"reason": "x"}) == (False, False), "its run is not there"
    runs.start(STREAM, key="order-42")
    assert numbers(bench, run) == [(1, "A")], "a person has to answer it"
    assert letters.deliver_early(run, letter.event, {"reason": "x"}) == (True, True)
    assert letters.deliver_early(run, letter.event, {"reason": "x"}) == (False, True)
    runs.look(run)

    assert numbers(bench, run) == [(1, "A"), (2, "B")]
    assert bench.sql("SELECT event FROM {s}.saga_event WHERE instance_id = %s AND event = 'replayed'", run)


def test_an_early_event_of_a_run_that_is_there_by_now_is_numbered_and_no_letter(runs: RunBench, bench: Bench) -> None:
    run = run_id_of(STREAM.name, "order-42")
    runs.publish(run, "B")
    bench.store.instances.inbox.forget(run)
    runs.start(STREAM, key="order-42", looks=False)
    bench.sql(WAITED_LONG, run)

    assert bench.store.letters.bury_early(10) == []
    runs.look(run)

    assert numbers(bench, run) == [(1, "A"), (2, "B")]
    assert not bench.store.sweeping.look_around().has_early


def test_v16_the_sweep_finds_an_early_event_whose_start_died_before_it_looked(runs: RunBench, bench: Bench) -> None:
    run = run_id_of(STREAM.name, "order-42")
    runs.publish(run, "B")
    bench.store.instances.inbox.forget(run)
    new = NewRun(id=run, plan=STREAM, key="order-42", event=event("A"))

    with bench.store.database.autocommit() as connection:
        assert bench.store.runs.begin(connection.scalar, new, PLACED) == [Address(1)]

    assert list(bench.store.instances.inbox.unseen(10)) == [run]


def test_v16_a_run_that_starts_while_its_early_event_becomes_a_letter_has_no_number_without_an_event(
    runs: RunBench, bench: Bench
) -> None:
    """The sweep does not see a start that commits meanwhile, and the look at the run does not see the letter."""
    run = run_id_of(STREAM.name, "order-42")
    runs.publish(run, "B")
    bench.store.instances.inbox.forget(run)
    bench.sql(WAITED_LONG, run)
    sweep = bench.driver()
    sweep.autocommit = False
    sweep.cursor().execute(letter_statements.BURY_EARLY.replace("{s}", "sagas").replace(":limit", "10"))

    start = Background(lambda: runs.start(STREAM, key="order-42"))
    bench.wait_for_lock_waiters(1)
    sweep.commit()
    start.join()

    assert numbers(bench, run) == [(1, "A")]
    assert [row.address.position for row in runs.state(run).steps] == [1]
    assert bench.sql("SELECT numbered FROM {s}.saga_instance") == [(1,)]


def test_an_early_letter_that_was_dealt_with_goes_with_the_next_purge(runs: RunBench, bench: Bench) -> None:
    run = run_id_of(STREAM.name, "order-42")
    runs.publish(run, "B")
    bench.store.instances.inbox.forget(run)
    bench.sql(WAITED_LONG, run)
    (buried,) = bench.store.letters.bury_early(10)
    assert bench.store.purging.forget_mail(bench.store.purging.cut_off(timedelta(0)), 10) == 0

    assert bench.store.letters.acknowledge(run, buried.event_id, {})
    assert not bench.store.letters.acknowledge(run, buried.event_id, {})

    assert bench.store.purging.forget_mail(bench.store.purging.cut_off(timedelta(0)), 10) == 1


def test_a_purge_takes_the_events_with_their_run_and_leaves_a_run_with_a_letter(runs: RunBench, bench: Bench) -> None:
    whole, late = (runs.start(LINE) for _ in range(2))
    for run in (whole, late):
        while runs.works(run, LINE, lambda address: ("B",) if address.branch == RESERVE else ("C",)):
            pass
    runs.publish(late, "B")
    assert runs.state(late).status is SagaStatus.COMPLETED

    bench.sql("UPDATE {s}.saga_instance SET finished_at = finished_at - interval '1 day'")
    before = bench.store.purging.cut_off(timedelta(hours=1))
    bench.store.purging.oldest(before, after=BEGINNING, keep_keys=False, limit=10)

    assert bench.sql("SELECT id::text FROM {s}.saga_instance") == [(str(late),)]
    assert bench.sql("SELECT count(*) FROM {s}.saga_inbox WHERE instance_id = %s", whole) == [(0,)]


def purge(bench: Bench, *, keep_keys: bool = False) -> int:
    """Purge what has ended, as if that had been a day ago."""
    bench.sql("UPDATE {s}.saga_instance SET finished_at = finished_at - interval '1 day' WHERE finished_at IS NOT NULL")
    before = bench.store.purging.cut_off(timedelta(hours=1))
    return bench.store.purging.oldest(before, after=BEGINNING, keep_keys=keep_keys, limit=10).count


def ended(runs: RunBench, plan: ChoreographyPlan = LINE, *, key: str | None = None) -> UUID:
    run = runs.start(plan, key=key)
    while runs.works(run, plan, lambda address: ("B",) if address.branch == RESERVE else ("C",)):
        pass
    assert runs.state(run).status is SagaStatus.COMPLETED
    return run


@pytest.mark.parametrize("keep_keys", [False, True])
def test_v16_a_purged_key_leaves_a_tombstone_that_tells_what_comes_late(
    runs: RunBench, bench: Bench, keep_keys: bool
) -> None:
    run = ended(runs, key="order-42")

    assert [purge(bench, keep_keys=keep_keys) for _ in range(2)] == [1, 0]

    left = "(SELECT count(*) FROM {s}.saga_step) + (SELECT count(*) FROM {s}.saga_inbox)"
    assert bench.sql(f"SELECT {left}") == [(0,)]
    assert runs.start(LINE, key="order-42") == run
    assert bench.sql("SELECT status FROM {s}.saga_instance") == [("completed",)], "nothing is started anew"
    runs.publish(run, "B")
    (letter,) = bench.store.letters.undelivered(limit=10, **after_events(None))
    assert (letter.letter, letter.key, letter.number) == ("late", "order-42", 4)
    assert runs.state(run).status is SagaStatus.COMPLETED
    bench.sql("UPDATE {s}.saga_instance SET finished_at = finished_at - interval '400 days'")
    assert purge(bench) == 0, "no person has looked at it"

    assert bench.store.letters.acknowledge(run, letter.event, {})
    assert purge(bench, keep_keys=True) == 0
    assert bench.store.purging.forget_mail(bench.store.purging.cut_off(timedelta(0)), 10) == 1
    assert (purge(bench), bench.sql("SELECT id FROM {s}.saga_instance")) == (1, [])


def test_v17_a_run_with_a_letter_that_no_person_has_answered_is_not_purged(runs: RunBench, bench: Bench) -> None:
    plan = graph(handler("one", "A", if_dead=IfDead.SKIP), handler("two", "A", publishes=("E",)), ends=("E",))
    run = runs.start(plan)
    one = next(row.address for row in runs.state(run).steps if row.name == "one")
    token = runs.claim(run, one, "tasks.one")
    assert token is not None
    runs.fails(run, one, token)
    while runs.works(run, plan, lambda address: ("E",)):
        pass
    assert runs.state(run).status is SagaStatus.COMPLETED, "the letter let it pass"

    assert purge(bench) == 0
    (row,) = (row for row in runs.state(run).steps if row.address == one)
    assert isinstance(row, Delivery)
    assert row.dead_at is not None
    runs.happens(run, LetterSkipped(address=one, seen=row.dead_at, reason="told by phone"))

    assert purge(bench) == 1


@pytest.mark.parametrize("key", [None, "order-42"])
def test_v17_an_event_that_is_committed_while_its_run_is_purged_is_kept(
    runs: RunBench, bench: Bench, key: str | None
) -> None:
    run = ended(runs, key=key)

    with bench.before("WITH mail AS", lambda: runs.publish(run, "B", looks=False, key="psp-77")):
        assert purge(bench) == 1
    runs.look(run)

    assert bench.sql("SELECT name, letter FROM {s}.saga_inbox") == [("B", "late" if key else None)]


def test_v17_a_letter_that_comes_before_the_lock_of_a_purge_is_seen_by_it(runs: RunBench, bench: Bench) -> None:
    """What is picked was looked at before it was locked: the look at the members comes after that."""
    run = ended(runs)
    runs.publish(run, "B")
    parameters = {"ids": [str(run)], "before": "infinity", "keep_keys": False}
    look = re.sub(r"(?<!:):([a-z]\w*)", r"%(\1)s", purge_statements.LOOK_AT_MEMBERS).replace("{s}", "sagas")
    cursor = bench.driver().cursor()

    cursor.execute(look, parameters)
    assert [is_over for *_, is_over in cursor.fetchall()] == [False]

    bench.sql("UPDATE {s}.saga_inbox SET acknowledged_at = clock_timestamp() WHERE letter IS NOT NULL")
    cursor.execute(look, parameters)
    assert [is_over for *_, is_over in cursor.fetchall()] == [True]
