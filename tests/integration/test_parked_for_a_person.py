"""What cannot be called and is not cured in time waits for a person, in the list of what does, with the reason."""

from collections.abc import Iterator
from typing import Any

import pytest

from sagas import ConfigurationError, Saga, SagaHandle, SagaStatus, Step, StepStatus, TransitionRefused
from sagas.signals import saga_event
from sagas.store import Timing
from tests.conftest import Shop
from tests.support import deploys, releases, scripted, shapes
from tests.support.inline import run_messages
from tests.support.programs import briefly
from tests.support.workers import eventually


@pytest.fixture(autouse=True)
def journal_of_the_shop(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps run in this process, too."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)


def until_nothing_moves(shop: Shop) -> None:
    while run_messages(shop.sagas.app) + run_messages(shop.sagas.app, "sagas"):
        pass


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    """What the library's signal announces in this process."""
    heard: list[dict[str, Any]] = []

    def receive(**fields: Any) -> None:
        heard.append(fields)

    saga_event.connect(receive)
    yield heard
    saga_event.disconnect(receive)


def lacking(shop: Shop) -> SagaHandle:
    run = shop.start(shapes.wanting)

    def has_begun() -> bool:
        until_nothing_moves(shop)
        return run.status is not SagaStatus.PENDING

    eventually(has_begun, "its first message, which a thread of its own may send a moment later")
    assert run.status is SagaStatus.FAILED
    return run


def test_a_value_that_nothing_gave_is_for_a_person_at_once_and_announced(
    shop: Shop, told: list[dict[str, Any]]
) -> None:
    run = lacking(shop)

    (entry,) = [fields for fields in told if fields["event"] == "needs_a_person"]
    assert (entry["saga_id"], entry["saga"], entry["step"]) == (run.id, "wanting", "b")
    assert entry["detail"]["reason"] == "cannot be called"
    assert "requires 'signature'" in entry["detail"]["message"]
    (waiting,) = run.snapshot().needs_a_person
    assert (waiting.name, waiting.status, waiting.attempts) == ("b", StepStatus.FAILED, 0)
    assert shop.effects(run) == ["a"]


def test_it_is_retried_once_a_deploy_has_cured_it(shop: Shop) -> None:
    run = lacking(shop)

    with briefly(shop.worker(TEST_RELEASE="2")):
        run.retry("signatures are optional now")
        assert run.wait(30) is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "b with none needed", "c"]


def test_it_is_skipped_with_a_result(shop: Shop) -> None:
    run = lacking(shop)

    run.skip("signed on paper", result={"signed_by": "maria"})
    until_nothing_moves(shop)

    assert (run.status, run.data["signed_by"]) == (SagaStatus.COMPLETED, "maria")
    assert shop.effects(run) == ["a", "c"]


def test_it_is_cancelled_and_undone(shop: Shop) -> None:
    run = lacking(shop)

    run.cancel("nobody will sign this")
    until_nothing_moves(shop)

    assert run.status is SagaStatus.COMPENSATED
    assert shop.effects(run) == ["a", "undo a"]
    with pytest.raises(TransitionRefused):
        run.retry("too late")


def test_an_undo_that_lacks_a_value_lets_the_others_be_undone(shop: Shop) -> None:
    unwanting = Saga(
        "unwanting",
        steps=[scripted.step("a"), scripted.step("b", compensation=scripted.demand), scripted.step("c")],
    )

    run = shop.start(unwanting, {"c": "no"})
    until_nothing_moves(shop)

    assert run.status is SagaStatus.FAILED
    assert shop.effects(run) == ["a", "b", "undo a"]
    assert [step.name for step in run.snapshot().needs_a_person] == ["b"]
    run.resolve("undone by hand")
    assert run.status is SagaStatus.COMPENSATED


# -- what a deploy may cure waits for one, but not for ever


def test_code_that_does_not_fit_its_saga_has_some_time(shop: Shop) -> None:
    saga = Saga("elsewhere", steps=[scripted.step("a"), Step(scripted.demand, name="b", compensation=None)])
    with briefly(shop.worker(SAGAS_PARKED_AFTER="2")):
        run = shop.start(saga)
        assert run.wait(30) is SagaStatus.FAILED

    (parked,) = [entry for entry in run.history() if entry.event == "parked"]
    seen = run.snapshot()
    assert seen.finished_at is not None
    assert (seen.finished_at - parked.at).total_seconds() >= 2
    assert [step.name for step in seen.needs_a_person] == ["b"]


def test_a_task_that_no_worker_knows_has_some_time_too(shop: Shop) -> None:
    saga = Saga("faxing", steps=[scripted.step("a"), scripted.step("tell", task=releases.send_fax)])
    with briefly(deploys.worker_of(shop, "2", "-c", "2", SAGAS_PARKED_AFTER="2")):
        run = shop.start(saga)
        assert run.wait(30) is SagaStatus.FAILED
        assert run.error is not None
        assert "has no task" in run.error.message
        run.cancel("nobody sends faxes any more")
        assert run.wait(30) is SagaStatus.COMPENSATED
    assert shop.effects(run) == ["a", "undo a"]


@pytest.mark.parametrize("wrong", [0, -1, "300", 31 * 86400])
def test_a_time_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="parked_after="):
        Timing(parked_after=wrong)
