"""The messages of a saga carry what its start's message would: whoever sends them, and whatever receivers say then."""

import json
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, signals
from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session

from sagas import Saga, SagaHandle, Sagas, SagaStatus, StartRefused
from sagas.testing import inline
from tests.conftest import EmbeddedBroker, EmbeddedPostgres, GivenPostgres, empty_keyspace
from tests.support import journal, queues, tenants
from tests.support.deploys import let_time_pass
from tests.support.inline import run_message, run_messages
from tests.support.programs import briefly
from tests.support.workers import Worker


@pytest.fixture(scope="module")
def url(postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[str]:
    made = postgres.create_database(f"test_{uuid4().hex}")
    journal.create(made)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SAGAS_DATABASE_URL", made)  # where the steps' journal is
        yield made


@dataclass
class Shop:
    """One test's application in this process, and its workers."""

    sagas: Sagas
    database_url: str
    broker_url: str
    directory: Path

    def start(self, saga: Saga = tenants.order, script: Any = None, tenant: str = "acme", **options: Any) -> SagaHandle:
        with tenants.of(tenant):
            return self.sagas.start(saga, {"script": script or {}}, **options)

    def run_messages(self) -> None:
        """A worker's process, in which a former task has left its tenant behind."""
        with tenants.of("a former task's"):
            while run_messages(self.sagas.app) or run_messages(self.sagas.app, "sagas"):
                pass

    def sweep(self) -> None:
        with tenants.of("the sweep's"):
            self.sagas.sweep()

    def effects(self, run: SagaHandle) -> list[str]:
        return journal.effects(self.database_url, run.id)

    def worker(self) -> Worker:
        servers = {"SAGAS_DATABASE_URL": self.database_url, "SAGAS_BROKER_URL": self.broker_url, "SAGAS_TENANTS": "1"}
        log = self.directory / "worker.log"
        return Worker(servers, log, application="tests.support.tenants", arguments=("-c", "2"))


@pytest.fixture
def make(url: str, broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    made: list[Shop] = []

    def shop(**options: Any) -> Shop:
        broker_url = empty_keyspace(broker)
        made.append(Shop(tenants.make(broker_url, url, **options), url, broker_url, tmp_path))
        made[-1].sagas.migrate()
        return made[-1]

    yield shop
    for each in made:
        each.sagas.engine.store.database.dispose()


@pytest.fixture
def shop(make: Callable[..., Shop]) -> Shop:
    return make()


# -- D7: every message, whoever sends it


def test_d7_steps_retries_undos_and_callbacks_of_a_real_worker_carry_the_starts_headers(shop: Shop) -> None:
    with briefly(shop.worker()):
        with tenants.connected(tenants.put):
            good = shop.start()
            bad = shop.start(script={"b": ["flaky"], "c": ["no"]}, tenant="other")

        assert good.wait(30) is SagaStatus.COMPLETED
        assert bad.wait(30) is SagaStatus.COMPENSATED

    assert shop.effects(good) == ["a in acme", "b in acme", "c in acme"]
    assert shop.effects(bad) == [f"{what} in other" for what in ("a", "b", "b", "c", "undo b", "undo a")]


@pytest.mark.parametrize("last", [tenants.overwrite, tenants.put])
def test_d7_a_receiver_that_is_connected_last_does_not_overwrite_them(shop: Shop, last: Any) -> None:
    with tenants.connected(tenants.put):
        run = shop.start(script={"c": ["no"]})
    with tenants.connected(tenants.put, last):
        shop.run_messages()

    assert run.status is SagaStatus.COMPENSATED
    assert shop.effects(run) == [f"{what} in acme" for what in ("a", "b", "c", "undo b", "undo a")]


def test_d7_nested_headers_are_laid_over_too(shop: Shop) -> None:
    with tenants.connected(tenants.put, tenants.put_nested):
        run = shop.start()
    with tenants.connected(tenants.put, tenants.put_nested, tenants.overwrite):
        shop.run_messages()

    assert shop.effects(run) == ["a in acme", "b in acme", "c in acme"]


def test_d7_what_a_sweep_sends_carries_them(shop: Shop) -> None:
    with tenants.connected(tenants.put):
        run = shop.start()
        queues.forget_everything(shop.sagas)
        shop.sagas.engine.store.sweeping.hasten(run.id)
        let_time_pass(shop, run)

        shop.sweep()
        shop.run_messages()

    assert shop.effects(run) == ["a in acme", "b in acme", "c in acme"]


def test_d7_the_error_callback_carries_them_and_no_signature_does(shop: Shop) -> None:
    with tenants.connected(tenants.put):
        shop.start(script={"a": ["no"]}, tenant="a-tenant-to-be-found")
        (first,) = queues.take_out(shop.sagas)
        queues.redeliver(shop.sagas, first)
        with tenants.of("the worker's"):
            run_messages(shop.sagas.app)
        (callback,) = queues.queued(shop.sagas, "sagas")

    assert first["headers"]["tenant"] == callback["tenant"] == "a-tenant-to-be-found"
    # So a window of five does not carry them ten times.
    assert json.dumps(first).count("a-tenant-to-be-found") == 1


def test_d7_what_receivers_hear_after_the_publish_is_what_was_sent(shop: Shop) -> None:
    heard: list[Any] = []

    def hear(headers: Any, **_: Any) -> None:
        heard.append(headers["tenant"])

    with tenants.connected(tenants.put):
        run = shop.start(tenants.patient)
        shop.run_messages()
        heard.clear()
        signals.after_task_publish.connect(hear)
        with tenants.of("the operator's"):
            run.signal("paid")

    assert heard == ["acme"]


# -- D8: a message without them


def send_bare(shop: Shop, run: SagaHandle, **headers: Any) -> None:
    """As a worker of an older release does."""
    old = Celery("old", broker=shop.broker_url, set_as_current=False)
    old.send_task(
        tenants.act.name,
        kwargs={"saga_id": str(run.id)},
        headers={"saga_step": "0.0.0", **headers},
        root_id=str(run.id),
    )
    old.close()


@pytest.mark.parametrize("headers", [{}, {"tenant": "acme"}, {"tenant": "other", "saga_headers": "0" * 16}])
def test_d8_a_message_without_its_sagas_headers_runs_nothing_and_is_sent_again_with_them(
    shop: Shop, headers: dict[str, str]
) -> None:
    with tenants.connected(tenants.put):
        run = shop.start()
    queues.forget_everything(shop.sagas)
    send_bare(shop, run, **headers)

    with tenants.connected():
        shop.run_messages()
        assert shop.effects(run) == []
        (told,) = [entry for entry in run.history() if entry.event == "parked"]
        assert "without the headers of its saga (tenant)" in told.detail["message"]

        let_time_pass(shop, run)
        shop.sweep()
        shop.run_messages()

    assert shop.effects(run) == ["a in acme", "b in acme", "c in acme"]
    assert run.status is SagaStatus.COMPLETED


def test_d8_an_instance_that_keeps_nothing_is_not_compared(shop: Shop) -> None:
    run = shop.start()
    queues.forget_everything(shop.sagas)
    send_bare(shop, run, tenant="of an older release")

    with tenants.connected():
        shop.run_messages()

    assert shop.effects(run)[0] == "a in of an older release, but None is kept and of an older release was sent"
    assert run.status is SagaStatus.COMPLETED


# -- D9: how they are taken


def test_d9_they_are_taken_once_at_start_and_not_at_the_commit(shop: Shop) -> None:
    before: list[str] = []
    after: list[str] = []

    def hear_before(headers: Any, **_: Any) -> None:
        before.append(headers["id"])

    def hear_after(headers: Any, **_: Any) -> None:
        after.append(headers["id"])

    signals.before_task_publish.connect(hear_before)
    signals.after_task_publish.connect(hear_after)
    engine = create_engine(shop.database_url)
    with tenants.connected(tenants.put), Session(engine) as session:
        run = shop.start(session=session)
        assert before == after
        assert len(before) == 1
        assert queues.queued(shop.sagas) == []  # nothing was sent
        with tenants.of("another request's"):
            session.commit()
        (sent,) = queues.queued(shop.sagas)
        assert (sent["tenant"], sent["root_id"]) == ("acme", str(run.id))
        # Receivers that keep books of ids find one message, not two.
        assert before == after == [sent["id"]] * 2
    engine.dispose()


def test_d9_what_is_dispatched_later_has_an_id_of_its_own(shop: Shop) -> None:
    with tenants.connected(tenants.put):
        run = shop.start()
        (first,) = queues.take_out(shop.sagas)
        shop.sagas.engine.store.sweeping.hasten(run.id)
        let_time_pass(shop, run)
        shop.sweep()
        (second,) = queues.of(run.id, queues.queued(shop.sagas))

    assert first["headers"]["id"] != second["id"]


def test_d9_a_task_class_whose_own_apply_async_adds_the_tenant_is_seen(make: Callable[..., Shop]) -> None:
    shop = make(task_cls=tenants.TenantTask)
    with tenants.connected():
        run = shop.start(script={"c": ["no"]})
        shop.run_messages()

    assert shop.effects(run) == [f"{what} in acme" for what in ("a", "b", "c", "undo b", "undo a")]


def test_d9_a_task_class_that_loses_the_headers_it_is_given_is_refused_at_start(make: Callable[..., Shop]) -> None:
    shop = make(task_cls=tenants.CarelessTask)

    with pytest.raises(StartRefused, match="publishes without the headers that its apply_async is given"):
        shop.start()


def test_d9_an_eager_app_runs_no_step_for_them(shop: Shop) -> None:
    shop.sagas.app.conf.task_always_eager = True

    with tenants.connected(tenants.put):
        assert shop.sagas.engine.begin(tenants.order.plan(shop.sagas.engine)).headers is None


def test_d9_what_receivers_leave_behind_in_their_context_is_not_left_in_the_callers(shop: Shop) -> None:
    span: ContextVar[str] = ContextVar("span", default="the caller's")

    def begin(**_: Any) -> None:
        span.set("the capture's")

    with tenants.connected(begin):
        shop.start()

    assert span.get() == "the caller's"


def test_d9_off_means_nothing_is_fired_nothing_kept_and_messages_go_as_they_are(make: Callable[..., Shop]) -> None:
    shop = make(headers=None)
    with tenants.connected(tenants.put):
        run = shop.start()
        (sent,) = queues.queued(shop.sagas)

    assert "saga_headers" not in sent
    assert run.snapshot().headers == []


def test_d9_a_broker_that_is_away_keeps_no_start_waiting_for_them(make: Callable[..., Shop], url: str) -> None:
    sagas = tenants.make("redis://127.0.0.1:1/0", url)
    with tenants.connected(tenants.put), tenants.of("acme"):
        run = sagas.start(tenants.order, {"script": {}})

    assert run.snapshot().headers == ["tenant"]
    sagas.engine.store.instances.delete([run.id])  # it waits in a line that others would join
    sagas.engine.store.database.dispose()


# -- D24: who inherits


def test_d24_a_child_takes_its_parents(shop: Shop) -> None:
    with tenants.connected(tenants.put):
        run = shop.start(tenants.parent)
        shop.run_messages()
    of_it = "SELECT id FROM sagas.saga_instance WHERE parent_id = %s"
    ((child,),) = journal.query(shop.database_url, of_it, str(run.id))

    assert run.status is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a in acme", "z in acme"]
    assert shop.effects(shop.sagas.get(child)) == ["a in acme", "b in acme", "c in acme"]


def test_d24_an_existing_key_keeps_its_own_and_a_restart_has_new_ones(shop: Shop) -> None:
    key = uuid4().hex
    with tenants.connected(tenants.put):
        first = shop.start(script={"a": ["no"]}, key=key)
        again = shop.start(key=key, tenant="other")
        shop.run_messages()
        anew = shop.start(key=key, tenant="other", if_exists="restart")
        shop.run_messages()

    assert again.id == first.id != anew.id
    assert shop.effects(first) == ["a in acme"]
    assert shop.effects(anew) == ["a in other", "b in other", "c in other"]


def test_d24_a_signal_a_cancel_and_a_retry_are_by_somebody_and_for_the_sagas_tenant(shop: Shop) -> None:
    with tenants.connected(tenants.put):
        told, cancelled = shop.start(tenants.patient), shop.start()
        with tenants.of("the operator's"):
            told.signal("paid")
            (header,) = queues.of(told.id, queues.queued(shop.sagas))
            assert header["tenant"] == "acme"
        run_messages_of_one_step(shop)
        with tenants.of("the operator's"):
            cancelled.cancel("changed mind")
        shop.run_messages()

    assert shop.effects(told) == ["a in acme"]
    assert cancelled.status is SagaStatus.COMPENSATED
    assert {entry.rpartition(" in ")[2] for entry in shop.effects(cancelled)} == {"acme"}


def run_messages_of_one_step(shop: Shop) -> None:
    """The first message of each saga, and not what follows it."""
    waiting = queues.take_out(shop.sagas)
    for message in waiting:
        queues.redeliver(shop.sagas, message)
    with shop.sagas.app.connection_for_read() as connection:
        source = connection.SimpleQueue("celery")
        for _ in waiting:
            message = source.get(timeout=5)
            message.ack()
            run_message(shop.sagas.app, message)
        source.close()


def test_d32_they_ride_in_the_start_and_in_the_claims(shop: Shop) -> None:
    with tenants.connected(tenants.put):
        shop.start()
        shop.run_messages()
        sent: list[str] = []
        heard = shop.sagas.engine.store.database.engine
        event.listen(heard, "before_cursor_execute", lambda *given: sent.append(" ".join(given[2].split())[:40]))

        run = shop.start()
        shop.run_messages()
        statements = [each for each in sent if not each.startswith("PREPARE")]  # once a session

    assert run.status is SagaStatus.COMPLETED
    assert len(statements) == 7, statements  # a start, three claims, three completions


@pytest.mark.parametrize("eager", [False, True], ids=["", "eager"])
def test_d9_inline_gives_steps_the_headers_of_their_start(shop: Shop, eager: bool) -> None:
    shop.sagas.app.conf.task_always_eager = eager
    with tenants.connected(tenants.put), inline(shop.sagas) as caught:
        run = shop.start(script={"c": ["no"]})
        with tenants.of("the test's"):
            caught.run()

    assert run.status is SagaStatus.COMPENSATED
    assert shop.effects(run) == [f"{what} in acme" for what in ("a", "b", "c", "undo b", "undo a")]
    assert queues.queued(shop.sagas) == []
