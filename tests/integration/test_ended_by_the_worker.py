"""An execution that its own worker ends, by the hard limit or for a person, is no loss: it is not run again for it."""

from collections.abc import Iterator

import pytest

from sagas import Saga, SagaHandle, SagaStatus
from tests.conftest import Shop
from tests.support import journal, scripted, self_retrying
from tests.support.programs import briefly
from tests.support.workers import eventually


@pytest.fixture(scope="module")
def asked(own_shop: Shop) -> Iterator[Shop]:
    with briefly(own_shop.worker("-c", "3", "-I", "tests.support.self_retrying")):
        yield own_shop


def terminate(shop: Shop, run: SagaHandle, what: str, signal: str) -> None:
    """What Flower's button does to the running execution."""
    eventually(lambda: shop.effects(run)[-1:] == [what], f"{what} to run")
    found = "SELECT delivery FROM sagas.saga_step WHERE instance_id = %s AND status = 'running'"
    ((delivery,),) = journal.query(shop.database_url, found, str(run.id))
    shop.sagas.app.control.revoke(delivery, terminate=True, signal=signal)


@pytest.mark.parametrize("saga", [self_retrying.hanging, self_retrying.hanging_slowly], ids=lambda saga: saga.name)
def test_d20_a_hang_that_only_the_hard_limit_ends_is_the_attempt_that_timed_out(asked: Shop, saga: Saga) -> None:
    run = asked.sagas.start(saga, {"script": {}})

    assert run.wait(60) is SagaStatus.COMPENSATED
    assert asked.effects(run) == ["b", "undo b"]
    (step,) = run.steps
    assert (step.attempts, step.losses, step.in_doubt) == (1, 0, True)
    assert run.error is not None
    assert run.error.type == "billiard.exceptions.TimeLimitExceeded"


@pytest.mark.parametrize("how", ["die", "exit"])
def test_d20_a_process_that_dies_otherwise_uses_up_no_attempt(asked: Shop, how: str) -> None:
    once = Saga(f"once-{how}", steps=[scripted.step("b", retry=self_retrying.ONCE)])

    run = asked.start(once, {"b": [f"after:{how}"]})

    assert run.wait(60) is SagaStatus.COMPLETED
    assert [(step.attempts, step.losses) for step in run.steps] == [(2, 1)]


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL", "SIGUSR1"])
def test_a_step_that_a_person_terminates_is_not_run_again_and_the_saga_turns_back(asked: Shop, signal: str) -> None:
    run = asked.sagas.start(self_retrying.working, {"script": {}})
    terminate(asked, run, "b", signal)

    assert run.wait(60) is SagaStatus.COMPENSATED
    assert asked.effects(run) == ["b", "undo b"]
    assert (run.steps[0].attempts, run.steps[0].losses, run.steps[0].in_doubt) == (1, 0, True)
    assert run.error is not None
    assert run.error.type == "sagas.Terminated"


def test_past_the_point_of_no_return_the_saga_then_fails_for_a_person(asked: Shop) -> None:
    run = asked.sagas.start(self_retrying.working_past_return, {})
    terminate(asked, run, "b", "SIGTERM")

    assert run.wait(60) is SagaStatus.FAILED
    assert asked.effects(run) == ["b"]


def test_a_compensation_that_a_person_terminates_waits_for_one(asked: Shop) -> None:
    run = asked.start(self_retrying.undoing)
    eventually(lambda: asked.effects(run) == ["a", "a"], "the compensation to run")
    terminate(asked, run, "a", "SIGKILL")

    assert run.wait(60) is SagaStatus.FAILED
    assert asked.effects(run) == ["a", "a"]
