"""A body that blocks stops every greenlet of its worker, the heartbeat among them: it is alive all the same."""

from contextlib import ExitStack

from sagas import SagaStatus
from tests.conftest import Shop
from tests.faults.killed_at_end import killed_at_end
from tests.support import blocking, journal, scripted, self_retrying
from tests.support.workers import Worker, eventually


def green_worker(shop: Shop) -> Worker:
    modules = "tests.support.self_retrying,tests.support.blocking"
    return shop.worker("-P", "gevent", "-c", "4", "-I", modules, name="green")


def test_a_step_that_blocks_its_worker_for_long_is_run_once(shop: Shop) -> None:
    # Given: a worker of greenlets whose hub is blocked for much longer than the silence that declares one dead
    long = 8 * shop.sagas.engine.store.timing.lease.total_seconds()
    with ExitStack() as workers:
        workers.enter_context(killed_at_end(green_worker(shop)))
        run = shop.sagas.start(blocking.blocking, {"seconds": long})
        eventually(lambda: shop.effects(run) == ["a"], "the step to block its worker")

        # When: others sit idle beside it, and sweep
        workers.enter_context(killed_at_end(shop.worker("-c", "1", "-I", "tests.support.blocking", name="other")))
        ended = run.wait(60)

    # Then
    assert ended is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a"]
    assert [(step.attempts, step.losses) for step in run.steps] == [(1, 0)]


def test_a_worker_of_greenlets_that_is_killed_loses_nothing(shop: Shop) -> None:
    worker = green_worker(shop)
    with killed_at_end(worker):
        run = shop.start(scripted.three, {"b": ["before:wait:door"]})
        eventually(lambda: run.steps[1].status == "running", "b to run")
        worker.kill()
        with killed_at_end(shop.worker("-c", "1", name="other")):
            ended = run.wait(60)

    assert ended is SagaStatus.COMPLETED
    assert run.steps[1].losses == 1


def test_a_greenlet_that_a_person_terminates_is_not_run_again(shop: Shop) -> None:
    with killed_at_end(green_worker(shop)):
        run = shop.sagas.start(self_retrying.working, {"script": {}})
        eventually(lambda: shop.effects(run) == ["b"], "b to run")
        found = "SELECT delivery FROM sagas.saga_step WHERE instance_id = %s AND status = 'running'"
        ((delivery,),) = journal.query(shop.database_url, found, str(run.id))
        shop.sagas.app.control.revoke(delivery, terminate=True)
        ended = run.wait(60)

    assert ended is SagaStatus.COMPENSATED
    assert shop.effects(run) == ["b", "undo b"]
    assert (run.steps[0].attempts, run.steps[0].losses, run.steps[0].in_doubt) == (1, 0, True)
