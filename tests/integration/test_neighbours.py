"""D25: two applications on one broker, or in one schema, are told of each other; a control queue each is the cure."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sagas import Saga, Sagas, SagaStatus
from sagas.engine import CALLBACK_TASK, CONTROL_QUEUE, HOME_HEADER, PURGE_TASK, left_in
from tests.integration.test_cli import command
from tests.support import journal, queues
from tests.support.neighbours import make
from tests.support.programs import briefly
from tests.support.workers import Worker, eventually

APPLICATION = "tests.support.neighbours"


class SharedBroker:
    """One broker and one database, and who lives there."""

    def __init__(self, database_url: str, broker_url: str, directory: Path) -> None:
        self.servers = {"SAGAS_DATABASE_URL": database_url, "SAGAS_BROKER_URL": broker_url}
        self.database_url, self.broker_url, self.directory = database_url, broker_url, directory
        self.made: list[Sagas] = []

    def app(self, name: str, **options: Any) -> tuple[Sagas, Saga]:
        sagas, saga = make(name, self.broker_url, self.database_url, **options)
        sagas.migrate()
        self.made.append(sagas)
        return sagas, saga

    def worker(self, name: str, **environment: str) -> Worker:
        arguments = ("-n", f"{name}@%h", "-c", "2", "--pool", "threads")
        known = self.servers | {"NEIGHBOUR": name} | environment
        worker = Worker(known, self.directory / f"{name}.log", application=APPLICATION, arguments=arguments)
        worker._command.remove("--without-mingle")  # which looks around, too
        return worker

    def check(self, name: str, **environment: str) -> tuple[int, str]:
        run = command(self.database_url, self.broker_url, APPLICATION)
        done = run("check", NEIGHBOUR=name, **environment)
        return done.returncode, done.stdout


@pytest.fixture
def shared(database_url: str, broker_url: str, tmp_path: Path) -> Iterator[SharedBroker]:
    made = SharedBroker(database_url, broker_url, tmp_path)
    yield made
    for sagas in made.made:
        sagas.engine.store.database.dispose()


def said(worker: Worker, text: str) -> Callable[[], bool]:
    return lambda: text in worker.text()


def ended(sagas: Sagas, saga: Saga) -> None:
    """It turns back at once: its error callback came to a worker of its own, and no timer sweeps here."""
    run = sagas.start(saga, {})
    run.wait(timeout=20)
    assert run.status is SagaStatus.COMPENSATED


def test_d25_the_second_of_two_apps_on_one_broker_is_told_at_its_start_and_by_check(
    shared: SharedBroker,
) -> None:
    shop, order = shared.app("shop", schema="sagas_shop")
    shared.app("blog", schema="sagas_blog")
    one = shared.worker("shop", NEIGHBOUR_SCHEMA="sagas_shop")
    two = shared.worker("blog", NEIGHBOUR_SCHEMA="sagas_blog")

    with briefly(one, two):
        eventually(said(two, "sagas of another application clash with ours: worker shop@"), "the worker to be loud")
        returned, told = shared.check("blog", NEIGHBOUR_SCHEMA="sagas_blog")
        for _ in range(5):
            ended(shop, order)

    assert "schema 'sagas_shop'" in two.text()
    assert returned == 1
    assert "consumes the control queue 'sagas' for sagas in schema 'sagas_shop'" in told
    assert "Sagas(control_queue='…')" in told
    assert CALLBACK_TASK not in queues.received(two)


def test_d25_a_control_queue_each_is_the_cure(shared: SharedBroker) -> None:
    shop, order = shared.app("shop", schema="sagas_shop")
    blog, post = shared.app("blog", schema="sagas_blog", control_queue="blog-sagas")
    one = shared.worker("shop", NEIGHBOUR_SCHEMA="sagas_shop")
    cured = {"NEIGHBOUR_SCHEMA": "sagas_blog", "NEIGHBOUR_QUEUE": "blog-sagas"}
    two = shared.worker("blog", **cured)

    with briefly(one, two):
        assert shared.check("blog", **cured) == (0, "no problems found\n")
        assert shared.check("shop", NEIGHBOUR_SCHEMA="sagas_shop") == (0, "no problems found\n")
        ended(shop, order)
        ended(blog, post)
        rows = "SELECT app, control_queue FROM sagas_blog.saga_worker"
        eventually(lambda: journal.query(shared.database_url, rows) == [("blog", "blog-sagas")], "its row to tell")

    assert "clash" not in one.text() + two.text()


def test_d25_a_foreign_message_goes_back_once_and_is_dropped_when_nobody_else_takes_it(
    shared: SharedBroker,
) -> None:
    """A purge of another application deletes nothing here."""
    shared.app("shop", schema="sagas_shop")
    blog, _ = shared.app("blog", schema="sagas_blog")
    foreign = queued_purge(shared, "shop", "sagas_shop")
    worker = shared.worker("blog", NEIGHBOUR_SCHEMA="sagas_blog")

    with briefly(worker):
        eventually(said(worker, "control messages of another application, with sagas in schema 'sagas_shop'"), "it")
        eventually(lambda: left_in(CONTROL_QUEUE, blog.engine.messages) == 0, "the queue to be empty")
        with blog.app.connection_for_read() as connection:
            client = connection.default_channel.client
            eventually(lambda: client.hlen("unacked") == 0, "nothing to be held back")

    assert foreign
    assert PURGE_TASK not in queues.received(worker)
    assert worker.text().count("they are put back") == 1


def queued_purge(shared: SharedBroker, name: str, schema: str) -> str:
    """As beat sends it, with the mark of its app's schema."""
    sagas = next(one for one in shared.made if one.app.main == name)
    sagas.app.tasks[PURGE_TASK].apply_async(kwargs={"days": 30}, queue=sagas.control_queue)
    (headers,) = queues.queued(sagas, sagas.control_queue)
    assert f"/{schema}/" in headers[HOME_HEADER]
    return str(headers[HOME_HEADER])


