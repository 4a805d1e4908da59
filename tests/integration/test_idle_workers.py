"""Which workers call themselves idle: an idle worker is evidence that a message beside it is lost."""

from tests.conftest import Shop
from tests.support import journal
from tests.support.workers import eventually, running

#: Seconds between a worker's last heartbeat and its last idle one; None until it was idle once.
LAG = "SELECT extract(epoch FROM heartbeat_at - idle_at)::float FROM sagas.saga_worker WHERE idle_at IS NOT NULL"


def lag(shop: Shop) -> float | None:
    rows = journal.query(shop.database_url, LAG)
    return rows[0][0] if rows else None


def test_a_worker_that_keeps_a_message_until_its_eta_is_not_idle(shop: Shop) -> None:
    with running(shop.worker()):
        eventually(lambda: lag(shop) is not None, "the worker to be idle")

        shop.sagas.app.send_task("celery.backend_cleanup", countdown=600)

        # Its heartbeats go on, and none of them says that it is idle
        eventually(lambda: (lag(shop) or 0) > 3, "the worker to have been busy for some heartbeats")
