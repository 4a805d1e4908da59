"""Semantic locks when somebody dies, rolls back, or acts in the very moment of a sweep."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from sagas import Saga, SagaHandle, SagaStatus, StepStatus
from sagas.model import Address, ErrorInfo, Failed, Tick, Verdict
from tests.conftest import Shop
from tests.support import journal, shapes
from tests.support.bench import Background, Bench
from tests.support.inline import run_messages
from tests.support.scripted import step

#: Has a lock that it keeps when it has failed, and a slot that it does not keep.
guarded = Saga("guarded", steps=[step("a"), step("b")], locks=["account:{account}"], max_concurrent=100)
SAID_NO = ErrorInfo(type="builtins.ValueError", message="no")


@pytest.fixture
def rows(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    return Bench(shop.database_url, shop.sagas.engine.store)


@pytest.fixture
def engine(shop: Shop) -> Iterator[Engine]:
    made = create_engine(shop.database_url)
    yield made
    made.dispose()


def begin(shop: Shop, saga: Saga, account: str, **options: Any) -> SagaHandle:
    return shop.sagas.start(saga, {"script": {}, "account": account}, **options)


def line(shop: Shop, account: str) -> list[tuple[Any, bool]]:
    found = "SELECT instance_id, granted_at IS NOT NULL FROM sagas.saga_lock WHERE resource = %s ORDER BY ticket"
    return journal.query(shop.database_url, found, f"account:{account}")


def ended_without_a_release(shop: Shop, rows: Bench, saga: Saga, account: str) -> SagaHandle:
    """Its process died with the last completion."""
    run = begin(shop, saga, account)
    for position in range(2):
        rows.step(run.id, saga.plan(shop.sagas.engine), Address(position))
    assert run.status is SagaStatus.COMPLETED
    return run


def failed_without_a_release(shop: Shop, rows: Bench, account: str) -> SagaHandle:
    """Its undo failed for good, and the process that recorded it died with that."""
    run = begin(shop, guarded, account)
    rows.step(run.id, guarded.plan(shop.sagas.engine))
    for address in (Address(1), Address(0, 0, 1)):
        token = uuid4()
        assert rows.claim(run.id, address, token=token) is not None
        rows.apply(run.id, Failed(address=address, token=token, error=SAID_NO, verdict=Verdict.CLEAN_NO))
        rows.apply(run.id, Tick())
    assert run.status is SagaStatus.FAILED
    return run


def slots(shop: Shop) -> int:
    held = "SELECT count(*) FROM sagas.saga_lock WHERE resource LIKE 'limit:%%'"
    return int(journal.query(shop.database_url, held)[0][0])


# -- found by the sweep


def test_m4_of_a_failed_saga_the_sweep_releases_the_slot_alone(shop: Shop, rows: Bench) -> None:
    run = failed_without_a_release(shop, rows, "7")
    assert slots(shop) == 1

    shop.sagas.sweep()

    assert slots(shop) == 0
    assert line(shop, "7") == [(str(run.id), True)]


def test_who_starts_and_dies_before_anybody_looks_is_put_in_front_by_the_sweep(shop: Shop, rows: Bench) -> None:
    run = begin(shop, shapes.locking, "7")
    journal.query(shop.database_url, "UPDATE sagas.saga_lock SET granted_at = NULL")
    journal.query(shop.database_url, "DELETE FROM sagas.saga_step")
    journal.query(shop.database_url, "UPDATE sagas.saga_instance SET due_at = clock_timestamp(), pending = 0")

    shop.sagas.sweep()

    assert line(shop, "7") == [(str(run.id), True)]
    assert rows.claim(run.id) is not None


def test_who_is_next_and_was_not_told_is_told_by_the_sweep(shop: Shop, rows: Bench) -> None:
    # Given: a release that is committed, and a process that died before it told the next one
    holder = ended_without_a_release(shop, rows, shapes.locking, "7")
    second = begin(shop, shapes.locking, "7")
    assert list(shop.sagas.engine.store.locks.release(holder.id)) == [second.id]
    assert line(shop, "7") == [(str(second.id), False)]

    shop.sagas.sweep()

    assert line(shop, "7") == [(str(second.id), True)]


def test_the_line_of_a_saga_that_is_gone_is_cleared_by_the_sweep(shop: Shop, rows: Bench) -> None:
    gone, second = (begin(shop, shapes.locking, "7") for _ in range(2))
    shop.sagas.engine.store.instances.delete([gone.id])

    shop.sagas.sweep()

    assert line(shop, "7") == [(str(second.id), True)]


def test_m4_a_retry_in_the_very_moment_of_a_sweep_costs_no_failed_saga_its_lock(shop: Shop, rows: Bench) -> None:
    # Given: a sweep that has picked what the ended still hold, and is busy with the first of them
    ended_without_a_release(shop, rows, shapes.locking, "first")
    failed = {name: failed_without_a_release(shop, rows, name) for name in ("1", "2", "3", "4", "5")}
    with rows.store.database.transaction() as stranger:
        stranger.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('sagas:account:first', 1))"))
        sweep = Background(shop.sagas.sweep)
        rows.wait_for_lock_waiters(1)

        # When: a person lets the failed ones go on
        for run in failed.values():
            run.retry("the bank is back")
    sweep.join()

    # Then: they are being undone, and nobody else may touch their accounts
    for name, run in failed.items():
        assert run.status is SagaStatus.COMPENSATING
        assert line(shop, name) == [(str(run.id), True)]


# -- in the caller's transaction


def test_a_start_that_rolls_back_leaves_no_line(shop: Shop, rows: Bench, engine: Engine) -> None:
    with Session(engine) as session:
        begin(shop, shapes.locking, "7", session=session)
        session.rollback()
        # Nobody waits for one that is not committed
        other = begin(shop, shapes.locking, "7")
        begin(shop, shapes.locking, "7", session=session)
        third = begin(shop, shapes.locking, "8")
        assert [run.steps[0].status for run in (other, third)] == [StepStatus.PENDING] * 2
        assert rows.claim(other.id) is not None
        session.rollback()

    assert line(shop, "7") == [(str(other.id), True)]


def test_h7_a_start_that_is_not_committed_keeps_nobody_from_the_resource(
    shop: Shop, rows: Bench, engine: Engine
) -> None:
    with Session(engine) as session:
        early = begin(shop, shapes.locking, "7", session=session)
        later = Background(lambda: begin(shop, shapes.locking, "7")).join(10)
        Background(lambda: run_messages(shop.sagas.app)).join(10)
        assert later.status is SagaStatus.COMPLETED
        assert line(shop, "7") == []
        session.commit()

    assert line(shop, "7") == [(str(early.id), True)]


def test_starts_of_one_transaction_stand_in_line_in_their_order(shop: Shop, engine: Engine) -> None:
    with Session(engine) as session:
        runs = [begin(shop, shapes.locking, "7", session=session) for _ in range(100)]
        session.commit()

    in_line = "SELECT instance_id FROM sagas.saga_lock WHERE resource = 'account:7' ORDER BY ticket, instance_id"
    assert [id_ for (id_,) in journal.query(shop.database_url, in_line)] == [str(run.id) for run in runs]
