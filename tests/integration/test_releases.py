"""D4: two releases of the library side by side, the last one and this one."""

import itertools
from pathlib import Path

import pytest

from sagas import Child, PlanChanged, Saga, Step
from tests.conftest import Shop
from tests.integration.test_cli import command
from tests.support import journal
from tests.support.last_release import worker_of
from tests.support.programs import briefly
from tests.support.workers import Worker, eventually


@pytest.fixture
def old(shop: Shop, last_release: Path) -> Worker:
    """A worker of the last release, not started yet."""
    return worker_of(last_release, shop.database_url, shop.broker_url, shop.directory / "old.log")


def test_d4_check_names_a_worker_of_the_last_release_while_it_is_alive(shop: Shop, old: Worker) -> None:
    check = command(shop.database_url, shop.broker_url)
    with briefly(shop.worker(name="new")):
        assert check("check").stdout.strip() == "no problems found"
        with briefly(old):
            told = check("check")

    assert told.returncode == 1
    assert "worker old@" in told.stdout
    assert "runs an older release, and this is " in told.stdout
    assert "new@" not in told.stdout


def test_d4_check_goes_on_where_no_database_answers(shop: Shop) -> None:
    nowhere = command("postgresql://nobody@/nowhere?host=/nonexistent", shop.broker_url)

    told = nowhere("check")

    assert (told.returncode, told.stdout.strip()) == (0, "no problems found")
    assert "the database could not be asked about its workers: " in told.stderr


def test_d11_what_the_last_release_has_started_starts_under_its_version(shop: Shop) -> None:
    task = type("Pay", (shop.sagas.app.Task,), {"name": "shop.pay", "run": lambda self: None})
    saga = Saga("paying", steps=[Step(shop.sagas.app.register_task(task()), compensation=None)])
    parent = Saga("parent-of-paying", steps=[Child(saga)])
    engine = shop.sagas.engine
    for one in (saga, parent):
        former = one.former_plan(engine)
        assert former is not None
        engine.start(
            former, key="of the last release", data="{}", deadline=None, deadline_seconds=None, transaction=None
        )

    started = shop.sagas.start(saga, {}, key="of this one")
    started_too = shop.sagas.start(parent, {}, key="of this one")

    assert [step.name for step in started.steps] == ["run"]
    assert started_too.snapshot().plan == parent.former_plan(engine)
    # Only what has changed in fact is refused.
    with pytest.raises(PlanChanged, match="paying"):
        shop.sagas.start(Saga("paying", steps=[Step(saga.tasks()[0], compensation=None, timeout=5)]), {})

    for name, key in itertools.product(("paying", "parent-of-paying"), ("of the last release", "of this one")):
        run = shop.sagas.find(saga=name, key=key)
        assert run is not None
        run.cancel("make room")
    in_flight = "SELECT id FROM sagas.saga_instance WHERE due_at IS NOT NULL"
    eventually(lambda: shop.sagas.sweep() is None or not journal.query(shop.database_url, in_flight), "them to end")
    assert [step.name for step in shop.sagas.start(saga, {}).steps] == ["pay"]
