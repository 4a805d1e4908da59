"""A death between the recorded completion and the acknowledged message: the chain breaks or forks, the saga doesn't."""

import re
from pathlib import Path

import pytest

from config.demo import faults
from sagas import SagaStatus
from tests.faults.killed_at_end import killed_at_end, with_a_message_a_step
from tests.faults.order_shop import ACTIONS, OrderShop
from tests.support.workers import Worker, eventually


def received(task: str, *workers: Worker) -> int:
    """How often workers took a task's message in."""
    return sum(len(re.findall(rf"Task order/{task}\[[^]]*\] received", worker.text())) for worker in workers)


def dying_worker(shop: OrderShop, directory: Path, name: str, dies: str) -> Worker:
    environment = {"SAGAS_TEST_DIES": dies, "SAGAS_TEST_DIED": str(directory / "died")}
    return shop.worker(name=name, application="tests.faults.dies_while_publishing", **environment)


@with_a_message_a_step
@pytest.mark.parametrize("what", ["child", "worker"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_death_around_publishing_the_next_message_costs_no_effect_and_doubles_none(
    orders: OrderShop, tmp_path: Path, moment: str, what: str
) -> None:
    """`before`: completed, and nobody was told. `after`: told, and the completed step's message comes back."""
    dies = f"{moment} charge_payment {what}"
    first, second = (dying_worker(orders, tmp_path, name, dies) for name in ("first", "second"))

    # A latency of nothing counts the calls of the services, which the barriers would hide.
    calls = [faults.inject(*operation, "latency", order_id="42") for operation in ACTIONS.values()]

    with killed_at_end(first):
        run = orders.order("42")
        eventually((tmp_path / "died").exists, "the death")
        with killed_at_end(*([second] if what == "worker" else [])):
            orders.assert_all_end_well([run])
            if what == "worker":
                # Nobody acknowledged it: it is delivered again, and what follows it must not be forked.
                eventually(lambda: received("reserve_inventory", first, second) >= 2, "the message to come back")
                orders.assert_all_end_well([run, *(orders.order() for _ in range(3))])

    assert run.status is SagaStatus.COMPLETED
    assert [step.attempts for step in run.steps] == [1, 1, 1, 1]
    assert [faults.hits(call) for call in calls] == [1, 1, 1, 1]
