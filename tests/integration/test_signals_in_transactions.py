"""Signals and cancels in the caller's transaction: heard after its commit, and nobody waits for them before."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from sagas import SagaHandle, SagaStatus, SignalInProgress, StartRefused, StepStatus
from tests.conftest import Shop
from tests.support import gates, journal, scripted, shapes
from tests.support.bench import Background, Bench
from tests.support.caller import order
from tests.support.programs import briefly
from tests.support.workers import ROOT, eventually


@pytest.fixture
def engine(busy_shop: Shop) -> Iterator[Engine]:
    """The user's own engine, with a table of theirs."""
    made = create_engine(busy_shop.database_url)
    with made.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS orders"))
        connection.execute(text("CREATE TABLE orders (id integer)"))
    yield made
    made.dispose()


def waiting(shop: Shop) -> SagaHandle:
    run = shop.start(shapes.approved)
    eventually(lambda: run.steps[1].started_at, "the wait to begin")
    return run


def letters(shop: Shop, run: SagaHandle) -> list[str]:
    stored = "SELECT kind FROM sagas.saga_inbox WHERE instance_id = %s ORDER BY id"
    return [kind for (kind,) in journal.query(shop.database_url, stored, str(run.id))]


def orders(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM orders")) or 0)


# -- the caller's commit is the signal's


def test_a_signal_in_a_session_is_heard_after_the_commit(busy_shop: Shop, engine: Engine) -> None:
    run = waiting(busy_shop)
    with Session(engine) as session:
        order(session)
        assert run.signal("approval", {"by": "maria"}, session=session) is True
        busy_shop.sagas.sweep()
        assert (run.steps[1].status, letters(busy_shop, run)) == (StepStatus.PENDING, [])
        session.commit()

    assert run.wait(30) is SagaStatus.COMPLETED
    assert run.data["by"] == "maria"
    assert orders(engine) == 1


@pytest.mark.parametrize("end", ["rollback", "close"])
def test_a_signal_in_a_session_that_rolls_back_is_never_heard(busy_shop: Shop, engine: Engine, end: str) -> None:
    run = waiting(busy_shop)
    session = Session(engine)
    run.signal("approval", key="k", session=session)
    getattr(session, end)()
    order(session)
    session.commit()
    session.close()
    busy_shop.sagas.sweep()

    assert (run.steps[1].status, letters(busy_shop, run)) == (StepStatus.PENDING, [])
    # Its key is free again
    assert run.signal("approval", key="k") is True
    assert run.wait(30) is SagaStatus.COMPLETED


def test_a_savepoint_that_rolls_back_takes_its_signal_with_it(busy_shop: Shop, engine: Engine) -> None:
    run = waiting(busy_shop)
    with Session(engine) as session:
        savepoint = session.begin_nested()
        run.signal("approval", {"n": 1}, session=session)
        savepoint.rollback()
        run.signal("approval", {"n": 2}, session=session)
        session.commit()

    assert run.wait(30) is SagaStatus.COMPLETED
    assert run.data["n"] == 2
    assert [entry.event for entry in run.history()].count("signal_received") == 1


def test_the_same_key_twice_in_one_session_is_one_signal(busy_shop: Shop, engine: Engine) -> None:
    run = waiting(busy_shop)
    sessions = scoped_session(sessionmaker(engine))

    assert run.signal("approval", key="k", session=sessions) is True
    assert run.signal("approval", key="k", session=sessions) is False
    sessions.commit()
    sessions.remove()

    assert run.wait(30) is SagaStatus.COMPLETED
    assert letters(busy_shop, run) == ["signal"]


def test_a_signal_on_a_connection_is_heard_after_the_commit(busy_shop: Shop, engine: Engine) -> None:
    run, other = waiting(busy_shop), waiting(busy_shop)
    with engine.begin() as connection:
        run.signal("approval", connection=connection)
    with engine.connect() as connection:
        other.signal("approval", connection=connection)
        connection.rollback()

    assert run.wait(30) is SagaStatus.COMPLETED
    busy_shop.sagas.sweep()
    assert (other.status, letters(busy_shop, other)) == (SagaStatus.RUNNING, [])


def test_a_signal_whose_commit_comes_too_late_leaves_a_line_in_the_history(busy_shop: Shop, engine: Engine) -> None:
    run = waiting(busy_shop)
    with Session(engine) as session:
        run.signal("approval", session=session, by="maria")
        run.cancel("changed mind")
        assert run.wait(30) is SagaStatus.COMPENSATED
        session.commit()

    eventually(lambda: "signal_too_late" in [entry.event for entry in run.history()], "the line")
    assert letters(busy_shop, run) == []


def test_a_cancel_in_a_session_is_heard_after_the_commit(busy_shop: Shop, engine: Engine) -> None:
    run, other = waiting(busy_shop), waiting(busy_shop)
    with Session(engine) as session:
        run.cancel("changed mind", session=session, by="maria")
        busy_shop.sagas.sweep()
        assert run.status is SagaStatus.RUNNING
        session.commit()
        other.cancel("changed mind", session=session)
        session.rollback()

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "undo a"]
    (asked,) = [entry for entry in run.history() if entry.event == "stop_requested"]
    assert asked.detail == {"reason": "changed mind", "kind": "cancelled", "by": "maria"}
    busy_shop.sagas.sweep()
    assert other.status is SagaStatus.RUNNING


