"""Whatever transaction an application has: handed to `start`, or found around it, or none."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import psycopg2.extensions
import psycopg2.extras
import pytest
from sqlalchemy import Engine, TextClause, event, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from sagas import InstanceNotFound, SagaStatus, SchemaMissing, StartInProgress, StartRefused
from sagas.engine import JoinedSession
from sagas.signals import saga_started
from tests.conftest import Shop
from tests.support import journal
from tests.support.caller import Caller, caller_in, order


@pytest.fixture(scope="module")
def modules_caller(own_shop: Shop) -> Iterator[Caller]:
    with caller_in(own_shop) as made:
        yield made


@pytest.fixture
def caller(modules_caller: Caller) -> Iterator[Caller]:
    """Everything empty again."""
    yield modules_caller
    modules_caller.shop.sagas.engine.ambient = lambda: None
    with modules_caller.shop.sagas.app.connection_for_write() as connection:
        connection.default_channel.queue_purge("celery")
    journal.query(modules_caller.shop.database_url, "DELETE FROM sagas.saga_instance")
    journal.query(modules_caller.shop.database_url, "DELETE FROM public.orders")


@dataclass
class Driven:
    """A transaction of a bare driver connection, as a framework's adapter would make it (see `CallersTransaction`)."""

    connection: Any
    waiting: list[Callable[[], None]] = field(default_factory=list)
    conflict: str | None = None  # the SQLSTATE that every statement fails with

    def __len__(self) -> int:
        """A collection of what waits for its commit; an empty one is false."""
        return len(self.waiting)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        self.execute("SAVEPOINT here")
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK TO SAVEPOINT here")
            raise
        self.execute("RELEASE SAVEPOINT here")

    def scalar(self, statement: TextClause, parameters: Mapping[str, Any]) -> Any:
        compiled = statement.compile(dialect=postgresql.psycopg2.dialect())  # type: ignore[no-untyped-call]
        if self.conflict:
            self.execute(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{self.conflict}'; END $$")
        return self.execute(str(compiled), dict(parameters))

    def after_commit(self, do: Callable[[], None], committed: Callable[[], bool]) -> None:
        self.waiting.append(do)

    def execute(self, statement: str, parameters: dict[str, Any] | None = None) -> Any:
        cursor = self.connection.cursor()
        cursor.execute(statement, parameters)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None

    def commit(self) -> None:
        self.connection.commit()
        while self.waiting:
            self.waiting.pop(0)()


@pytest.fixture
def driven(caller: Caller) -> Iterator[Driven]:
    connection = journal.connect(caller.shop.database_url)
    connection.autocommit = False
    psycopg2.extras.register_uuid(conn_or_curs=connection)
    yield Driven(connection)
    connection.close()


# -- one of the application's own


def test_a_transaction_of_another_kind_commits_the_order_and_its_saga_together(caller: Caller, driven: Driven) -> None:
    driven.execute("INSERT INTO orders VALUES (1)")
    run = caller.start(connection=driven, key="k")
    with pytest.raises(InstanceNotFound):
        _ = run.status
    assert (caller.messages(), len(driven.waiting)) == (0, 1)

    driven.commit()

    assert (run.status, caller.orders(), caller.messages()) == (SagaStatus.PENDING, 1, 1)


def test_its_rollback_starts_nothing(caller: Caller, driven: Driven) -> None:
    driven.execute("INSERT INTO orders VALUES (1)")
    caller.start(connection=driven)

    driven.connection.rollback()

    assert (caller.orders(), caller.instances(), caller.messages()) == (0, 0, 0)


def test_an_existing_key_gives_its_instance_and_promises_nothing(caller: Caller, driven: Driven) -> None:
    first = caller.start(key="k")

    assert caller.start(key="k", connection=driven) == first

    assert driven.waiting == []
    assert driven.execute("SHOW lock_timeout") == "0"


def test_h6_a_key_that_another_transaction_holds_harms_it_no_more_than_others(caller: Caller, driven: Driven) -> None:
    with caller.engine.begin() as holder:
        caller.start(key="k", connection=holder)
        driven.execute("INSERT INTO orders VALUES (1)")

        with pytest.raises(StartInProgress, match="key 'k' is being started in another open transaction"):
            caller.start(key="k", connection=driven)

        assert driven.execute("SHOW lock_timeout") == "0"
        driven.commit()
        assert caller.orders() == 1


def test_a_conflict_that_no_key_explains_is_the_callers_to_see(caller: Caller, driven: Driven) -> None:
    """Whoever retries serialisation failures has to hear of this one."""
    driven.conflict = "40001"

    with pytest.raises(psycopg2.errors.SerializationFailure):
        caller.start(connection=driven)


def test_missing_tables_are_told_of_whichever_driver_raises(caller: Caller, driven: Driven) -> None:
    caller.start()  # its plan is known
    driven.execute("ALTER TABLE sagas.saga_instance RENAME TO saga_instance_hidden")

    with pytest.raises(SchemaMissing, match="sagas migrate"):
        caller.start(connection=driven)

    assert driven.execute("SELECT 1") == 1, "it is unharmed"
    driven.connection.rollback()


# -- the one around it


def test_a_start_that_is_given_none_joins_the_one_around_it(caller: Caller) -> None:
    with Session(caller.engine) as session:
        caller.shop.sagas.engine.ambient = lambda: JoinedSession(session)
        order(session)
        run = caller.start(key="k")
        assert (caller.messages(), caller.instances()) == (0, 0)
        assert caller.start(key="k") == run
        session.commit()

    assert (caller.messages(), caller.instances(), caller.orders()) == (1, 1, 1)


def test_its_rollback_takes_the_start_along(caller: Caller) -> None:
    with Session(caller.engine) as session:
        caller.shop.sagas.engine.ambient = lambda: JoinedSession(session)
        caller.start()
        session.rollback()

    assert (caller.messages(), caller.instances()) == (0, 0)


def test_what_is_given_by_hand_counts_more_than_what_is_around(caller: Caller, driven: Driven) -> None:
    """Also when there is nothing in it yet."""
    asked: list[None] = []
    caller.shop.sagas.engine.ambient = lambda: asked.append(None)

    caller.start(connection=driven)
    with Session(caller.engine) as session:
        caller.start(session=session)
    driven.connection.rollback()

    assert (asked, caller.instances()) == ([], 0)


def test_where_nothing_is_around_it_is_committed_at_once(caller: Caller) -> None:
    asked: list[None] = []
    caller.shop.sagas.engine.ambient = lambda: asked.append(None)

    runs = [caller.start(), caller.start()]

    assert [run.status for run in runs] == [SagaStatus.PENDING] * 2
    assert (len(asked), caller.messages()) == (2, 2)


@pytest.mark.parametrize("key", [None, "order-1"])
def test_a_connection_without_a_transaction_is_refused(caller: Caller, key: str | None) -> None:
    with (
        caller.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        pytest.raises(StartRefused, match="pass one with a transaction, or none"),
    ):
        caller.start(connection=connection, key=key)

    assert caller.messages() == 0


# -- what it costs


def taken(engine: Engine, start: Callable[[], object]) -> list[str]:
    """The kinds of statements that a start takes over an engine."""
    sent: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        sent.append(statement.split()[0])

    event.listen(engine, "before_cursor_execute", note)
    try:
        start()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return sent


def test_a_start_without_a_key_takes_fewer_statements(caller: Caller) -> None:
    # Given: its plan and its transaction's database are known
    with caller.engine.connect() as connection:
        caller.start(connection=connection)

    with caller.engine.connect() as connection:
        without = taken(caller.engine, lambda: caller.start(connection=connection))
        with_one = taken(caller.engine, lambda: caller.start(connection=connection, key="k"))

    assert without == ["SAVEPOINT", "WITH", "RELEASE"]
    assert with_one == ["SAVEPOINT", "SELECT", "WITH", "SELECT", "RELEASE"]


def test_a_start_of_its_own_is_one_statement(caller: Caller) -> None:
    """Sent in one string with how it is to be planned: its session knows it by name."""
    caller.start()

    assert taken(caller.shop.sagas.engine.store.database.engine, caller.start) == ["SET"]
    assert taken(caller.shop.sagas.engine.store.database.engine, lambda: caller.start(key="k")) == ["SET"]


# -- after the commit


@pytest.fixture
def sent_by() -> Iterator[list[str]]:
    """The threads that announce starts."""
    names: list[str] = []

    def heard(**_: object) -> None:
        names.append(threading.current_thread().name)

    saga_started.connect(heard, weak=False, dispatch_uid="sent_by")
    yield names
    saga_started.disconnect(dispatch_uid="sent_by")


def test_on_an_event_loop_a_commit_leaves_the_sending_to_an_executor(caller: Caller, sent_by: list[str]) -> None:
    with Session(caller.engine) as session:

        async def view() -> None:
            caller.start(session=session)
            session.commit()

        asyncio.run(view())  # which waits for its executor

        assert len(sent_by) == 1
        assert sent_by[0].startswith("asyncio_")
        caller.start(session=session)
        session.commit()
        assert sent_by[1:] == [threading.current_thread().name]

    assert caller.messages() == 2


def closed_with_a_commit(session: Session) -> None:
    session.commit()


def closed_after_a_rollback(session: Session) -> None:
    session.rollback()


def closed_without_either(session: Session) -> None:
    session.execute(text("SELECT 1"))


@pytest.mark.parametrize("end", [closed_with_a_commit, closed_after_a_rollback, closed_without_either])
def test_a_session_that_is_closed_without_a_commit_says_that_nothing_was_started(
    caller: Caller, caplog: pytest.LogCaptureFixture, end: Callable[[Session], None]
) -> None:
    with caplog.at_level(logging.WARNING, "sagas"):
        with Session(caller.engine) as session:
            order(session)
            with session.begin_nested():
                caller.start(session=session)
            end(session)
        with Session(caller.engine) as session:
            order(session)

    told = [record.message for record in caplog.records if "closed without a commit" in record.message]
    assert len(told) == (1 if end is closed_without_either else 0)
    assert caller.instances() == (1 if end is closed_with_a_commit else 0)
    assert all("Commit the session after start()" in line for line in told)
