"""Two `Sagas` in one process: each has its own database, its own tasks, its own sweep."""

import random
from collections.abc import Iterator
from uuid import uuid4

import pytest

from config.servers import EmbeddedPostgres, drop_database
from sagas import InstanceNotFound, NotBound, SagaStatus
from tests.conftest import GivenPostgres, Shop
from tests.support import journal, scripted
from tests.support.application import make
from tests.support.bench import Bench
from tests.support.inline import run_messages


@pytest.fixture
def other_url(postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    yield postgres.create_database(name)
    drop_database(postgres.url, name)


@pytest.fixture
def shops(shop: Shop, other_url: str) -> Iterator[tuple[Shop, Shop]]:
    """Two applications with a database each, on one broker."""
    sagas = make(shop.broker_url, other_url)
    sagas.migrate()
    journal.create(other_url)
    yield shop, Shop(sagas, other_url, shop.broker_url, shop.directory)
    sagas.engine.store.database.dispose()


def test_each_starts_finds_and_sweeps_in_its_own_database(shops: tuple[Shop, Shop]) -> None:
    one, two = shops
    first, second = one.start(scripted.three, key="k"), two.start(scripted.three, key="k")

    assert first != second
    assert one.sagas.find(saga="three", key="k") == first
    assert two.sagas.find(saga="three", key="k") == second
    with pytest.raises(InstanceNotFound):
        two.sagas.get(first.id)


def test_each_apps_sweep_task_sweeps_its_own(shops: tuple[Shop, Shop]) -> None:
    for shop in random.sample(shops, 2):
        rows = [Bench(each.database_url, each.sagas.engine.store) for each in shops]
        for each in rows:
            each.sql("UPDATE {s}.saga_sweep SET swept_at = '-infinity'")

        shop.sagas.app.tasks["sagas.sweep"]()

        swept = [each.sql("SELECT swept_at > '-infinity' FROM {s}.saga_sweep")[0][0] for each in rows]
        assert swept == [each is shop for each in shops]


def test_the_process_of_one_app_does_not_run_the_others_instances(
    shops: tuple[Shop, Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = shops
    monkeypatch.setenv("SAGAS_DATABASE_URL", two.database_url)
    first, second = one.start(scripted.three), two.start(scripted.three)

    run_messages(two.sagas.app)

    # Then: a message whose row is elsewhere is dropped
    assert second.status is SagaStatus.COMPLETED
    assert two.effects(second) == ["a", "b", "c"]
    assert first.status is SagaStatus.PENDING


def test_a_start_that_does_not_say_on_which_of_them_is_refused(shops: tuple[Shop, Shop]) -> None:
    with pytest.raises(
        NotBound, match=r"several Sagas exist in this process; say which with sagas.start\(saga, data\)"
    ):
        scripted.three.start({"script": {}})
    assert [len(each.sagas.list()) for each in shops] == [0, 0]
