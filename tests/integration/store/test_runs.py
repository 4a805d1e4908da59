"""Events are published without a lock and numbered afterwards; every look at a run releases what is held (V1 to V3)."""

from collections.abc import Iterator
from functools import partial
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, NullPool, create_engine

from sagas.engine.loop import decided
from sagas.errors import PlanChanged
from sagas.model import Address, ExecutionStatus, SagaStatus, Stop, StopKind, StopRequested, Tick
from sagas.model.choreography import EventPlan, FieldPlan
from sagas.model.choreography.state import RunDecision
from sagas.store import IntendedRun, NewRun, Reached, run_id_of, uuid7
from tests.support.bench import PLACED, Background, Bench
from tests.support.runs import RunBench, event
from tests.unit.model.choreography.graphs import graph, handler

LINE = graph(
    handler("reserve", "A", undo="undo.reserve", undo_when=("D",), publishes=("B",)),
    handler("charge", "B", publishes=("C",)),
    ends=("C",),
)
STREAM = graph(handler("one", ("A", "B")), ends=("E",))
BOTH = graph(handler("one", ("A", "B")), handler("two", "A"), ends=("E",))
RESERVE, CHARGE = 1, 0


@pytest.fixture
def runs(bench: Bench) -> RunBench:
    return RunBench(bench.store)


def impatient(bench: Bench) -> Engine:
    """An engine whose transactions raise instead of waiting long for a lock."""
    options = {"options": "-c lock_timeout=3s"}
    return create_engine(bench.store.database.url, poolclass=NullPool, connect_args=options)


@pytest.fixture
def open_transaction(bench: Bench) -> Iterator[Connection]:
    """A caller's transaction that stays open for as long as the test likes."""
    engine = impatient(bench)
    with engine.connect() as connection:
        yield connection
        connection.rollback()


def numbers(bench: Bench, run_id: UUID) -> list[tuple[int, str]]:
    return bench.sql(
        "SELECT number, name FROM {s}.saga_inbox WHERE instance_id = %s AND number IS NOT NULL ORDER BY number", run_id
    )


def statuses(runs: RunBench, run_id: UUID) -> list[tuple[int, str]]:
    return [(row.address.position, row.status.value) for row in runs.state(run_id).actions()]


def test_a_run_goes_from_event_to_event_to_its_end(runs: RunBench, bench: Bench) -> None:
    run = runs.start(LINE)
    assert statuses(runs, run) == [(1, "pending")]

    while runs.works(run, LINE, lambda address: ("B",) if address.branch == RESERVE else ("C",)):
        pass

    assert numbers(bench, run) == [(1, "A"), (2, "B"), (3, "C")]
    assert runs.state(run).status is SagaStatus.COMPLETED
    assert bench.row("saga_instance", run)["due_at"] is None


def test_a_run_is_read_back_as_it_was_decided(runs: RunBench) -> None:
    run = runs.start(LINE)
    token = runs.claim(run, Address(1, RESERVE), "tasks.reserve")
    assert token is not None
    runs.publish(run, "D")

    said = runs.look(run)

    assert said is not None
    state = runs.state(run)
    assert (state.closed, state.numbered, state.status) == ({"reserve": 2}, 2, SagaStatus.COMPENSATING)
    ended = runs.ends(run, Address(1, RESERVE), token, "B")
    assert isinstance(ended, RunDecision)
    assert ended.accepted
    assert runs.state(run).at(Address(1, RESERVE, 1)) is not None


def test_v8_a_muted_event_is_kept_without_a_number(runs: RunBench, bench: Bench) -> None:
    run = runs.start(LINE)
    token = runs.claim(run, Address(1, RESERVE), "tasks.reserve")
    assert token is not None
    runs.publish(run, "D")

    runs.ends(run, Address(1, RESERVE), token, "B")

    assert numbers(bench, run) == [(1, "A"), (2, "D")]
    assert bench.sql("SELECT letter, number FROM {s}.saga_inbox WHERE name = 'B'") == [("muted", None)]


def test_v1_publishing_is_one_insert_without_a_number_and_without_the_lock_of_the_run(
    runs: RunBench, bench: Bench, open_transaction: Connection
) -> None:
    run = runs.start(STREAM)
    runs.store.runs.publish(open_transaction.scalar, run, event("B"), None)

    # Then: others go on while that transaction is open, and the numbers are dense in the order of the commits
    assert Background(lambda: runs.publish(run, "A")).join() is True
    assert numbers(bench, run) == [(1, "A"), (2, "A")]
    open_transaction.commit()
    runs.look(run)

    assert numbers(bench, run) == [(1, "A"), (2, "A"), (3, "B")]


