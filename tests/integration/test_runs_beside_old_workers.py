"""Workers of the last release, which know no choreography, beside those that run one."""

from pathlib import Path

import pytest

from sagas import SagaStatus
from tests.conftest import Shop
from tests.support import journal
from tests.support.choreographed import Noted, Ordered, Shipped, ring
from tests.support.last_release import worker_of
from tests.support.programs import briefly
from tests.support.workers import eventually


@pytest.mark.slow
def test_runs_go_on_beside_workers_that_know_no_choreography(shop: Shop, last_release: Path) -> None:
    shop.sagas.register()
    engine = shop.sagas.engine
    old = worker_of(last_release, shop.database_url, shop.broker_url, shop.directory / "old.log")
    new = shop.worker("-c", "2", "-I", "tests.support.choreographed", name="new")
    with briefly(old, new):
        runs = [ring.start_on(engine, Ordered(script={"charge": ["flaky", "say:nothing"]})) for _ in range(2)]
        declined = ring.start_on(engine, Ordered(script={"charge": "say:declined"}))
        for run in runs:
            ring.publish_on(engine, Noted(script={"note 1": ["flaky"]}, number=1), run=run)
        eventually(lambda: all("note 1" in shop.effects(run) for run in runs), "the notes", 90)
        for run in runs:
            ring.publish_on(engine, Shipped(script={}), run=run)
        for run in runs:
            assert run.wait(90) is SagaStatus.COMPLETED
        assert declined.wait(90) is SagaStatus.COMPENSATED

    for run in (*runs, declined):
        assert journal.events(shop.database_url, run.id, "sweep_failed") == 0, run.timeline()
