"""Which workers call themselves idle: an idle worker is evidence that a message beside it is lost."""

import threading

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


def test_a_worker_that_takes_one_quick_task_after_the_other_is_not_idle(shop: Shop) -> None:
    with running(shop.worker()):
        eventually(lambda: lag(shop) is not None, "the worker to be idle")
        enough = threading.Event()

        def send() -> None:
            while not enough.wait(0.03):
                shop.sagas.app.send_task("celery.backend_cleanup")

        sender = threading.Thread(target=send)
        sender.start()
        try:
            # At most moments it has nothing in hand
            eventually(lambda: (lag(shop) or 0) > 5, "the worker to have been busy for some heartbeats")
        finally:
            enough.set()
            sender.join()