def test_v2_two_transactions_that_publish_to_two_runs_crosswise_both_commit(runs: RunBench, bench: Bench) -> None:
    one, two = runs.start(STREAM), runs.start(STREAM)
    engine = impatient(bench)
    with engine.connect() as here, engine.connect() as there:
        for connection, order in ((here, (one, two)), (there, (two, one))):
            runs.store.runs.publish(connection.scalar, order[0], event("B"), None)
        for connection, order in ((here, (one, two)), (there, (two, one))):
            runs.store.runs.publish(connection.scalar, order[1], event("B"), None)
        here.commit()
        there.commit()

    for run in (one, two):
        runs.look(run)
        assert [number for number, _ in numbers(bench, run)] == [1, 2, 3]


def test_e6_what_is_published_in_a_transaction_that_rolls_back_never_was(
    runs: RunBench, bench: Bench, open_transaction: Connection
) -> None:
    run = runs.start(STREAM)
    runs.store.runs.publish(open_transaction.scalar, run, event("B"), None)
    open_transaction.rollback()

    runs.look(run)

    assert numbers(bench, run) == [(1, "A")]


def test_v3_a_delivery_born_while_the_one_before_completes_is_released(
    runs: RunBench, bench: Bench, open_transaction: Connection
) -> None:
    """The completion waits for the lock of a look that gives birth to the next delivery, and then sees it."""
    run = runs.start(STREAM)
    token = runs.claim(run, Address(1, 0), "tasks.one")
    assert token is not None
    instances = bench.store.instances
    runs.publish(run, "B", looks=False)
    loaded = instances.lock(open_transaction, run)
    assert loaded is not None
    completing = Background(lambda: runs.ends(run, Address(1, 0), token))
    bench.wait_for_lock_waiters(1)

    loaded, decision = decided(loaded, Tick(), bench.store.timing)
    instances.save(open_transaction, loaded, decision, PLACED)
    open_transaction.commit()
    completing.join()

    assert statuses(runs, run) == [(1, "completed"), (2, "pending")]


def test_v3_a_delivery_that_ends_releases_the_next_one_of_its_handler_beside_others_that_go_on(
    runs: RunBench,
) -> None:
    run = runs.start(BOTH)
    token = runs.claim(run, Address(1, 0), "tasks.one")
    assert token is not None
    runs.publish(run, "B")
    assert statuses(runs, run) == [(1, "running"), (1, "pending"), (2, "held")]

    assert isinstance(runs.ends(run, Address(1, 0), token), Reached)

    assert statuses(runs, run) == [(1, "completed"), (1, "pending"), (2, "pending")]


def test_v3_two_deliveries_that_end_at_once_count_one_another(
    runs: RunBench, bench: Bench, open_transaction: Connection
) -> None:
    """Both wait for the lock of their run, and the second one sees what the first one did."""
    run = runs.start(BOTH)
    tokens = [runs.claim(run, Address(1, place), task) for place, task in enumerate(("tasks.one", "tasks.two"))]
    assert bench.store.instances.lock(open_transaction, run)
    ending = [
        Background(partial(runs.ends, run, Address(1, place), token, *types))
        for place, (token, types) in enumerate(zip(tokens, ((), ("E",)), strict=True))
        if token
    ]
    bench.wait_for_lock_waiters(2)

    open_transaction.rollback()

    assert {type(background.join()) for background in ending} == {Reached}
    assert bench.row("saga_instance", run)["pending"] == 0
    assert runs.state(run).status is SagaStatus.COMPLETED


def test_v3_a_look_releases_what_was_forgotten(runs: RunBench, bench: Bench) -> None:
    run = runs.start(STREAM)
    bench.sql("UPDATE {s}.saga_step SET status = 'held', dispatched_at = NULL WHERE instance_id = %s", run)

    runs.look(run)

    assert statuses(runs, run) == [(1, "pending")]


def test_v16_an_event_before_its_run_is_kept_and_numbered_after_the_first(runs: RunBench, bench: Bench) -> None:
    run = run_id_of(STREAM.name, "order-42")
    assert runs.publish(run, "B") is True
    # A sweep that looks for the run of unseen mail finds none.
    assert list(bench.store.instances.inbox.unseen(10)) == [run]
    bench.store.instances.inbox.forget(run)
    assert list(bench.store.instances.inbox.unseen(10)) == []

    assert runs.start(STREAM, key="order-42") == run

    assert numbers(bench, run) == [(1, "A"), (2, "B")]


def test_v16_an_early_event_and_a_start_that_do_not_see_each_other_meet(
    runs: RunBench, bench: Bench, open_transaction: Connection
) -> None:
    run = run_id_of(STREAM.name, "order-42")
    runs.store.runs.publish(open_transaction.scalar, run, event("B"), None)
    runs.start(STREAM, key="order-42")
    open_transaction.commit()

    runs.look(run)

    assert numbers(bench, run) == [(1, "A"), (2, "B")]