def test_d25_the_former_queue_is_consumed_for_a_release_and_its_rest_is_told(shared: SharedBroker) -> None:
    """As after an upgrade: a purge entry names the queue of before, and an error callback was sent to it."""
    former, order = shared.app("blog", schema="sagas_blog")
    run = former.start(order, {})
    queued_purge(shared, "blog", "sagas_blog")
    moved = {"NEIGHBOUR_SCHEMA": "sagas_blog", "NEIGHBOUR_QUEUE": "blog-sagas"}

    returned, told = shared.check("blog", **moved)
    assert (returned, "1 messages are left in the former control queue 'sagas'" in told) == (0, True)

    worker = shared.worker("blog", **moved)
    with briefly(worker):
        run.wait(timeout=20)
        eventually(lambda: PURGE_TASK in queues.received(worker), "the purge to be run")

    assert run.status is SagaStatus.COMPENSATED


def test_d25_another_plan_of_the_same_saga_in_the_same_schema_is_told(shared: SharedBroker) -> None:
    shared.app("shop", schema="sagas")
    one, two = shared.worker("shop"), shared.worker("shop", NEIGHBOUR_PATIENT="1")
    two.log = shared.directory / "two.log"

    with briefly(one):
        rows = "SELECT plans FROM sagas.saga_worker WHERE plans IS NOT NULL"
        ((plans,),) = eventually(lambda: journal.query(shared.database_url, rows), "the worker to introduce itself")
        assert list(plans if isinstance(plans, dict) else json.loads(plans)) == ["neighbours-order:1"]
        assert shared.check("shop") == (0, "no problems found\n")
        returned, told = shared.check("shop", NEIGHBOUR_PATIENT="1")
        with briefly(two):
            eventually(said(two, "another plan of saga 'neighbours-order' version 1"), "the worker to be loud")

    assert returned == 1
    assert "has another plan of saga 'neighbours-order' version 1" in told
    assert "raise the version" in told
