"""Migrations: repeatable, safe at once, in a schema of any name; and what the user is told when they are missing."""

import multiprocessing
from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy import Float, MetaData, Table, create_engine, make_url
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import ProgrammingError

from sagas.engine import JoinedConnection
from sagas.errors import ConfigurationError, SchemaMissing
from sagas.model import SagaStatus
from sagas.store import Filters, Store, Tables, Timing
from tests.support.bench import PLACED, THREE, Bench, bench_on

AWKWARD = [
    "Sagas Of Ours",
    'with "quotes"',
    "sägas-ünïcode",
    "select",
    "a.b",
    "o'clock",
    "semi;colon",
    "x" * 63,
    "b\\s",
]


def store_on(url: str, schema: str = "sagas") -> Store:
    return Store(url, schema, Timing())


def test_the_first_migration_names_its_files_and_a_second_one_does_nothing(database_url: str) -> None:
    store = store_on(database_url)

    assert store.migrate()[0] == "0001_initial.sql"
    assert store.migrate() == []
    store.database.dispose()


def migrate_in_a_process(url: str, barrier: "multiprocessing.synchronize.Barrier") -> int:
    store = store_on(url)
    barrier.wait(30)
    return len(store.migrate())


def test_eight_processes_may_migrate_at_once_and_one_of_them_does_it(database_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(8) as pool:
        barrier = manager.Barrier(8)
        applied = pool.starmap(migrate_in_a_process, [(database_url, barrier)] * 8)

    assert sorted(applied)[:7] == [0] * 7
    assert max(applied) >= 1


def test_a_migration_that_fails_leaves_nothing_behind(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given: a second migration that is broken
    from sagas.store.migrations import runner

    good = runner.migrations()
    broken = [*good, (9999, "9999_broken.sql", "CREATE TABLE {schema}.half (); SELECT 1 / 0")]
    monkeypatch.setattr(runner, "migrations", lambda: broken)
    store = store_on(database_url)

    # When
    with pytest.raises(Exception, match="division by zero"):
        store.migrate()

    # Then: the schema is not half there, and the cured migrations apply from the beginning
    monkeypatch.setattr(runner, "migrations", lambda: good)
    assert store.migrate() == [name for _, name, _ in good]
    store.database.dispose()


def described(table: Table) -> dict[str, tuple[str, bool, bool]]:
    dialect = postgresql.dialect()
    return {
        column.name: (
            "DOUBLE PRECISION" if isinstance(column.type, Float) else column.type.compile(dialect=dialect).upper(),
            bool(column.nullable),
            column.primary_key,
        )
        for column in table.columns
    }


def test_the_tables_in_python_equal_the_migrated_schema(bench: Bench) -> None:
    engine = create_engine(make_url(bench.url))
    reflected = MetaData(schema="sagas")
    reflected.reflect(engine)
    engine.dispose()
    declared = Tables("sagas").metadata

    assert set(reflected.tables) - {"sagas.saga_migration"} == set(declared.tables)
    for name, table in declared.tables.items():
        assert described(table) == described(reflected.tables[name]), name


@pytest.mark.parametrize("schema", AWKWARD)
def test_the_schema_may_have_any_name(database_url: str, schema: str) -> None:
    with bench_on(database_url, schema) as bench:
        run = bench.start(key="k")
        for step in THREE.steps:
            bench.step(run, THREE, type(bench.state(run).steps[0].address)(step.position))
        bench.store.sweeping.look_around()
        bench.store.sweeping.declare_dead()

        assert bench.store.sweeping.take_due(10) == []
        assert bench.state(run).status is SagaStatus.COMPLETED
        assert bench.store.instances.find("bench", "k") == run


@pytest.mark.parametrize("schema", ["", "nul\x00", "100%", "{braces}", ":colon"])
def test_a_schema_that_cannot_be_named_is_refused_with_the_cure(schema: str) -> None:
    with pytest.raises(ConfigurationError, match="use letters and underscores"):
        store_on("postgresql://localhost/x", schema)


def test_a_schema_name_longer_than_postgresql_keeps_is_refused_or_works(database_url: str) -> None:
    with bench_on(database_url, "y" * 80) as bench:
        assert bench.store.migrate() == []
        bench.start()


def test_two_schemas_of_one_database_do_not_mix(database_url: str) -> None:
    with bench_on(database_url, "one") as one, bench_on(database_url, "two") as two:
        run = one.start(key="k")
        other = two.start(key="k")

        assert run != other
        assert two.store.instances.read(run) is None
        assert two.claim(run) is None
        assert one.claim(run) is not None
        assert two.store.instances.find("bench", "k") == other
        assert [row.id for row in two.store.listing.page(Filters(), 10)] == [other]


def test_missing_tables_say_how_to_make_them(database_url: str) -> None:
    store = store_on(database_url)
    attempts = [
        lambda: store.starting.register(THREE),
        lambda: store.instances.read(uuid4()),
        lambda: store.sweeping.look_around(),
        lambda: store.sweeping.clock() and store.sweeping.take_due(1),
        lambda: store.instances.find("bench", "k"),
    ]

    for attempt in attempts:
        with pytest.raises(SchemaMissing, match=r"celery -A <your app> sagas migrate"):
            attempt()
    store.database.dispose()


def test_missing_tables_are_told_of_in_the_callers_transaction_too_and_leave_it_usable(database_url: str) -> None:
    from sagas.store import NewInstance, uuid7

    store = store_on(database_url)
    new = NewInstance(id=uuid7(), plan=THREE, key="k", data="{}", deadline=None, deadline_seconds=None)
    with store.database.transaction() as connection:
        with pytest.raises(SchemaMissing):
            store.starting.insert_in(JoinedConnection(connection), new, PLACED)
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    store.database.dispose()


def test_a_missing_table_of_the_users_own_is_not_blamed_on_the_saga_tables(database_url: str) -> None:
    store = store_on(database_url)

    with pytest.raises(ProgrammingError), store.database.transaction() as connection:
        connection.exec_driver_sql("SELECT * FROM orders")
    store.database.dispose()


@pytest.fixture
def limited_url(bench: Bench) -> Iterator[str]:
    """The same database as a role that may only connect."""
    role = f"limited_{uuid4().hex[:12]}"
    bench.sql(f"CREATE ROLE {role} LOGIN")
    yield make_url(bench.url).set(username=role).render_as_string(hide_password=False)
    bench.sql(f"DROP OWNED BY {role}")
    bench.sql(f"DROP ROLE {role}")


def test_a_role_without_create_is_told_what_it_lacks(limited_url: str) -> None:
    store = store_on(limited_url, "another")

    with pytest.raises(ConfigurationError, match="let an administrator CREATE SCHEMA … AUTHORIZATION this role"):
        store.migrate()
    store.database.dispose()


def test_a_role_without_create_migrates_into_a_schema_that_was_made_for_it(limited_url: str, bench: Bench) -> None:
    role = make_url(limited_url).username
    bench.sql(f"CREATE SCHEMA given AUTHORIZATION {role}")
    store = store_on(limited_url, "given")

    assert store.migrate()
    store.database.dispose()
