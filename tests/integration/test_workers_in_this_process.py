"""Workers that an application's own tests start in their process, as Celery's documentation teaches."""

import pytest
from celery.contrib.testing.worker import start_worker

from sagas import SagaStatus
from tests.conftest import Shop
from tests.support import scripted


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_worker_in_this_process_completes_and_compensates(
    shop: Shop, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)  # where the steps find their journal

    with start_worker(shop.sagas.app, pool=pool, concurrency=2, perform_ping_check=False, shutdown_timeout=30):
        good = shop.start(scripted.three)
        bad = shop.start(scripted.three, {"c": ["no"]})

        assert good.wait(30) is SagaStatus.COMPLETED
        assert bad.wait(30) is SagaStatus.COMPENSATED

    assert shop.effects(good) == ["a", "b", "c"]
    assert shop.effects(bad) == ["a", "b", "undo b", "undo a"]
