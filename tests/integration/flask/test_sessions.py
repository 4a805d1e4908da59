"""Starting in Flask-SQLAlchemy's session: its commit is the start's, its rollback too."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from sagas import ConfigurationError, InstanceNotFound, SagaHandle, SagaStatus
from sagas.contrib.flask import FlaskSagas
from tests.integration.flask.conftest import Office
from tests.integration.flask.office import Order, bare_app, db
from tests.support import journal, tenants
from tests.support.caller import announced_starts
from tests.support.choreographed import Noted, Ordered, ring
from tests.support.queues import queued

MakeOffice = Callable[..., Office]


@pytest.fixture(params=["psycopg2", "psycopg"])
def any_office(request: pytest.FixtureRequest, make_office: MakeOffice) -> Office:
    """With each driver."""
    return make_office(driver=request.param)


def test_a_start_joins_the_sessions_transaction_and_is_sent_once_after_its_commit(any_office: Office) -> None:
    office = any_office
    started = announced_starts()
    with office.app.app_context():
        db.session.add(Order(note="new"))
        run = office.start(key="k")
        assert (office.messages(), office.instances(), office.orders()) == (0, 0, 0)
        db.session.commit()

        assert (office.messages(), office.instances(), office.orders()) == (1, 1, 1)
        assert run.status is SagaStatus.PENDING
        assert run.key == "k"
        db.session.add(Order(note="another"))
        db.session.commit()
    assert office.messages() == 1
    assert started == [run.id]


def test_a_rollback_starts_and_sends_nothing(any_office: Office) -> None:
    office = any_office
    with office.app.app_context():
        db.session.add(Order(note="new"))
        run = office.start(key="k")
        db.session.rollback()
        db.session.add(Order(note="after all"))
        db.session.commit()

        with pytest.raises(InstanceNotFound):
            _ = run.status
    assert (office.messages(), office.instances(), office.orders()) == (0, 0, 1)


def test_a_savepoint_that_rolls_back_takes_its_start_with_it(any_office: Office) -> None:
    office = any_office
    with office.app.app_context():
        with db.session.begin_nested():
            kept = office.start()
        with db.session.begin_nested() as savepoint:
            db.session.add(Order(note="no"))
            office.start()
            savepoint.rollback()
        assert office.messages() == 0
        db.session.commit()

        assert kept.status is SagaStatus.PENDING
    assert (office.messages(), office.instances(), office.orders()) == (1, 1, 0)


def test_e6_events_that_a_view_publishes_are_its_sessions(any_office: Office) -> None:
    office = any_office
    office.sagas.register()
    with office.app.app_context():
        db.session.add(Order(note="no"))
        lost = order_with_a_note()
        db.session.rollback()
        db.session.add(Order(note="yes"))
        kept = order_with_a_note()
        assert (office.messages(), office.instances()) == (0, 0)
        db.session.commit()

        with pytest.raises(InstanceNotFound):
            _ = lost.status
        assert kept.status is SagaStatus.PENDING
    published = "SELECT name FROM sagas.saga_inbox WHERE instance_id = ANY(%s::uuid[]) ORDER BY number"
    assert journal.query(office.database_url, published, [str(lost.id), str(kept.id)]) == [("Ordered",), ("Noted",)]
    assert office.messages() == 2  # of the handler of each


def order_with_a_note() -> SagaHandle:
    """Publish as a view does: the event that starts a run, and another one."""
    run = ring.start(Ordered(script={}), key=str(uuid4()))
    assert ring.publish(Noted(script={}, number=1), run=run)
    return run


def test_an_idle_session_is_not_joined(office: Office) -> None:
    with office.app.app_context():
        # No session at all: none is made
        first = office.start()
        assert not db.session.registry.has()

        # One that has committed
        db.session.add(Order(note="new"))
        db.session.commit()
        second = office.start()

        assert (first.status, second.status) == (SagaStatus.PENDING, SagaStatus.PENDING)
        assert not db.session().in_transaction()
        db.session.rollback()
    assert office.messages() == 2


@pytest.mark.parametrize("how", ["add", "change", "delete"])
def test_a_session_with_changes_that_were_not_sent_to_the_database_is_joined(office: Office, how: str) -> None:
    with office.app.app_context():
        db.session().expire_on_commit = False
        row = Order(note="new")
        db.session.add(row)
        if how != "add":
            db.session.commit()
        if how == "change":
            row.note = "other"
        elif how == "delete":
            db.session.delete(row)

        office.start()

        assert office.instances() == 0
        db.session.commit()
    assert office.instances() == 1


def test_a_session_that_has_only_read_is_not_joined_since_nobody_would_commit_it(office: Office) -> None:
    with office.app.app_context():
        # Given: the usual view, whose order is committed and then read again, which begins a new transaction
        placed = Order(note="new")
        db.session.add(placed)
        db.session.commit()
        key = str(placed.id)

        run = office.start(key=key)

        assert run.status is SagaStatus.PENDING
    assert (office.messages(), office.instances()) == (1, 1)


@pytest.mark.parametrize("how", ["flush", "execute", "lock"])
def test_a_session_whose_transaction_has_written_is_joined(any_office: Office, how: str) -> None:
    office = any_office
    with office.app.app_context():
        db.session.add(Order(note="first"))
        db.session.commit()
        if how == "flush":
            db.session.add(Order(note="new"))
            db.session.flush()
        elif how == "execute":
            db.session.execute(text("UPDATE office_order SET note = 'other'"))
        else:
            db.session.execute(text("SELECT * FROM office_order FOR UPDATE"))

        office.start()

        assert office.instances() == 0
        db.session.commit()
    assert office.instances() == 1


def test_a_session_given_by_hand_is_joined_although_it_is_idle(any_office: Office) -> None:
    office = any_office
    with office.app.app_context():
        office.start(session=db.session)
        assert office.instances() == 0
        db.session.commit()
    assert (office.messages(), office.instances()) == (1, 1)


def test_another_transaction_given_by_hand_is_joined_instead(office: Office) -> None:
    with office.app.app_context():
        db.session.add(Order(note="new"))
        with Session(db.engine) as own, own.begin():
            office.start(session=own)
        db.session.rollback()

    assert (office.messages(), office.instances(), office.orders()) == (1, 1, 0)


def test_a_session_that_is_never_committed_starts_nothing_and_a_warning_says_so(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    # Given: a view that forgets it
    def forgetful() -> str:
        db.session.add(Order(note="new"))
        return str(office.start().id)

    office.app.add_url_rule("/", view_func=forgetful)

    with caplog.at_level(logging.WARNING, "sagas"):
        saga_id = office.app.test_client().get("/").text

    assert "closed without a commit: nothing was started" in caplog.text
    assert (office.messages(), office.instances(), office.orders()) == (0, 0, 0)
    with office.app.app_context(), pytest.raises(InstanceNotFound):
        office.sagas.get(saga_id)


def test_the_same_key_again_is_the_same_instance_sent_once(office: Office) -> None:
    with office.app.app_context():
        db.session.add(Order(note="new"))
        run = office.start(key="k")
        assert office.start(key="k") == run
        db.session.commit()
        assert office.start(key="k") == run
    assert (office.messages(), office.instances()) == (1, 1)


def test_join_can_be_switched_off(make_office: MakeOffice, office_url: str) -> None:
    office = make_office()
    app = bare_app(office_url, "memory://")
    db.init_app(app)
    own = FlaskSagas(app, join=False)
    with app.app_context():
        db.session.add(Order(note="new"))
        run = office.start()
        assert own.get(run.id).status is SagaStatus.PENDING
        db.session.rollback()
        own.current.engine.store.database.dispose()
        db.engine.dispose()
    assert (office.instances(), office.orders()) == (1, 0)


def test_with_binds_the_sessions_default_bind_is_joined(make_office: MakeOffice, other_url: str) -> None:
    office = make_office(SQLALCHEMY_BINDS={"elsewhere": other_url})
    with office.app.app_context():
        # Given: a session that has spoken to the other bind as well
        db.session.execute(text("SELECT 1"), bind_arguments={"bind": db.engines["elsewhere"]})
        db.session.execute(text("SELECT pg_current_xact_id()"))

        office.start()

        assert office.instances() == 0
        db.session.commit()
    assert (office.messages(), office.instances()) == (1, 1)


def test_a_session_in_another_database_than_the_sagas_is_refused(
    make_office: MakeOffice, office_url: str, other_url: str
) -> None:
    office = make_office(database_url=other_url, SAGAS={"DATABASE": office_url})
    with office.app.app_context():
        for options in ({}, {"session": db.session}):
            db.session.execute(text("SELECT pg_current_xact_id()"))
            with pytest.raises(ConfigurationError, match=r"where no worker would find what was started.*join=False"):
                office.start(**options)
            # Then: the transaction goes on
            assert db.session.scalar(text("SELECT 1")) == 1
            db.session.rollback()

        # And: outside of a transaction there is nothing to refuse
        assert office.start().status is SagaStatus.PENDING


def test_a_session_that_reaches_the_sagas_database_by_another_way_is_joined(
    make_office: MakeOffice, office_url: str
) -> None:
    office = make_office(SAGAS={"DATABASE": office_url + "&options=-capplication_name%3Dother"})
    with office.app.app_context():
        db.session.add(Order(note="new"))
        office.start()
        db.session.commit()
    assert office.instances() == 1


def test_a_session_on_no_postgresql_is_refused(office: Office) -> None:
    sqlite = create_engine("sqlite://")
    with (
        office.app.app_context(),
        Session(sqlite) as elsewhere,
        pytest.raises(ConfigurationError, match="the transaction to join is in sqlite://"),
    ):
        office.start(session=elsewhere)
    sqlite.dispose()


def test_without_a_broker_the_commit_succeeds_and_returns_quickly(make_office: MakeOffice, tmp_path: Path) -> None:
    office = make_office(CELERY={"broker_url": f"redis+socket://{tmp_path}/nobody.sock"})
    with office.app.app_context():
        began = time.monotonic()
        runs = []
        for _ in range(3):
            db.session.add(Order(note="new"))
            runs.append(office.start())
            db.session.commit()
        took = time.monotonic() - began

        assert took < 5
        assert {run.status for run in runs} == {SagaStatus.PENDING}
    assert office.orders() == 3


def test_d9_what_a_start_carries_is_its_callers_context_and_not_that_of_the_commit(any_office: Office) -> None:
    with any_office.app.app_context(), tenants.connected(tenants.put):
        db.session.add(Order(note="new"))
        with tenants.of("acme"):
            any_office.start(key="k")
        db.session.commit()

    (message,) = queued(any_office.sagas)
    assert message["tenant"] == "acme"