def test_what_is_no_session_is_refused(busy_shop: Shop) -> None:
    run = waiting(busy_shop)
    with pytest.raises(StartRefused, match="is not a SQLAlchemy Session"):
        run.signal("approval", session="mine")  # type: ignore[arg-type]
    with pytest.raises(StartRefused, match="is not a SQLAlchemy Session"):
        run.cancel("why not", session="mine")  # type: ignore[arg-type]


# -- H7: an open transaction keeps nobody waiting


def test_h7_a_saga_goes_on_while_a_transaction_with_a_signal_for_it_is_open(busy_shop: Shop, engine: Engine) -> None:
    # Given: a step that runs, and a transaction that has a signal in it and calls a slow service
    run = busy_shop.start(shapes.approved, {"a": ["wait:door"]})
    gates.until_reached(busy_shop.database_url, run, "door")
    with Session(engine) as session:
        order(session)
        run.signal("approval", session=session)

        # When: the step completes, sweeps pass, others act
        gates.open_gate(busy_shop.database_url, run, "door")
        eventually(lambda: run.steps[1].started_at, "the step to complete and the wait to begin")
        Background(busy_shop.sagas.sweep).join(15)
        assert Background(lambda: run.signal("approval", key="another")).join(15) is True
        assert Background(lambda: run.timeline()).join(15)

        # Then: nobody waits for a lock
        assert waiting_for_locks(busy_shop) == 0
        session.commit()
    assert run.wait(30) is SagaStatus.COMPLETED


def test_h7_a_cancel_and_its_undoing_do_not_wait_for_an_open_signal(busy_shop: Shop, engine: Engine) -> None:
    run = waiting(busy_shop)
    with Session(engine) as session:
        run.signal("approval", session=session)

        Background(lambda: run.cancel("changed mind")).join(15)

        assert run.wait(30) is SagaStatus.COMPENSATED
        session.commit()
    # It came too late, and does no harm
    busy_shop.sagas.sweep()
    assert run.status is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "undo a"]


def test_h7_a_wait_times_out_although_a_signal_for_it_is_not_committed(busy_shop: Shop, engine: Engine) -> None:
    run = busy_shop.start(shapes.patient)
    with Session(engine) as session:
        run.signal("approval", {"late": True}, session=session)
        assert run.wait(30) is SagaStatus.COMPLETED
        session.commit()

    assert "late" not in run.data


def test_h7_a_saga_completes_while_a_transaction_with_a_cancel_for_it_is_open(busy_shop: Shop, engine: Engine) -> None:
    run = busy_shop.start(scripted.three, {"b": ["wait:door"]})
    gates.until_reached(busy_shop.database_url, run, "door")
    with Session(engine) as session:
        run.cancel("changed mind", session=session)
        gates.open_gate(busy_shop.database_url, run, "door")
        Background(busy_shop.sagas.sweep).join(15)

        assert run.wait(30) is SagaStatus.COMPLETED
        session.commit()
    # Heard too late: it has no effect
    busy_shop.sagas.sweep()
    assert run.status is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "b", "c"]


