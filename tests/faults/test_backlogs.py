"""A backlog is not a loss, whoever starts to work on it in the middle (H5)."""

from sagas.engine import SWEEP_TASK
from tests.conftest import Shop
from tests.support import journal, queues, scripted
from tests.support.workers import Worker, eventually, running

#: Longer than the lease and every doubling of it that could matter here.
A_WHILE = "SELECT count(*) FROM sagas.saga_step WHERE round = 0 AND status = 'completed'"
SAGAS, STEPS = 30, 3


def messages_of_steps(*workers: Worker) -> int:
    """How many these have taken in."""
    return sum(name != SWEEP_TASK for worker in workers for name in queues.received(worker))


def test_h5_a_worker_that_starts_behind_a_backlog_makes_nobody_send_it_again(shop: Shop) -> None:
    # Given: many that wait behind one worker for longer than a lease
    runs = [shop.start(scripted.three, {"a": "sleep:0.3", "b": "sleep:0.3", "c": "sleep:0.3"}) for _ in range(SAGAS)]
    workers = [shop.worker("-c", "1", name=name) for name in ("first", "second", "third")]
    with running(workers[0]):
        eventually(lambda: journal.query(shop.database_url, A_WHILE)[0][0] >= 8, "the first to have worked a while")

        # When: others come to help
        with running(workers[1]), running(workers[2]):
            for run in runs:
                run.wait(90)

    # Then: each step had one message
    assert messages_of_steps(*workers) == SAGAS * STEPS
    assert all(shop.effects(run) == ["a", "b", "c"] for run in runs)
