"""The broker killed, emptied and away: PostgreSQL is the truth, so every saga ends all the same."""

import time
from collections.abc import Callable, Iterator

import pytest

from config.demo import faults
from config.servers import EmbeddedBroker
from sagas import SagaHandle, SagaStatus
from tests.faults.killed_at_end import killed_at_end
from tests.faults.order_shop import OrderShop
from tests.support.workers import Worker, eventually


@pytest.fixture
def forgetful_broker() -> Iterator[EmbeddedBroker]:
    """A broker of this test's own, that forgets everything when it is killed."""
    with EmbeddedBroker(persistent=False) as server:
        yield server


@pytest.fixture
def shop(
    make_orders: Callable[..., OrderShop], database_url: str, forgetful_broker: EmbeddedBroker
) -> Iterator[OrderShop]:
    made = make_orders(database_url, forgetful_broker.url, 0.5, 0.5)
    yield made
    made.sagas.app.close()


def supervise(*workers: Worker) -> None:
    """Start a worker again that has ended, as compose or systemd do: Celery's own give up at some outages."""
    for worker in workers:
        if worker.process is not None and worker.process.poll() is not None:
            worker.start()


def test_orders_survive_a_broker_that_dies_and_comes_back_empty(
    shop: OrderShop, forgetful_broker: EmbeddedBroker
) -> None:
    workers = shop.worker(name="one"), shop.worker(name="two")
    for operation in (("inventory", "reserve"), ("payment", "charge"), ("notification", "send")):
        faults.inject(*operation, "latency", seconds=0.3)
    keys = [f"order-{number}" for number in range(12)]
    for key in keys[::4]:
        faults.inject("shipping", "create", "refuse", order_id=key)
    with killed_at_end(*workers):
        runs = [shop.order(key) for key in keys]
        eventually(lambda: any(run.steps[1].started_at for run in runs), "the first charge")

        forgetful_broker.kill()
        time.sleep(1.0)  # the outage
        forgetful_broker.start()

        def all_ended() -> bool:
            supervise(*workers)
            return all(run.status.is_final for run in runs)

        eventually(all_ended, "every saga to end", 90, every=0.3)
        shop.assert_all_end_well(runs)


def test_a_start_without_a_broker_fails_nobody_and_the_sweep_sends_it_later(
    shop: OrderShop, forgetful_broker: EmbeddedBroker
) -> None:
    forgetful_broker.kill()

    began_at = time.monotonic()
    runs: list[SagaHandle] = [shop.order() for _ in range(5)]
    took = time.monotonic() - began_at
    assert {run.status for run in runs} == {SagaStatus.PENDING}
    assert took < 10, "the outage is to cost the first start half a second, and the others nothing"

    forgetful_broker.start()
    with killed_at_end(shop.worker()):
        assert set(shop.assert_all_end_well(runs).values()) == {SagaStatus.COMPLETED}