def test_h7_a_cancel_that_commits_while_a_step_runs_drains_it_first(busy_shop: Shop, engine: Engine) -> None:
    run = busy_shop.start(scripted.three, {"b": ["wait:door"]})
    gates.until_reached(busy_shop.database_url, run, "door")
    with Session(engine) as session:
        run.cancel("changed mind", session=session)
        session.commit()
    eventually(lambda: run.status is SagaStatus.COMPENSATING, "the cancel to be heard")
    assert busy_shop.effects(run) == ["a"]

    gates.open_gate(busy_shop.database_url, run, "door")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "undo b", "undo a"]


def waiting_for_locks(shop: Shop) -> int:
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return int(journal.query(shop.database_url, asked)[0][0])


# -- H6 for signals: keys in other people's transactions


def test_h6_a_signal_of_its_own_waits_for_the_open_transaction_that_has_its_key(
    busy_shop: Shop, engine: Engine
) -> None:
    run = waiting(busy_shop)
    with Session(engine) as session:
        run.signal("approval", key="k", session=session)
        second = Background(lambda: run.signal("approval", key="k"))
        Bench(busy_shop.database_url, busy_shop.sagas.engine.store).wait_for_lock_waiters(1)
        session.commit()

    assert second.join() is False
    assert run.wait(30) is SagaStatus.COMPLETED


def test_h6_two_keys_of_signals_crosswise_cost_no_transaction(busy_shop: Shop, engine: Engine) -> None:
    # Given: each of two transactions has sent a signal and sends the other's: two deliveries of two webhooks
    run = waiting(busy_shop)
    with Session(engine) as one, Session(engine) as two:
        order(one)
        order(two)
        run.signal("approval", key="1", session=one)
        run.signal("approval", key="2", session=two)

        # When
        crossing = Background(lambda: tried(lambda: run.signal("approval", key="2", session=one)))
        Bench(busy_shop.database_url, busy_shop.sagas.engine.store).wait_for_lock_waiters(1)
        tried(lambda: run.signal("approval", key="1", session=two))
        crossing.join()

        # Then: a signal may be refused, but both transactions are as they were
        for session in (one, two):
            order(session)
            session.commit()
    assert orders(engine) == 4


def tried(what: object) -> None:
    try:
        what()  # type: ignore[operator]
    except SignalInProgress:
        pass


# -- a sender that dies


DYING = """
import os, signal
from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session
from tests.support.application import sagas

session = Session(create_engine(os.environ["SAGAS_DATABASE_URL"]))
# Before the library's own listener: committed, and not another instruction.
event.listen(session, "after_commit", lambda session: os.kill(os.getpid(), signal.SIGKILL))
run = sagas.get({id!r})
run.{what}
session.commit()
"""


@pytest.mark.parametrize(
    ("what", "ended"),
    [('signal("approval", session=session)', "completed"), ('cancel("changed mind", session=session)', "compensated")],
    ids=["signal", "cancel"],
)
def test_what_a_sender_committed_who_died_at_once_is_found_by_the_sweep(shop: Shop, what: str, ended: str) -> None:
    with briefly(shop.worker("-c", "1")):
        run = waiting(shop)
        servers = {"SAGAS_DATABASE_URL": shop.database_url, "SAGAS_BROKER_URL": shop.broker_url}
        script = DYING.format(id=str(run.id), what=what)
        died = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=servers, capture_output=True, timeout=60)
        assert died.returncode == -9, died.stderr.decode()

        assert run.wait(30) is SagaStatus(ended)


def test_h4_an_instance_on_which_the_sweep_raises_backs_off_with_an_unread_signal_too(shop: Shop) -> None:
    # Given: a plan that this version cannot read
    run = shop.start(shapes.first_waits)
    run.signal("approval", key="k")
    journal.query(
        shop.database_url,
        "UPDATE sagas.saga_instance SET plan = '{\"what\": 1}', plan_hash = 'unknown' WHERE id = %s",
        str(run.id),
    )
    journal.query(shop.database_url, "UPDATE sagas.saga_inbox SET seen_at = NULL, consumed_at = NULL")

    for _ in range(4):
        shop.sagas.sweep()

    # Then: twice as long each time, not at every pass
    assert journal.events(shop.database_url, run.id, "sweep_failed") == 1
