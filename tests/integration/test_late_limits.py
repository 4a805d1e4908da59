"""A time limit that strikes in the library's own code, and messages that are older than what they ask for (M6, M10)."""

import signal
import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import shared_task
from sqlalchemy import Connection, event, make_url

from sagas import Saga, SagaStatus, current_step, parallel
from sagas.engine import CONTROL_QUEUE
from sagas.engine.loop import Loop
from sagas.engine.transaction import StepTransaction
from sagas.model import Failed, Secrecy
from sagas.store import HotPath
from tests.conftest import Shop
from tests.support import journal, scripted
from tests.support.application import make
from tests.support.bench import Background, Bench
from tests.support.inline import run_message, run_messages


@pytest.fixture(autouse=True)
def _journal(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_m6_a_limit_that_strikes_around_the_completion_looks_at_its_own_token_first(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    # Given: the signal comes right before or right after the second step's completion is committed
    completes, struck = HotPath.complete, []

    def complete(self: HotPath, instance_id: Any, plan: Any, address: Any, **options: Any) -> Any:
        strikes = address.position == 1 and not struck
        if strikes and moment == "before":
            struck.append(address)
            raise SoftTimeLimitExceeded
        progress = completes(self, instance_id, plan, address, **options)
        if strikes:
            struck.append(address)
            raise SoftTimeLimitExceeded
        return progress

    monkeypatch.setattr(HotPath, "complete", complete)

    # When
    run = shop.start(scripted.three)
    run_messages(shop.sagas.app)

    # Then: the body was done, and that is what is recorded
    assert struck
    assert run.status is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "b", "c"]
    assert [step.attempts for step in run.steps] == [1, 1, 1]


@pytest.mark.parametrize("step", ["b", "undo b"])
def test_m6_h12_a_limit_that_strikes_when_the_steps_transaction_was_rolled_back_does_not_record_it_as_done(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    # Given: the connection of its first try is lost after its write, and then the signal comes, before that is recorded
    handles, struck = Loop.handle, []

    def handle(self: Loop, instance_id: Any, event: Any, **options: Any) -> Any:
        if isinstance(event, Failed) and event.address.position == 1 and not struck:
            struck.append(event)
            raise SoftTimeLimitExceeded
        return handles(self, instance_id, event, **options)

    monkeypatch.setattr(Loop, "handle", handle)
    lost = f"write:{step},swallow:SELECT pg_terminate_backend(pg_backend_pid())"
    script = {step: [lost, f"write:{step}"], "c": ["no"] if step == "undo b" else []}

    # When
    run = shop.start(scripted.three, script)
    for queue in ("celery", CONTROL_QUEUE, "celery"):
        run_messages(shop.sagas.app, queue)

    # Then: it was tried again, and what it says to have done is there
    assert struck
    assert run.status is (SagaStatus.COMPENSATED if step == "undo b" else SagaStatus.COMPLETED)
    assert journal.ledger(shop.database_url, run.id) == [step]


@pytest.mark.parametrize("body", ["ok", "write:b"])
@pytest.mark.parametrize("strikes_in", ["the library", "the codec"])
def test_m6_a_limit_that_strikes_while_a_result_is_encoded_says_nothing_of_the_result(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, strikes_in: str, body: str
) -> None:
    # Given: what encrypts the second step's result takes too long
    encodes, struck = Secrecy.dumps, []

    class SlowService:
        def encrypt(self, data: bytes) -> bytes:
            raise SoftTimeLimitExceeded

        def decrypt(self, token: bytes) -> bytes:
            raise AssertionError("nothing is encrypted")

    def dumps(self: Secrecy, value: Any, what: str, **options: Any) -> str:
        if what == "result of b" and not struck:
            struck.append(what)
            if strikes_in == "the library":
                raise SoftTimeLimitExceeded
            return Secrecy(["b_done"], SlowService()).dumps(value, what, **options)
        return encodes(self, value, what, **options)

    monkeypatch.setattr(Secrecy, "dumps", dumps)

    # When
    run = shop.start(scripted.three, {"b": [body]})
    run_messages(shop.sagas.app)

    # Then: the body was done, and that is all that is recorded
    assert struck
    assert run.status is SagaStatus.COMPLETED
    assert [journal.events(shop.database_url, run.id, event) for event in ("attempt_failed", "late_success")] == [0, 0]
    assert shop.effects(run) == ["a", "b", "c"]
    assert journal.ledger(shop.database_url, run.id) == (["b"] if body == "write:b" else [])


@shared_task
def write_and_give() -> dict[str, str]:
    scripted.enter_in_ledger(current_step.name)
    return {"given": current_step.name}


clashing = Saga(
    "clashing-writers",
    steps=[parallel(*(scripted.step(name, task=write_and_give, compensation=None) for name in "ab"))],
)


def test_h12_a_limit_that_strikes_while_the_steps_transaction_is_closed_does_not_leave_its_locks_behind(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: the second branch returns the first one's key, and the signal comes as its transaction is given up
    rolls_back, struck = StepTransaction.rollback, []

    def close(self: Connection) -> None:
        struck.append(self)
        raise SoftTimeLimitExceeded

    def rollback(self: StepTransaction) -> None:
        with monkeypatch.context() as patched:
            if self.is_open and not struck:
                patched.setattr(Connection, "close", close)
            rolls_back(self)

    monkeypatch.setattr(StepTransaction, "rollback", rollback)
    impatient = make_url(shop.database_url).update_query_dict({"options": "-clock_timeout=3s"})
    sagas = make(shop.broker_url, impatient.render_as_string(hide_password=False))  # not to wait for its own locks

    # When
    run = sagas.start(clashing, {})
    run_messages(sagas.app)

    # Then: the saga's row is free for who records the failure, and the next try tells what is wrong
    assert struck
    assert run.status is SagaStatus.COMPENSATED
    assert run.error is not None
    assert run.error.type == "sagas.KeyClash"
    assert len(journal.ledger(shop.database_url, run.id)) == 1
    sagas.engine.store.database.dispose()


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_h12_a_limit_that_strikes_in_the_commit_of_the_steps_transaction_does_not_leave_its_locks_behind(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    # Given: the signal comes when the commit was asked for, and not sent yet
    commits, struck = StepTransaction.commit, []

    def strike(connection: Connection) -> None:
        struck.append(connection)
        raise SoftTimeLimitExceeded

    def commit(self: StepTransaction) -> None:
        if not struck:
            event.listen(self.connection, "commit", strike)
        commits(self)

    monkeypatch.setattr(StepTransaction, "commit", commit)
    url = make_url(shop.database_url).set(drivername=f"postgresql+{driver}")
    impatient = url.update_query_dict({"options": "-clock_timeout=3s"})  # where it would wait for its own locks
    sagas = make(shop.broker_url, impatient.render_as_string(hide_password=False))

    # When
    run = sagas.start(scripted.three, {"script": {"b": ["write:b", "write:b"]}})
    run_messages(sagas.app)

    # Then: it was tried again
    assert struck
    assert run.status is SagaStatus.COMPLETED
    assert [step.attempts for step in run.steps] == [1, 2, 1]
    assert journal.ledger(shop.database_url, run.id) == ["b"]
    sagas.engine.store.database.dispose()


@pytest.mark.parametrize("body", ["ok", "write:b"])
@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_m6_h12_a_limit_that_strikes_while_the_completion_waits_for_the_database_is_survived(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, driver: str, body: str
) -> None:
    # Given: somebody has the saga's row, and the signal comes while the second step's completion waits for it; one
    # driver is interrupted by it in the middle of the statement, and the other one is not
    completes, struck = HotPath.complete, []
    bench = Bench(shop.database_url, shop.sagas.engine.store)
    url = make_url(shop.database_url).set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)
    sagas = make(shop.broker_url, url)

    def limit(signum: int, frame: object) -> None:
        raise SoftTimeLimitExceeded

    def strike(holder: Any) -> None:
        bench.wait_for_lock_waiters(1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        holder.rollback()

    def complete(self: HotPath, instance_id: Any, plan: Any, address: Any, **options: Any) -> Any:
        if address.position == 1 and not struck:
            holder = bench.driver()
            holder.autocommit = False
            holder.cursor().execute("SELECT FROM sagas.saga_instance WHERE id = %s FOR UPDATE", (str(instance_id),))
            struck.append(Background(lambda: strike(holder)))
        return completes(self, instance_id, plan, address, **options)

    monkeypatch.setattr(HotPath, "complete", complete)
    former = signal.signal(signal.SIGUSR1, limit)

    # When
    try:
        run = sagas.start(scripted.three, {"script": {"b": [body, body]}})
        run_messages(sagas.app)
    finally:
        signal.signal(signal.SIGUSR1, former)

    # Then
    struck[0].join()
    assert run.status is SagaStatus.COMPLETED
    assert journal.ledger(shop.database_url, run.id) == (["b"] if body == "write:b" else [])
    sagas.engine.store.database.dispose()
    bench.close()


def test_m10_a_message_from_another_queue_with_other_limits_does_what_the_plan_says(shop: Shop) -> None:
    # Given: the message as an older release would have sent it
    run = shop.start(scripted.three, {"a": "tell:deadline"})
    app = shop.sagas.app
    with app.connection_for_read() as connection:
        source, old = connection.SimpleQueue("celery"), connection.SimpleQueue("old")
        message = source.get(block=False)
        message.ack()
        how = {"content_type": message.content_type, "content_encoding": message.content_encoding}
        old.put(message.body, headers=message.headers | {"timelimit": [1, 1]}, **how)
        moved = old.get(block=True, timeout=5)
        moved.ack()
        run_message(app, moved)
        source.close()
        old.close()

    # When
    run_messages(app)

    # Then: its deadline is that of the plan's timeout, a minute away
    assert run.status is SagaStatus.COMPLETED
    (told,) = [effect for effect in shop.effects(run) if effect.startswith("deadline=")]
    started = run.steps[0].started_at
    assert started is not None
    deadline = datetime.fromisoformat(told.removeprefix("deadline="))
    assert timedelta(seconds=59) < deadline - started < timedelta(seconds=61)
