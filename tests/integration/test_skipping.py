"""A person vouches for what a failed saga is stuck at, and it goes on past it."""

from typing import Any
from uuid import uuid4

import pytest

from sagas import (
    InstanceNotFound,
    PayloadError,
    Pivot,
    Retriable,
    Retry,
    Saga,
    SagaHandle,
    SagaStatus,
    StepStatus,
    TransitionRefused,
)
from sagas.model import Address, Completed, ErrorInfo, Failed, Tick, Verdict
from tests.conftest import Shop
from tests.support import gates, journal, scripted
from tests.support.bench import Bench
from tests.support.inline import run_messages

#: Its second step requires what only its pivot's result gives.
shipped = Saga(
    "shipped",
    steps=[
        Pivot(scripted.act, name="p", retry=Retry(max_attempts=1)),
        Retriable(scripted.pass_on, name="announce", retry=Retry(max_attempts=1)),
    ],
)


def failed(shop: Shop, saga: Saga, **script: Any) -> SagaHandle:
    run = shop.start(saga, {name.replace("_", " "): line for name, line in script.items()})
    assert run.wait(30) is SagaStatus.FAILED
    return run


def statuses(run: SagaHandle) -> list[str]:
    return [step.status.value for step in run.steps]


def test_a_skipped_retriable_lets_the_saga_complete(busy_shop: Shop) -> None:
    run = failed(busy_shop, scripted.pivoted, r="no:the printer is gone")

    run.skip("printed by hand", by="maria")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "p"]
    assert statuses(run) == ["completed", "completed", "skipped"]
    assert run.error is None
    # What it failed with stays to be read
    assert run.steps[2].error is not None
    assert run.steps[2].error.message == "the printer is gone"


def test_the_history_tells_who_skipped_what_and_why(busy_shop: Shop) -> None:
    run = failed(busy_shop, scripted.pivoted, r="no")

    run.skip("  printed by hand ", by="maria")

    (asked,) = [entry for entry in run.history() if entry.event == "skip_requested"]
    assert (asked.step, asked.detail) == ("r", {"reason": "printed by hand", "by": "maria"})
    assert [entry.event for entry in run.history()][-2:] == ["step_skipped", "completed"]
    assert "skip_requested" in run.timeline()


def test_c6_a_pivot_in_doubt_is_skipped_with_the_result_that_the_next_step_needs(busy_shop: Shop) -> None:
    run = failed(busy_shop, shipped, p="after:flaky")
    assert run.steps[0].in_doubt

    run.skip("the parcel is on its way", step="p", result={"gift": "parcel 4711"})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["p"]
    assert (statuses(run), run.steps[0].in_doubt) == (["skipped", "completed"], False)
    assert run.steps[0].result == {"gift": "parcel 4711"}
    assert run.steps[1].result == {"passed": "parcel 4711"}
    assert run.data["gift"] == "parcel 4711"


def test_c6_a_skipped_pivot_is_past_it(busy_shop: Shop) -> None:
    run = failed(busy_shop, scripted.pivoted, p="after:flaky", r="wait:mail")

    run.skip("it is on its way")
    gates.until_reached(busy_shop.database_url, run, "mail")
    with pytest.raises(TransitionRefused, match="pivot"):
        run.cancel("too late")
    gates.open_gate(busy_shop.database_url, run, "mail")

    assert run.wait(30) is SagaStatus.COMPLETED


def test_a_skipped_compensation_lets_the_saga_end_compensated(busy_shop: Shop) -> None:
    run = failed(busy_shop, scripted.three, c="no:sold out", undo_b="invalid:account closed")

    run.skip("paid back in cash", by="maria")

    assert run.wait(0) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "undo a"]
    assert statuses(run) == ["compensated", "compensated", "failed"]
    undone = run.steps[1].compensation
    assert undone is not None
    assert undone.error is not None
    assert (undone.status, undone.error.message) == (StepStatus.SKIPPED, "account closed")
    assert run.error is not None
    assert run.error.message == "sold out"
    assert [entry.event for entry in run.history()][-2:] == ["compensation_skipped", "compensated"]