def test_v16_an_early_event_of_the_type_that_starts_runs_is_not_taken_for_the_start(
    runs: RunBench, bench: Bench
) -> None:
    run = run_id_of(STREAM.name, "order-42")
    early = event("A", payload='{"total": 7}')
    first = NewRun(id=run, plan=STREAM, key="order-42", event=event("A", payload='{"total": 1}'))
    with bench.store.database.autocommit() as connection:
        meant = IntendedRun(choreography=STREAM.name, key="order-42")
        runs.store.runs.publish(connection.scalar, run, early, None, intended=meant)
        assert runs.store.runs.start(connection.scalar, first) is True
        assert runs.store.runs.start(connection.scalar, first) is False

    runs.plans[run] = STREAM
    runs.look(run)

    assert bench.sql("SELECT number, payload ->> 'total' FROM {s}.saga_inbox ORDER BY 1") == [(1, "1"), (2, "7")]
    with bench.store.database.autocommit() as connection:
        assert runs.store.runs.start(connection.scalar, first) is False


def test_starts_with_one_key_meet_in_one_run(runs: RunBench, bench: Bench) -> None:
    first = runs.start(STREAM, key="order-42")

    with bench.store.database.autocommit() as connection:
        same = NewRun(id=first, plan=STREAM, key="order-42", event=event("A"))
        other = NewRun(id=first, plan=STREAM, key="order-42", event=event("A", payload='{"total": 7}'))
        assert runs.store.runs.start(connection.scalar, same) is False
        assert runs.store.runs.start(connection.scalar, other) is None

    assert numbers(bench, first) == [(1, "A")]


def test_v21_a_key_is_one_event_of_its_type_and_another_payload_is_told(runs: RunBench, bench: Bench) -> None:
    run = runs.start(STREAM)

    assert runs.publish(run, "B", key="psp-77", payload='{"total": 1}') is True
    assert runs.publish(run, "B", key="psp-77", payload='{"total": 1}') is False
    assert runs.publish(run, "B", key="psp-77", payload='{"total": 2}') is None
    assert runs.publish(run, "A", key="psp-77") is True

    assert numbers(bench, run) == [(1, "A"), (2, "B"), (3, "A")]


@pytest.mark.parametrize("key", [None, "psp-77"])
def test_an_event_for_a_saga_is_kept_out(runs: RunBench, bench: Bench, key: str | None) -> None:
    saga = bench.start()

    assert runs.publish(saga, "B", key=key, looks=False) is None

    assert bench.sql("SELECT count(*) FROM {s}.saga_inbox") == [(0,)]


def test_what_the_library_publishes_is_filled_from_the_first_event(runs: RunBench, bench: Bench) -> None:
    fields = tuple(FieldPlan(name=name, type="str") for name in ("order_id", "reason"))
    plan = graph(
        handler("one", "A", undo="undo"),
        ends=("E",),
        on_cancel="X",
        events=(EventPlan(type="A"), EventPlan(type="E"), EventPlan(type="X", fields=fields)),
    )
    run = runs.start(plan, payload='{"order_id": "42", "total": 7}')

    runs.happens(run, StopRequested(stop=Stop(kind=StopKind.CANCELLED, reason="changed mind")))

    assert bench.sql("SELECT payload, number FROM {s}.saga_inbox WHERE name = 'X'") == [
        ({"order_id": "42", "reason": "changed mind"}, 2)
    ]


def test_v14_a_look_does_not_read_what_is_done(runs: RunBench) -> None:
    run = runs.start(STREAM)
    for _ in range(3):
        runs.publish(run, "B")
        assert runs.works(run, STREAM, lambda _: ())

    with runs.store.instances.transaction() as connection:
        loaded = runs.store.instances.lock(connection, run)

    assert loaded is not None
    assert [row.status for row in loaded.state.steps] == [ExecutionStatus.PENDING]


def test_v9_workers_register_the_whole_graph_and_who_knows_a_part_starts_by_it(runs: RunBench) -> None:
    part = graph(handler("reserve", "A", undo="undo.reserve", undo_when=("D",), publishes=("B",)), ends=("C",))
    registry = runs.store.runs
    assert registry.whole_graph(part) is None

    registry.register(part)
    registry.register(LINE)
    registry.register(part)

    assert registry.whole_graph(part) == LINE
    with pytest.raises(PlanChanged, match="the handler 'reserve'"):
        registry.whole_graph(graph(handler("reserve", "A"), ends=("C",)))
    with pytest.raises(PlanChanged, match="its option ends"):
        registry.register(graph(handler("reserve", "A"), ends=("D",)))


def test_an_event_for_nothing_changes_nothing(runs: RunBench) -> None:
    assert runs.look(uuid7()) is None
    assert runs.happens(uuid4(), Tick()) is None
