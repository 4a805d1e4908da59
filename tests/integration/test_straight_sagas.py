"""Straight sagas through a real broker and a real worker: forward, backward, and again."""

from sagas import SagaStatus, StepStatus
from tests.conftest import Shop
from tests.support import scripted


def test_a_saga_whose_steps_all_succeed_is_completed(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "b", "c"]
    assert [step.status for step in run.steps] == [StepStatus.COMPLETED] * 3
    assert run.data == {"script": {}, "a_done": 1, "b_done": 1, "c_done": 1}
