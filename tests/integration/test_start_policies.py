"""What `start` does about a business key that exists: give its instance, refuse, or start anew."""

import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from sagas import KeyInUse, Saga, SagaHandle, SagaStatus, StartInProgress, StartRefused, TransitionRefused
from tests.conftest import Shop
from tests.support import gates, journal, scripted
from tests.support.bench import Background, Bench
from tests.support.caller import order
from tests.support.workers import eventually


@pytest.fixture
def engine(busy_shop: Shop) -> Iterator[Engine]:
    """The user's own engine, with a table of theirs."""
    made = create_engine(busy_shop.database_url)
    with made.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS orders"))
        connection.execute(text("CREATE TABLE orders (id integer)"))
    yield made
    made.dispose()


@pytest.fixture
def key() -> str:
    """One that no other test uses."""
    return uuid4().hex


def orders(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM orders")) or 0)


def instances(shop: Shop, key: str) -> list[tuple[str, bool]]:
    """All that ever had the key, and whether they have it now, in the order of their birth."""
    found = "SELECT id, current FROM sagas.saga_instance WHERE key = %s ORDER BY created_at"
    return journal.query(shop.database_url, found, key)


def current(shop: Shop, key: str) -> SagaHandle | None:
    return shop.sagas.find(saga="three", key=key)


def lose_the_key(shop: Shop, run: SagaHandle) -> None:
    """As a restart of the last release did to a failed one."""
    journal.query(shop.database_url, "UPDATE sagas.saga_instance SET current = false WHERE id = %s", str(run.id))


def ended(shop: Shop, key: str, script: dict[str, Any], status: SagaStatus) -> SagaHandle:
    run = shop.start(scripted.three, script, key=key)
    assert run.wait(30) is status
    return run


COMPENSATED: dict[str, Any] = {"b": ["no"]}
FAILED: dict[str, Any] = {"b": ["no"], "undo a": "broken:bank"}


def at_once(work: Callable[[], Any], number: int = 8) -> list[Any]:
    """The same from so many threads at the same moment; errors come back as values."""
    together = threading.Barrier(number)

    def one() -> Any:
        together.wait(30)
        try:
            return work()
        except StartRefused as error:
            return error

    return [running.join(60) for running in [Background(one) for _ in range(number)]]


# -- return


@pytest.mark.parametrize("script", [{}, COMPENSATED, FAILED], ids=["completed", "compensated", "failed"])
def test_return_gives_the_existing_one_whatever_became_of_it(busy_shop: Shop, key: str, script: dict[str, Any]) -> None:
    first = busy_shop.start(scripted.three, script, key=key)
    first.wait(30)

    assert busy_shop.start(scripted.three, {}, key=key) == first
    assert busy_shop.start(scripted.three, {}, key=key, if_exists="return") == first
    assert instances(busy_shop, key) == [(str(first.id), True)]


# -- reject


@pytest.mark.parametrize("script", [{}, COMPENSATED, FAILED], ids=["completed", "compensated", "failed"])
def test_reject_refuses_a_key_that_exists_and_names_its_instance(
    busy_shop: Shop, key: str, script: dict[str, Any]
) -> None:
    first = busy_shop.start(scripted.three, script, key=key, if_exists="reject")
    first.wait(30)

    with pytest.raises(KeyInUse, match=f"saga 'three' has an instance with the key '{key}' already: {first.id}"):
        busy_shop.start(scripted.three, {}, key=key, if_exists="reject")

    assert instances(busy_shop, key) == [(str(first.id), True)]


def test_of_eight_at_once_that_reject_one_starts(busy_shop: Shop, key: str) -> None:
    answers = at_once(lambda: busy_shop.start(scripted.three, {}, key=key, if_exists="reject"))

    assert sum(isinstance(answer, SagaHandle) for answer in answers) == 1
    assert sum(isinstance(answer, KeyInUse) for answer in answers) == 7
    assert len(instances(busy_shop, key)) == 1


def test_reject_leaves_the_callers_transaction_as_it_was(busy_shop: Shop, engine: Engine, key: str) -> None:
    first = busy_shop.start(scripted.three, key=key)
    with Session(engine) as session:
        order(session)
        with pytest.raises(KeyInUse):
            busy_shop.start(scripted.three, {}, key=key, if_exists="reject", session=session)
        order(session)
        session.commit()

    assert orders(engine) == 2
    assert current(busy_shop, key) == first


# -- restart


def test_restart_starts_anew_after_one_that_was_undone(busy_shop: Shop, key: str) -> None:
    first = ended(busy_shop, key, COMPENSATED, SagaStatus.COMPENSATED)

    second = busy_shop.start(scripted.three, {}, key=key, if_exists="restart")

    assert second != first
    assert second.wait(30) is SagaStatus.COMPLETED
    assert current(busy_shop, key) == second
    # The former one is still there to be read
    assert (first.status, first.key) == (SagaStatus.COMPENSATED, key)
    assert instances(busy_shop, key) == [(str(first.id), False), (str(second.id), True)]


def test_restart_gives_the_existing_one_while_it_runs_and_when_it_has_completed(busy_shop: Shop, key: str) -> None:
    run = busy_shop.start(scripted.three, {"b": ["wait:door"]}, key=key, if_exists="restart")
    gates.until_reached(busy_shop.database_url, run, "door")

    assert busy_shop.start(scripted.three, {}, key=key, if_exists="restart") == run
    gates.open_gate(busy_shop.database_url, run, "door")
    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.start(scripted.three, {}, key=key, if_exists="restart") == run

    assert instances(busy_shop, key) == [(str(run.id), True)]


def test_restart_gives_the_existing_one_while_it_is_being_undone(busy_shop: Shop, key: str) -> None:
    run = busy_shop.start(scripted.three, {"b": ["no"], "undo a": ["wait:door"]}, key=key)
    gates.until_reached(busy_shop.database_url, run, "door")

    assert busy_shop.start(scripted.three, {}, key=key, if_exists="restart") == run
    gates.open_gate(busy_shop.database_url, run, "door")
    assert run.wait(30) is SagaStatus.COMPENSATED


def test_of_eight_at_once_that_restart_one_starts_and_all_are_given_it(busy_shop: Shop, key: str) -> None:
    first = ended(busy_shop, key, COMPENSATED, SagaStatus.COMPENSATED)

    answers = at_once(lambda: busy_shop.start(scripted.three, {"a": ["wait:door"]}, key=key, if_exists="restart"))

    (second,) = set(answers)
    assert second != first
    assert instances(busy_shop, key) == [(str(first.id), False), (str(second.id), True)]
    gates.open_gate(busy_shop.database_url, second, "door")
    assert second.wait(30) is SagaStatus.COMPLETED


def test_of_eight_at_once_that_restart_a_new_key_one_starts(busy_shop: Shop, key: str) -> None:
    answers = at_once(lambda: busy_shop.start(scripted.three, {}, key=key, if_exists="restart"))

    assert len(set(answers)) == 1
    assert len(instances(busy_shop, key)) == 1


def test_a_restart_again_and_again_keeps_all_that_came_before(busy_shop: Shop, key: str) -> None:
    runs = []
    for _ in range(3):
        runs.append(busy_shop.start(scripted.three, COMPENSATED, key=key, if_exists="restart"))
        assert runs[-1].wait(30) is SagaStatus.COMPENSATED

    assert [id_ for id_, _ in instances(busy_shop, key)] == [str(run.id) for run in runs]
    assert [is_current for _, is_current in instances(busy_shop, key)] == [False, False, True]


def test_a_restart_without_a_key_is_a_start_of_its_own(busy_shop: Shop) -> None:
    runs = {busy_shop.start(scripted.three, {}, if_exists="restart") for _ in range(2)}

    assert len(runs) == 2
    assert {run.wait(30) for run in runs} == {SagaStatus.COMPLETED}


def test_d28_a_restart_beside_a_failed_one_is_refused_until_a_person_has_ended_it(busy_shop: Shop, key: str) -> None:
    first = ended(busy_shop, key, FAILED, SagaStatus.FAILED)

    for _ in range(2):
        with pytest.raises(KeyInUse, match=f"waits for a person: {first.id}. Resolve, retry or skip it first"):
            busy_shop.start(scripted.three, {}, key=key, if_exists="restart")

    assert instances(busy_shop, key) == [(str(first.id), True)]
    first.resolve("put back by hand")
    assert busy_shop.start(scripted.three, {}, key=key, if_exists="restart").wait(30) is SagaStatus.COMPLETED


@pytest.mark.parametrize("if_locked", ["wait", "refuse"])
def test_d28_the_key_and_the_lock_stay_with_a_failed_one(busy_shop: Shop, key: str, if_locked: str) -> None:
    steps = [scripted.step("a"), scripted.step("b")]
    saga = Saga(f"locking-or-{if_locked}", steps=steps, locks=["account:{account}"], if_locked=if_locked)
    data = {"script": {"b": ["no"], "undo a": "invalid"}, "account": key}
    first = busy_shop.sagas.start(saga, data, key=key)
    assert first.wait(30) is SagaStatus.FAILED

    with pytest.raises(KeyInUse):
        busy_shop.sagas.start(saga, {"script": {}, "account": key}, key=key, if_exists="restart")

    assert instances(busy_shop, key) == [(str(first.id), True)]
    first.resolve("put back by hand")
    second = busy_shop.sagas.start(saga, {"script": {}, "account": key}, key=key, if_exists="restart")
    assert second.wait(30) is SagaStatus.COMPLETED


def test_d28_one_that_lost_its_key_while_it_was_failed_does_not_go_on_beside_its_successor(
    busy_shop: Shop, key: str
) -> None:
    first = ended(busy_shop, key, FAILED, SagaStatus.FAILED)
    gates.open_gate(busy_shop.database_url, first, "bank")
    lose_the_key(busy_shop, first)
    second = busy_shop.start(scripted.three, {}, key=key)
    assert second.wait(30) is SagaStatus.COMPLETED

    for ask in (first.retry, first.skip):
        with pytest.raises(TransitionRefused, match="another saga was started with its key"):
            ask("the bank is back")

    assert first.status is SagaStatus.FAILED
    first.resolve("put back by hand")
    assert first.status is SagaStatus.COMPENSATED


def test_d28_one_that_lost_its_key_and_has_no_successor_goes_on(busy_shop: Shop, key: str) -> None:
    first = ended(busy_shop, key, FAILED, SagaStatus.FAILED)
    gates.open_gate(busy_shop.database_url, first, "bank")
    lose_the_key(busy_shop, first)

    first.retry("the bank is back")

    assert first.wait(30) is SagaStatus.COMPENSATED


# -- restart in the caller's transaction


def test_d28_a_restart_beside_a_failed_one_leaves_the_callers_transaction_as_it_was(
    busy_shop: Shop, engine: Engine, key: str
) -> None:
    first = ended(busy_shop, key, FAILED, SagaStatus.FAILED)
    with Session(engine) as session:
        order(session)
        with pytest.raises(KeyInUse, match="Resolve, retry or skip it first"):
            busy_shop.start(scripted.three, {}, key=key, if_exists="restart", session=session)
        order(session)
        session.commit()

    assert orders(engine) == 2
    assert current(busy_shop, key) == first


def test_a_restart_in_a_session_takes_effect_with_its_commit(busy_shop: Shop, engine: Engine, key: str) -> None:
    first = ended(busy_shop, key, COMPENSATED, SagaStatus.COMPENSATED)
    with Session(engine) as session:
        order(session)
        second = busy_shop.start(scripted.three, {}, key=key, if_exists="restart", session=session)
        assert current(busy_shop, key) == first
        session.commit()

    assert second != first
    assert second.wait(30) is SagaStatus.COMPLETED
    assert current(busy_shop, key) == second


@pytest.mark.parametrize("where", ["session", "savepoint"])
def test_a_restart_that_is_rolled_back_leaves_the_key_to_its_former_instance(
    busy_shop: Shop, engine: Engine, key: str, where: str
) -> None:
    first = ended(busy_shop, key, COMPENSATED, SagaStatus.COMPENSATED)
    with Session(engine) as session:
        order(session)
        savepoint = session.begin_nested() if where == "savepoint" else session
        busy_shop.start(scripted.three, {}, key=key, if_exists="restart", session=session)
        savepoint.rollback()
        order(session)
        session.commit()

    assert instances(busy_shop, key) == [(str(first.id), True)]
    assert orders(engine) == (2 if where == "savepoint" else 1)
    # And it can be restarted by whoever comes next
    assert busy_shop.start(scripted.three, {}, key=key, if_exists="restart").wait(30) is SagaStatus.COMPLETED


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_h6_a_restart_beside_another_open_restart_harms_no_transaction(
    busy_shop: Shop, engine: Engine, key: str, isolation: str
) -> None:
    ended(busy_shop, key, COMPENSATED, SagaStatus.COMPENSATED)
    isolated = engine.execution_options(isolation_level=isolation)
    with engine.begin() as holder:
        busy_shop.start(scripted.three, {}, key=key, if_exists="restart", connection=holder)
        with isolated.begin() as connection:
            order(connection)
            with pytest.raises(StartInProgress, match="is being started in another open transaction"):
                busy_shop.start(scripted.three, {}, key=key, if_exists="restart", connection=connection)
            order(connection)

    assert orders(engine) == 2
    assert len(instances(busy_shop, key)) == 2


def test_h6_a_repeatable_read_caller_is_given_what_another_one_restarted_after_its_snapshot(
    busy_shop: Shop, engine: Engine, key: str
) -> None:
    ended(busy_shop, key, COMPENSATED, SagaStatus.COMPENSATED)
    repeatable = engine.execution_options(isolation_level="REPEATABLE READ")
    with repeatable.begin() as connection:
        order(connection)  # the snapshot is taken
        other = busy_shop.start(scripted.three, {}, key=key, if_exists="restart")

        assert busy_shop.start(scripted.three, {}, key=key, if_exists="restart", connection=connection) == other

        order(connection)
    assert orders(engine) == 2
    assert len(instances(busy_shop, key)) == 2


def test_h6_a_restart_of_its_own_waits_for_the_open_one_and_is_given_it(
    busy_shop: Shop, engine: Engine, key: str
) -> None:
    ended(busy_shop, key, COMPENSATED, SagaStatus.COMPENSATED)
    with engine.begin() as holder:
        run = busy_shop.start(scripted.three, {}, key=key, if_exists="restart", connection=holder)
        waiting = Background(lambda: busy_shop.start(scripted.three, {}, key=key, if_exists="restart"))
        Bench(busy_shop.database_url, busy_shop.sagas.engine.store).wait_for_lock_waiters(1)

    assert waiting.join() == run
    eventually(lambda: run.status is SagaStatus.COMPLETED, "it to run")


# -- refused


@pytest.mark.parametrize("word", ["", "Return", "replace", None, 7])
def test_a_word_that_is_none_of_the_three_is_refused(busy_shop: Shop, key: str, word: Any) -> None:
    with pytest.raises(StartRefused, match="must be 'return', 'reject' or 'restart'"):
        busy_shop.start(scripted.three, {}, key=key, if_exists=word)

    assert instances(busy_shop, key) == []


def test_a_retry_by_a_person_and_a_restart_at_once_leave_one_of_the_two_with_the_key(busy_shop: Shop, key: str) -> None:
    """Both are wanted by somebody: the former one is undone to its end, and a new one begins only after that."""
    first = ended(busy_shop, key, FAILED, SagaStatus.FAILED)
    gates.open_gate(busy_shop.database_url, first, "bank")
    together = threading.Barrier(2)

    def retry() -> None:
        together.wait(10)
        first.retry("the bank is back")

    def restart() -> UUID:
        together.wait(10)
        try:
            return busy_shop.start(scripted.three, {}, key=key, if_exists="restart").id
        except KeyInUse:
            return first.id

    retrying, restarting = Background(retry), Background(restart)
    retrying.join()
    second = busy_shop.sagas.get(restarting.join())

    assert first.wait(30) is SagaStatus.COMPENSATED
    assert len([id_ for id_, is_current in instances(busy_shop, key) if is_current]) == 1
    if second != first:
        assert second.wait(30) is SagaStatus.COMPLETED
