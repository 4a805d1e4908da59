"""Starting in the caller's transaction: its commit is the start's, its rollback too, and it is never harmed."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from sagas import InstanceNotFound, SagaStatus, StartInProgress
from tests.conftest import Shop
from tests.support import tenants
from tests.support.bench import Background, Bench
from tests.support.caller import Caller, announced_starts, caller_in, order
from tests.support.workers import eventually


@pytest.fixture
def caller(shop: Shop) -> Iterator[Caller]:
    with caller_in(shop) as made:
        yield made


def test_in_a_session_the_chain_is_sent_after_the_commit(caller: Caller) -> None:
    with Session(caller.engine) as session:
        order(session)
        run = caller.start(session=session)
        assert caller.messages() == 0
        assert caller.instances() == 0
        session.commit()

    assert (caller.messages(), caller.orders()) == (1, 1)
    assert run.status is SagaStatus.PENDING


def test_a_session_that_rolls_back_starts_and_sends_nothing(caller: Caller) -> None:
    with Session(caller.engine) as session:
        order(session)
        run = caller.start(session=session)
        session.rollback()
        # The session goes on, with something else
        order(session)
        session.commit()

    assert (caller.messages(), caller.instances(), caller.orders()) == (0, 0, 1)
    with pytest.raises(InstanceNotFound):
        _ = run.status


def test_a_session_that_is_closed_without_a_commit_sends_nothing_later_either(caller: Caller) -> None:
    started = announced_starts()
    session = Session(caller.engine)
    caller.start(session=session)
    session.close()
    order(session)
    session.commit()
    session.close()

    assert (caller.messages(), caller.instances(), caller.orders()) == (0, 0, 1)
    assert started == []


def test_a_scoped_session_is_taken_as_well(caller: Caller) -> None:
    sessions = scoped_session(sessionmaker(caller.engine))
    run = caller.start(session=sessions)
    sessions.commit()
    sessions.remove()

    assert caller.messages() == 1
    assert run.status is SagaStatus.PENDING


def test_m11_a_released_savepoint_sends_nothing_before_the_outer_commit(caller: Caller) -> None:
    with Session(caller.engine) as session:
        with session.begin_nested():
            caller.start(session=session)
            with session.begin_nested():
                order(session)
        assert caller.messages() == 0
        session.commit()

    assert (caller.messages(), caller.instances()) == (1, 1)


def test_a_savepoint_that_rolls_back_takes_its_start_with_it(caller: Caller) -> None:
    started = announced_starts()
    with Session(caller.engine) as session:
        before = caller.start(session=session)
        savepoint = session.begin_nested()
        caller.start(session=session)
        with session.begin_nested():
            caller.start(session=session)
        savepoint.rollback()
        after = caller.start(session=session)
        session.commit()

    assert started == [before.id, after.id]
    assert (caller.messages(), caller.instances()) == (2, 2)


def test_several_starts_in_one_session_are_all_sent_once_and_the_next_commit_sends_none(caller: Caller) -> None:
    with Session(caller.engine) as session:
        for _ in range(3):
            caller.start(session=session)
        session.commit()
        order(session)
        session.commit()

    assert caller.messages() == 3


def test_an_open_transaction_of_the_session_sees_its_own_start(caller: Caller) -> None:
    with Session(caller.engine) as session:
        first = caller.start(key="k", session=session)
        assert caller.start(key="k", session=session) == first
        session.commit()

    assert caller.messages() == 1


def test_on_a_connection_the_chain_is_sent_after_the_commit(caller: Caller) -> None:
    with caller.engine.begin() as connection:
        order(connection)
        run = caller.start(connection=connection)
        assert caller.messages() == 0

    eventually(lambda: caller.messages() == 1, "the message of the committed saga")
    assert run.status is SagaStatus.PENDING


@pytest.mark.parametrize("close", [False, True], ids=["rollback", "close"])
def test_on_a_connection_that_rolls_back_nothing_is_started(caller: Caller, close: bool) -> None:
    with caller.engine.connect() as connection:
        connection.begin()
        caller.start(connection=connection)
        caller.start(connection=connection)
        if close:
            connection.close()
        else:
            connection.rollback()
    with caller.engine.begin() as connection:
        order(connection)

    assert (caller.messages(), caller.instances(), caller.orders()) == (0, 0, 1)


def test_several_starts_on_one_connection_are_all_sent(caller: Caller) -> None:
    with caller.engine.begin() as connection:
        for _ in range(3):
            caller.start(connection=connection)

    eventually(lambda: caller.messages() == 3, "three messages")


def test_a_savepoint_of_a_connection_that_rolls_back_takes_its_start_with_it(caller: Caller) -> None:
    with caller.engine.begin() as connection:
        with connection.begin_nested() as savepoint:
            caller.start(connection=connection)
            savepoint.rollback()
        kept = caller.start(connection=connection)

    eventually(lambda: caller.messages() == 1, "the message of the start that was kept")
    assert caller.instances() == 1
    assert kept.status is SagaStatus.PENDING


def test_a_start_leaves_the_callers_lock_timeout_as_it_was(caller: Caller) -> None:
    with caller.engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '7s'"))
        caller.start(key="k", connection=connection)
        assert connection.scalar(text("SHOW lock_timeout")) == "7s"
    with caller.engine.begin() as connection:
        assert connection.scalar(text("SHOW lock_timeout")) == "0"


# -- H6: keys in other people's transactions


def test_h6_a_repeatable_read_caller_gets_the_instance_committed_after_its_snapshot(caller: Caller) -> None:
    repeatable = caller.engine.execution_options(isolation_level="REPEATABLE READ")
    with repeatable.begin() as connection:
        order(connection)  # the snapshot is taken
        other = caller.start(key="k")

        assert caller.start(key="k", connection=connection) == other

        order(connection)
    assert caller.orders() == 2
    assert caller.messages() == 1


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_h6_a_key_held_by_another_open_transaction_is_waited_for_briefly_and_harms_nothing(
    caller: Caller, isolation: str
) -> None:
    isolated = caller.engine.execution_options(isolation_level=isolation)
    with caller.engine.begin() as holder:
        caller.start(key="k", connection=holder)
        with isolated.begin() as connection:
            order(connection)
            connection.execute(text("SET LOCAL statement_timeout = '20s'"))  # one that waited for the holder would hang

            with pytest.raises(StartInProgress, match="key 'k' is being started in another open transaction"):
                caller.start(key="k", connection=connection)

            # Then: the caller's transaction is as it was
            assert connection.scalar(text("SHOW lock_timeout")) == "0"
            order(connection)
        assert caller.orders() == 2


def test_h6_two_keys_crosswise_cost_no_transaction(caller: Caller) -> None:
    # Given: each of two transactions holds a key and asks for the other's
    with caller.engine.begin() as one, caller.engine.begin() as two:
        order(one)
        order(two)
        caller.start(key="1", connection=one)
        caller.start(key="2", connection=two)
        crossing = Background(lambda: caller.start(key="2", connection=one))
        refused = 0
        try:
            caller.start(key="1", connection=two)
        except StartInProgress:
            refused += 1
        try:
            crossing.join()
        except StartInProgress:
            refused += 1
        assert refused >= 1
    assert caller.orders() == 2
    assert caller.instances() == 2


def test_h6_a_start_of_its_own_waits_for_the_open_transaction_and_gets_its_instance(caller: Caller) -> None:
    with caller.engine.begin() as holder:
        run = caller.start(key="k", connection=holder)
        waiting = Background(lambda: caller.start(key="k"))
        Bench(caller.shop.database_url, caller.shop.sagas.engine.store).wait_for_lock_waiters(1)

    assert waiting.join() == run


def test_h6_a_start_whose_rival_rolls_back_becomes_the_instance(caller: Caller) -> None:
    with caller.engine.connect() as holder:
        caller.start(key="k", connection=holder)
        waiting = Background(lambda: caller.start(key="k"))
        Bench(caller.shop.database_url, caller.shop.sagas.engine.store).wait_for_lock_waiters(1)
        holder.rollback()

    assert waiting.join().status is SagaStatus.PENDING
    assert caller.instances() == 1


def test_d9_receivers_look_around_in_the_callers_context_whichever_thread_sends(caller: Caller) -> None:
    seen: list[str] = []

    def hear(**_: object) -> None:
        seen.append(tenants.tenant.get())

    with tenants.connected(hear), caller.engine.connect() as connection:
        with tenants.of("acme"):
            run = caller.start(connection=connection)  # a thread of its own waits for the commit, another one sends
        connection.commit()
        eventually(lambda: caller.sent_for() == {str(run.id)}, "its message")

    assert seen == ["acme", "acme"]
