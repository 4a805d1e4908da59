"""A process dies at one point of the protocol, and everything ends as if it had not, but for the step it held."""

from functools import partial

from sagas.engine import CONTROL_QUEUE
from tests.conftest import Shop
from tests.faults.boundaries.conftest import BegunTrials
from tests.faults.boundaries.lanes import waiting
from tests.faults.boundaries.points import Case
from tests.support.workers import eventually


def test_whoever_dies_at_a_boundary_leaves_nothing_behind(begun_trials: BegunTrials, case: Case) -> None:
    begun_trials.died(case)


def is_silent(shop: Shop) -> bool:
    """No message waits in any queue."""
    queues = (shop.sagas.app.conf.task_default_queue, CONTROL_QUEUE)
    return all(waiting(shop, queue) == 0 for queue in queues)


def test_nothing_happens_after_the_end(begun_trials: BegunTrials) -> None:
    """A message that went twice has found nothing to do, wherever it was when its saga ended."""
    for shop in begun_trials.shops:
        eventually(partial(is_silent, shop), "the queues to be empty", 60)

    assert [ended for ended in begun_trials.ended() if not ended.still()] == []