def test_of_two_failed_compensations_each_is_named(busy_shop: Shop) -> None:
    run = failed(busy_shop, scripted.three, c="no", undo_b="invalid", undo_a="invalid")
    with pytest.raises(TransitionRefused, match=rf"saga {run.id} is failed and cannot skip .*name it if there are"):
        run.skip("both are done")

    run.skip("paid back", step="b")
    assert (run.status, statuses(run)) == (SagaStatus.FAILED, ["failed", "compensated", "failed"])
    run.skip("put back", step="a")

    assert run.status is SagaStatus.COMPENSATED
    assert [entry.step for entry in run.history() if entry.event == "skip_requested"] == ["b", "a"]
    assert busy_shop.effects(run) == ["a", "b"]


def test_a_retry_after_the_skip_of_one_runs_only_the_other(busy_shop: Shop) -> None:
    run = failed(busy_shop, scripted.three, c="no", undo_b="invalid", undo_a="broken:stock")
    run.skip("paid back", step="b")
    gates.open_gate(busy_shop.database_url, run, "stock")

    run.retry("the stock is unlocked")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "undo a"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"step": "p"}, "cannot skip p: "),
        ({"step": "unheard of"}, "cannot skip unheard of: "),
        ({"step": "a"}, "cannot skip a: "),
    ],
    ids=str,
)
def test_what_it_is_not_stuck_at_is_refused_by_name(busy_shop: Shop, options: dict[str, Any], says: str) -> None:
    run = failed(busy_shop, scripted.pivoted, r="no")

    with pytest.raises(TransitionRefused, match=f"saga {run.id} is failed and {says}"):
        run.skip("why not", **options)

    assert run.status is SagaStatus.FAILED
    assert journal.events(busy_shop.database_url, run.id, "skip_requested") == 0


def test_a_result_for_a_compensation_is_refused(busy_shop: Shop) -> None:
    run = failed(busy_shop, scripted.three, b="no", undo_a="invalid")

    with pytest.raises(TransitionRefused, match="give a result only for a step"):
        run.skip("paid back", step="a", result={"cash": True})

    assert run.status is SagaStatus.FAILED


@pytest.mark.parametrize("script", [{}, {"b": ["no"]}], ids=["completed", "compensated"])
def test_only_a_failed_saga_can_be_skipped_past(busy_shop: Shop, script: dict[str, list[str]]) -> None:
    run = busy_shop.start(scripted.three, script)
    ended = run.wait(30)

    with pytest.raises(TransitionRefused, match=f"saga {run.id} is {ended} and cannot skip its step: only a failed"):
        run.skip("why not")


@pytest.mark.parametrize("result", ["set", "nul", "nan", "big"])
def test_a_result_that_cannot_be_stored_is_refused_and_nothing_is_skipped(busy_shop: Shop, result: str) -> None:
    run = failed(busy_shop, shipped, p="after:flaky")

    with pytest.raises(PayloadError, match="result"):
        run.skip("it is on its way", result={"gift": scripted.UNSTORABLE[result]})

    assert run.status is SagaStatus.FAILED
    assert journal.events(busy_shop.database_url, run.id, "skip_requested") == 0


def test_a_skip_needs_a_reason(shop: Shop) -> None:
    with pytest.raises(ValueError, match=r"skip\(\) needs a reason"):
        shop.start(scripted.three).skip(" ")


def test_a_saga_that_is_not_there_cannot_be_skipped_past(shop: Shop) -> None:
    with pytest.raises(InstanceNotFound, match="no saga instance"):
        SagaHandle(shop.sagas.engine, uuid4()).skip("why not")


def test_c4_a_holder_that_comes_back_after_the_skip_completes_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    run = shop.start(shipped)
    rows = Bench(shop.database_url, shop.sagas.engine.store)
    plan = shipped.plan(shop.sagas.engine)
    token, pivot = uuid4(), Address(0)
    assert rows.claim(run.id, pivot, token=token) is not None
    error = ErrorInfo(type="builtins.TimeoutError", message="no answer", step="p")
    rows.apply(run.id, Failed(address=pivot, token=token, error=error, verdict=Verdict.UNKNOWN))
    rows.apply(run.id, Tick())
    run.skip("it is on its way", result={"gift": 1})

    assert rows.complete(run.id, plan, pivot, token, '{"gift": 2}') is None
    assert not rows.apply(run.id, Completed(address=pivot, token=token, result='{"gift": 2}')).accepted
    ran = run_messages(shop.sagas.app)

    assert run.status is SagaStatus.COMPLETED
    assert (statuses(run), run.data["passed"]) == (["skipped", "completed"], 1)
    assert "tests.support.scripted.pass_on" in ran
    assert [entry.step for entry in run.history() if entry.event == "late_success"] == ["p"]
