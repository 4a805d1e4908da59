"""An action that may have happened is treated as one that did: killed, out of time, unanswered, unstorable."""

from collections.abc import Iterator

import pytest

from sagas import Retry, Saga, SagaStatus, StepStatus
from tests.conftest import Shop
from tests.support import journal, scripted
from tests.support.programs import briefly
from tests.support.workers import Worker

LIMITED = Saga(
    "limited-twice",
    steps=[
        scripted.step("a"),
        scripted.step("b", timeout=1.0, retry=Retry(max_attempts=2, backoff=0.05)),
        scripted.step("c"),
    ],
)
CAREFUL_LIMITED = Saga(
    "limited-careful", steps=[scripted.step("a"), scripted.step("b", timeout=1.0, idempotent=False), scripted.step("c")]
)


@pytest.fixture
def worker(shop: Shop) -> Iterator[Worker]:
    """One whose children are killed; it itself has to live on."""
    worker = shop.worker("-c", "4")
    with briefly(worker):
        pid = worker.pid
        yield worker
        assert worker.process is not None
        assert worker.process.poll() is None
        assert worker.pid == pid


def test_c5_a_step_given_up_after_retryable_errors_is_undone_too(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": "flaky"})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "undo b", "undo a"]
    assert (run.steps[1].attempts, run.steps[1].in_doubt) == (3, True)


def test_c5_doubt_survives_a_later_clean_no(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": ["after:flaky", "no"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "undo b", "undo a"]


def test_c5_completion_clears_doubt(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": ["after:flaky"]})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert run.steps[1].in_doubt is False
    keys = [key for what, key in journal.entries(busy_shop.database_url, run.id) if what == "b"]
    assert keys == [f"{run.id}:b"] * 2


def test_a_step_that_is_not_idempotent_never_runs_twice(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.careful, {"b": ["after:flaky"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "undo b", "undo a"]
    assert run.steps[1].attempts == 1


def test_c5_an_error_after_the_effect_undoes_the_step_too_and_leaves_a_pivot_to_a_person(busy_shop: Shop) -> None:
    step = busy_shop.start(scripted.three, {"b": "after:invalid"})
    pivot = busy_shop.start(scripted.pivoted, {"p": "after:invalid"})

    assert step.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(step) == ["a", "b", "undo b", "undo a"]
    assert (step.steps[1].attempts, step.steps[1].in_doubt) == (1, True)
    assert pivot.wait(30) is SagaStatus.FAILED
    assert busy_shop.effects(pivot) == ["a", "p"]


def test_d35_an_error_of_the_librarys_own_that_a_body_raises_is_in_doubt(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": "after:raise:binding"})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "undo b", "undo a"]


@pytest.mark.parametrize("result", ["set", "nul", "nan", "big"])
def test_c5_a_step_whose_result_cannot_be_stored_is_undone_and_never_run_again(busy_shop: Shop, result: str) -> None:
    run = busy_shop.start(scripted.three, {"b": f"after:return:{result}"})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "undo b", "undo a"]
    assert (run.steps[1].attempts, run.steps[1].in_doubt) == (1, True)
    assert run.error is not None
    assert run.error.type == "sagas.errors.PayloadError"
    assert "result of b" in run.error.message


@pytest.mark.parametrize("behaviour", ["raise:ignore", "raise:reject", "raise:requeue"])
def test_ignore_and_reject_are_no_answers_and_the_step_is_undone(busy_shop: Shop, behaviour: str) -> None:
    run = busy_shop.start(scripted.three, {"b": f"after:{behaviour}"})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "undo b", "undo a"]
    assert run.steps[1].attempts == 1


def test_a_body_that_calls_self_retry_is_tried_again_by_the_sagas_own_counters(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": ["retry", "retry"]})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "b", "c"]
    assert run.steps[1].attempts == 3


def test_a_body_that_always_calls_self_retry_is_given_up_and_undone(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": "retry"})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "undo b", "undo a"]
    assert run.steps[1].attempts == 3
    assert run.error is not None
    assert (run.error.type, run.error.message) == ("builtins.ConnectionError", "again, please")


def test_a_killed_child_loses_nothing_and_the_worker_lives_on(shop: Shop, worker: Worker) -> None:
    # Given: children that are killed before or after their effect, once or always, idempotent or not
    before = shop.start(scripted.three, {"b": ["die"]})
    after = shop.start(scripted.three, {"b": ["after:die"]})
    first = shop.start(scripted.three, {"a": ["after:die"], "b": ["no"]})
    careful = shop.start(scripted.careful, {"b": ["after:die"]})
    pivot = shop.start(scripted.pivoted, {"p": ["after:die"]})
    undo = shop.start(scripted.three, {"c": ["no"], "undo b": ["die"], "undo a": ["after:die"]})

    # Then: what is idempotent runs again under its key, and one completion is recorded
    assert before.wait(60) is SagaStatus.COMPLETED
    assert shop.effects(before) == ["a", "b", "c"]
    assert (before.steps[1].attempts, before.steps[1].losses, before.data["b_done"]) == (2, 1, 2)
    assert after.wait(60) is SagaStatus.COMPLETED
    assert shop.effects(after) == ["a", "b", "b", "c"]
    assert {key for what, key in journal.entries(shop.database_url, after.id) if what == "b"} == {f"{after.id}:b"}
    assert [entry.event for entry in after.history()].count("step_completed") == 3
    assert first.wait(60) is SagaStatus.COMPENSATED
    assert shop.effects(first) == ["a", "a", "undo a"]
    # what is not, does not
    assert careful.wait(60) is SagaStatus.COMPENSATED
    assert shop.effects(careful) == ["a", "b", "undo b", "undo a"]
    # the pivot gives its answer in the end, and the undo is done
    assert pivot.wait(60) is SagaStatus.COMPLETED
    assert shop.effects(pivot) == ["a", "p", "p", "r"]
    assert undo.wait(60) is SagaStatus.COMPENSATED
    assert shop.effects(undo) == ["a", "b", "undo b", "undo a", "undo a"]


def test_a_step_that_kills_its_process_every_time_is_given_up_and_undone(shop: Shop, worker: Worker) -> None:
    run = shop.start(scripted.three, {"b": "die"})
    last = shop.start(scripted.three, {"b": ["die", "die", "die"]})

    assert run.wait(90) is SagaStatus.COMPENSATED
    assert (run.steps[1].attempts, run.steps[1].losses) == (4, 4)
    assert shop.effects(run) == ["a", "undo b", "undo a"]
    # Losses have a budget of their own: three of them leave all attempts of the policy.
    assert last.wait(90) is SagaStatus.COMPLETED
    assert shop.effects(last) == ["a", "b", "c"]


def test_a_body_that_ends_its_process_or_its_memory_ends_neither_worker_nor_saga(shop: Shop, worker: Worker) -> None:
    behaviours = ("exit", "raise:memory", "raise:interrupt")
    once = [shop.start(scripted.three, {"b": [behaviour]}) for behaviour in behaviours]
    always = [shop.start(scripted.three, {"b": f"after:{behaviour}"}) for behaviour in behaviours]

    for run in once:
        assert run.wait(90) is SagaStatus.COMPLETED
        assert shop.effects(run) == ["a", "b", "c"]
    for run in always:
        assert run.wait(90) is SagaStatus.COMPENSATED
        assert set(shop.effects(run)) == {"a", "b", "undo b", "undo a"}
        assert shop.effects(run)[-2:] == ["undo b", "undo a"]


def test_a_step_over_its_time_is_tried_again_by_the_policy_and_then_undone(busy_shop: Shop) -> None:
    once = busy_shop.start(LIMITED, {"b": ["sleep:30"]})
    always = busy_shop.start(LIMITED, {"b": "after:sleep:30"})
    careful = busy_shop.start(CAREFUL_LIMITED, {"b": "after:sleep:30"})

    assert once.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(once) == ["a", "b", "c"]
    assert always.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(always) == ["a", "b", "b", "undo b", "undo a"]
    assert always.steps[1].in_doubt
    assert always.error is not None
    assert "SoftTimeLimitExceeded" in always.error.type
    assert careful.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(careful) == ["a", "b", "undo b", "undo a"]
    assert careful.steps[1].status is StepStatus.COMPENSATED
