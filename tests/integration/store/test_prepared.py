"""Claim and completion are planned once a session, and in full where sessions do not keep what they were told."""

import re
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from sagas.errors import SchemaMissing
from sagas.model import Address, ExecutionStatus, SagaStatus, Stop, StopKind, StopRequested
from sagas.store.prepared import Prepared, run_together
from tests.support.bench import THREE, Bench, bench_on

FIRST = Address(0)
CANCEL = StopRequested(stop=Stop(kind=StopKind.CANCELLED, reason="no"), by="test")
GROWING = ("saga_step", "saga_instance", "saga_lock", "saga_worker")


@pytest.fixture(autouse=True)
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test has seen is not for the next."""
    monkeypatch.setattr(Prepared, "is_kept", True)


def sent_by(bench: Bench) -> list[str]:
    """The first words of what the library sends from now on."""
    sent: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        sent.append(statement.split("; ")[-1].split()[0])

    event.listen(bench.store.database.engine, "before_cursor_execute", note)
    return sent


def whole_messages(bench: Bench) -> list[str]:
    """What the library sends from now on."""
    sent: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        sent.append(statement)

    event.listen(bench.store.database.engine, "before_cursor_execute", note)
    return sent


def asked(bench: Bench, statement: str) -> list[Any]:
    """By the library's own session."""
    with bench.store.database.autocommit() as connection:
        return list(connection.execute(text(statement)))


def told(bench: Bench) -> set[tuple[int, int]]:
    """How often the prepared statements of the session were planned for any parameters, and for theirs alone."""
    rows = asked(bench, "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE name LIKE 'sagas%'")
    return {tuple(row) for row in rows}


def claim(bench: Bench, run: UUID, token: UUID) -> bool:
    return bench.claim(run, FIRST, token=token, task="do.a") is not None


def test_claim_and_completion_are_told_once_and_never_planned_for_their_parameters(bench: Bench) -> None:
    runs = {bench.start(): uuid4() for _ in range(8)}
    sent = sent_by(bench)

    for run, token in runs.items():
        assert claim(bench, run, token)
        assert bench.complete(run, THREE, FIRST, token) is SagaStatus.RUNNING

    assert (sent.count("PREPARE"), sent.count("EXECUTE")) == (2, 16)
    assert told(bench) == {(8, 0)}


def test_the_plan_that_was_made_for_small_tables_is_good_for_large_ones(bench: Bench) -> None:
    """They are small where nothing has run for a while, and a plan lasts as long as its session."""
    bench.start()
    bench.sql("VACUUM ANALYZE {s}.saga_step, {s}.saga_instance")
    runs = {bench.start(): uuid4() for _ in range(5)}

    for run, token in runs.items():
        assert claim(bench, run, token)
        assert bench.complete(run, THREE, FIRST, token) is SagaStatus.RUNNING
        assert bench.store.hot.completed_by(run, THREE, FIRST, token) is not None

    names = [name for (name,) in asked(bench, "SELECT name FROM pg_prepared_statements WHERE name LIKE 'sagas%'")]
    assert len(names) == 4
    for name in names:
        plan = plan_of(bench, name)
        assert re.search(r"Index (Only )?Scan using|Index Scan on", plan)
        assert not [table for table in GROWING if f"Seq Scan on {table} " in plan], plan


def plan_of(bench: Bench, name: str) -> str:
    """How a prepared statement of the session is executed, without its parameters: those are all null."""
    counted = f"SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = '{name}'"
    ((count,),) = asked(bench, counted)
    nothing = ", ".join(["NULL"] * count)
    with bench.store.database.autocommit() as connection:
        explained = connection.exec_driver_sql(
            f"SET LOCAL plan_cache_mode = force_generic_plan; EXPLAIN EXECUTE {name} ({nothing})"
        )
        return "\n".join(line for (line,) in explained)


def test_the_settings_for_planning_end_with_the_statement(bench: Bench) -> None:
    claim(bench, bench.start(), uuid4())

    settings = "current_setting('plan_cache_mode'), current_setting('enable_seqscan'), current_setting('jit')"
    assert asked(bench, f"SELECT {settings}") == [("auto", "on", "on")]


def test_a_prepared_statement_is_never_compiled_however_dear_its_plan_looks(bench: Bench) -> None:
    """Before PostgreSQL 18 whatever `enable_seqscan = off` cannot avoid looks dearer than all limits of JIT."""
    asking = Prepared("SELECT current_setting('jit'), current_setting(%(other)s::text)")
    other = {"other": "plan_cache_mode"}
    database = bench.store.database

    assert asking.row(database, other) == ("off", "force_generic_plan")
    with database.transaction(begun=False) as connection:
        assert tuple(run_together(connection, [asking], other).one()) == ("off", "force_generic_plan")


def test_a_session_that_has_forgotten_is_told_in_full_and_so_are_all_from_then_on(bench: Bench) -> None:
    # Given
    run, token = bench.start(), uuid4()
    assert claim(bench, run, token)
    assert bench.complete(run, THREE, FIRST, token) is SagaStatus.RUNNING
    other, others = bench.start(), uuid4()

    # When: what happens when a pooler hands the next transaction to another session
    with bench.store.database.autocommit() as connection:
        connection.execute(text("DEALLOCATE ALL"))
    sent = sent_by(bench)

    # Then
    assert claim(bench, other, others)
    assert bench.complete(other, THREE, FIRST, others) is SagaStatus.RUNNING
    assert bench.store.hot.completed_by(other, THREE, FIRST, others) is not None
    assert sent == ["EXECUTE", "WITH", "WITH", "SELECT"]


