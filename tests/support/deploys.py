"""Workers of one release or another (see `releases`), and a way to skip the time between them."""

from sagas import SagaHandle
from tests.conftest import Shop
from tests.support import journal, releases
from tests.support.workers import Worker


def worker_of(shop: Shop, release: str, *arguments: str, **environment: str) -> Worker:
    """Make a worker that runs release ``"1"`` or ``"2"``; it is not started yet."""
    settings = {"TEST_RELEASE": release, "SAGAS_TEST_SETTINGS": f"include={releases.__name__}"}
    return shop.worker(*arguments, name=f"release-{release}", **(settings | environment))


def let_time_pass(shop: Shop, run: SagaHandle) -> None:
    """End everything that an instance sleeps or waits for before it looks again."""
    over = "UPDATE sagas.saga_step SET not_before = clock_timestamp() WHERE instance_id = %s AND not_before IS NOT NULL"
    due = "UPDATE sagas.saga_instance SET due_at = clock_timestamp() WHERE id = %s AND due_at IS NOT NULL"
    journal.query(shop.database_url, over, str(run.id))
    journal.query(shop.database_url, due, str(run.id))