def test_a_session_that_knows_the_name_already_is_told_in_full(bench: Bench) -> None:
    """Another process has prepared it there."""
    run, token = bench.start(), uuid4()
    assert claim(bench, run, token)
    with bench.store.database.autocommit() as connection:
        connection.info.clear()

    other = bench.start()

    assert claim(bench, other, uuid4())
    assert not Prepared.is_kept


def test_a_completion_in_the_steps_transaction_does_not_rely_on_what_sessions_keep(bench: Bench) -> None:
    """There, an unknown name would end the transaction with the step's work in it."""
    runs = {bench.start(): uuid4() for _ in range(2)}
    for run, token in runs.items():
        assert claim(bench, run, token)
        with bench.store.database.transaction() as connection:
            connection.execute(text("DEALLOCATE ALL"))
            assert bench.complete(run, THREE, FIRST, token, connection=connection) is SagaStatus.RUNNING


def test_an_error_of_the_statement_itself_is_raised(bench: Bench) -> None:
    run, token = bench.start(), uuid4()
    assert claim(bench, run, token)

    with pytest.raises(DBAPIError, match="invalid input syntax"):
        bench.complete(run, THREE, FIRST, token, result="no JSON")
    assert Prepared.is_kept


@pytest.mark.parametrize("listens", [False, True], ids=["by the driver", "by SQLAlchemy"])
def test_an_application_that_listens_to_statements_hears_hot_ones_and_nothing_else_differs(
    bench: Bench, listens: bool
) -> None:
    sent = sent_by(bench) if listens else []
    run, token = bench.start(), uuid4()

    assert claim(bench, run, token)
    assert not claim(bench, run, uuid4())
    assert bench.complete(run, THREE, FIRST, token) is SagaStatus.RUNNING
    assert bench.store.hot.completed_by(run, THREE, FIRST, token) is not None
    assert sent.count("EXECUTE") == (5 if listens else 0)


@pytest.mark.parametrize("listens", [False, True], ids=["by the driver", "by SQLAlchemy"])
def test_an_error_of_a_hot_statement_is_explained_either_way(bench: Bench, listens: bool) -> None:
    if listens:
        sent_by(bench)
    run = bench.start()
    bench.sql("ALTER TABLE {s}.saga_step RENAME TO saga_stepped")

    with pytest.raises(SchemaMissing, match="saga_step"):
        claim(bench, run, uuid4())


def test_an_error_of_a_hot_statement_does_not_keep_its_parameters(bench: Bench) -> None:
    run, token = bench.start(), uuid4()
    assert claim(bench, run, token)

    with pytest.raises(DBAPIError) as caught:
        bench.complete(run, THREE, FIRST, token, result="4000-1234")
    assert caught.value.params is None


def test_an_event_is_three_round_trips_and_none_of_them_is_planned_again(bench: Bench) -> None:
    runs = [bench.start() for _ in range(3)]
    bench.apply(runs[0], CANCEL)
    sent = whole_messages(bench)

    for run in runs[1:]:
        bench.apply(run, CANCEL)

    begin, save, commit = [re.findall(r"\b(BEGIN|EXECUTE|COMMIT)\b", message) for message in sent[:3]]
    assert (begin, save, commit) == (["BEGIN", "EXECUTE", "EXECUTE"], ["EXECUTE"], ["COMMIT"])
    assert len(sent) == 2 * 3
    assert {custom for _, custom in told(bench)} == {0}


def test_an_event_in_a_session_that_has_forgotten_is_handled_again_in_full(bench: Bench) -> None:
    # Given
    bench.apply(bench.start(), CANCEL)
    run = bench.start()
    with bench.store.database.autocommit() as connection:
        connection.execute(text("DEALLOCATE ALL"))

    # When
    bench.apply(run, CANCEL)

    # Then
    assert not Prepared.is_kept
    assert bench.state(run).status is SagaStatus.COMPENSATED
    assert bench.sql("SELECT count(*) FROM {s}.saga_event WHERE instance_id = %s", run) == [(1,)]


def test_an_event_that_finds_another_session_after_its_lock_is_handled_again_in_full(bench: Bench) -> None:
    """A pooler keeps one session for a transaction, but not the one that was told what `SAVE` is."""
    bench.apply(bench.start(), CANCEL)
    run = bench.start()
    tried = 0

    def work() -> None:
        nonlocal tried
        tried += 1
        with bench.store.instances.transaction() as connection:
            loaded = bench.store.instances.lock(connection, run)
            assert loaded is not None
            if tried == 1:
                connection.execute(text("DEALLOCATE ALL"))
            bench.decide_and_save(connection, loaded, CANCEL)

    bench.store.database.retrying(work)

    assert (tried, Prepared.is_kept) == (2, False)
    assert bench.state(run).status is SagaStatus.COMPENSATED


def test_a_driver_that_binds_at_the_server_handles_an_event_statement_by_statement(database_url: str) -> None:
    with bench_on(database_url.replace("+psycopg2", "+psycopg")) as bench:
        run = bench.start()
        assert claim(bench, run, uuid4())

        bench.apply(run, CANCEL)
        bench.apply(run, CANCEL)

        assert bench.state(run).status is SagaStatus.COMPENSATING
        assert [step.status for step in bench.state(run).steps] == [ExecutionStatus.RUNNING]
