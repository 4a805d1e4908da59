"""A cancel at any moment: what runs is waited for, what was done is undone, and what is past the pivot goes on."""

import threading
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest

from sagas import (
    Child,
    InstanceNotFound,
    Retry,
    Saga,
    SagaHandle,
    SagaStatus,
    Sleep,
    StepStatus,
    TransitionRefused,
    parallel,
)
from sagas.model import Address
from tests.conftest import Shop
from tests.support import gates, journal, queues, scripted, shapes
from tests.support.bench import Background, Bench
from tests.support.inline import run_messages
from tests.support.scripted import step
from tests.support.workers import eventually

a_night = Saga("cancels-a-night", steps=[step("a"), Sleep(hours=8), step("b")])
waits_in_parallel = Saga(
    "cancels-in-parallel",
    steps=[step("a"), parallel([step("b"), step("b2")], step("c"), [step("d"), Sleep(hours=8)]), step("e")],
)
busy_elsewhere = Saga(
    "cancels-unclaimed", steps=[parallel(step("b"), step("c", queue="nobody-consumes-it"), step("d")), step("e")]
)
backs_off = Saga(
    "cancels-a-backoff", steps=[step("a"), step("b", retry=Retry(max_attempts=5, backoff=600, max_backoff=600))]
)
undo_backs_off = Saga(
    "cancels-an-undo",
    steps=[
        step("a", compensation_retry=Retry(max_attempts=5, on=(Exception,), backoff=600, max_backoff=600)),
        step("b"),
    ],
)
with_child = Saga("cancels-a-child", steps=[step("a"), Child(shapes.payment), step("b")])

CANCELLED = "sagas.Cancelled"


def compensated(run: SagaHandle) -> None:
    """It ended as a cancelled saga does, and its history says who wanted that."""
    assert run.wait(30) is SagaStatus.COMPENSATED
    assert run.error is not None
    assert (run.error.type, run.error.message) == (CANCELLED, "changed mind")
    (asked,) = [entry for entry in run.history() if entry.event == "stop_requested"]
    assert asked.detail == {"reason": "changed mind", "kind": "cancelled", "by": "maria"}


def cancel(run: SagaHandle) -> None:
    run.cancel("  changed mind ", by="maria")


def statuses(run: SagaHandle) -> list[str]:
    return [step.status.value for step in run.steps]


# -- before anything, between two steps


def test_before_its_first_claim_nothing_ever_runs(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    run = shop.start(scripted.three)
    assert len(queues.queued(shop.sagas)) == 1

    cancel(run)

    assert run.status is SagaStatus.COMPENSATED
    # Its message comes all the same, and finds nothing to do
    assert run_messages(shop.sagas.app) == ["tests.support.scripted.act"]
    compensated(run)
    assert (shop.effects(run), statuses(run)) == ([], ["skipped"] * 3)


def test_between_two_steps_the_next_one_never_runs(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given: the first step is completed, the message of the second one is on its way
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    rows = Bench(shop.database_url, shop.sagas.engine.store)
    run = shop.start(scripted.three)
    assert rows.step(run.id, scripted.three.plan(shop.sagas.engine)) is SagaStatus.RUNNING
    shop.sagas.engine.loop.send_window(run.id, scripted.three.plan(shop.sagas.engine), [Address(1)])

    cancel(run)
    run_messages(shop.sagas.app)

    compensated(run)
    assert shop.effects(run) == ["undo a"]
    assert statuses(run) == ["compensated", "skipped", "skipped"]


# -- while a step runs


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_a_step_that_runs_is_waited_for_and_then_undone_first(busy_shop: Shop, name: str) -> None:
    run = busy_shop.start(scripted.three, {name: ["wait:door"]})
    gates.until_reached(busy_shop.database_url, run, "door")

    cancel(run)

    assert run.status is SagaStatus.COMPENSATING
    busy_shop.sagas.sweep()
    done = "abc"[: "abc".index(name)]
    assert busy_shop.effects(run) == list(done)
    gates.open_gate(busy_shop.database_url, run, "door")
    compensated(run)
    assert busy_shop.effects(run) == [*done, name, f"undo {name}", *(f"undo {other}" for other in reversed(done))]


@pytest.mark.parametrize(
    ("ending", "undone"),
    [("no", ["undo a"]), ("flaky", ["undo b", "undo a"]), ("invalid", ["undo b", "undo a"])],
    ids=["a clean no", "in doubt", "an error"],
)
def test_a_step_that_fails_while_it_is_drained_is_not_tried_again(
    busy_shop: Shop, ending: str, undone: list[str]
) -> None:
    run = busy_shop.start(scripted.three, {"b": [f"wait:door, {ending}"]})
    gates.until_reached(busy_shop.database_url, run, "door")
    cancel(run)

    gates.open_gate(busy_shop.database_url, run, "door")

    compensated(run)
    assert busy_shop.effects(run) == ["a", *undone]
    assert run.steps[1].attempts == 1


# -- while it waits


def test_while_it_sleeps_it_turns_back_at_once(busy_shop: Shop) -> None:
    run = busy_shop.start(a_night)
    eventually(lambda: run.steps[1].started_at, "the sleep to begin")

    cancel(run)

    compensated(run)
    assert busy_shop.effects(run) == ["a", "undo a"]
    assert statuses(run) == ["compensated", "skipped", "skipped"]
    assert not run.steps[1].in_doubt


@pytest.mark.parametrize(("saga", "effects"), [(shapes.approved, ["a", "undo a"]), (shapes.first_waits, [])], ids=str)
def test_while_it_waits_for_a_signal_it_turns_back_at_once(busy_shop: Shop, saga: Saga, effects: list[str]) -> None:
    run = busy_shop.start(saga)
    eventually(lambda: any(step.name == "approval" and step.started_at for step in run.steps), "the wait to begin")

    cancel(run)

    compensated(run)
    assert busy_shop.effects(run) == effects
    waited = next(step for step in run.steps if step.name == "approval")
    assert (waited.status, waited.in_doubt) == (StepStatus.SKIPPED, False)


def test_in_line_for_a_lock_it_never_begins(busy_shop: Shop) -> None:
    data = {"script": {"a": ["wait:door"]}, "account": uuid4().hex}
    holder, run = (busy_shop.sagas.start(shapes.locking, data) for _ in range(2))
    gates.until_reached(busy_shop.database_url, holder, "door")

    cancel(run)

    compensated(run)
    assert (busy_shop.effects(run), statuses(run)) == ([], ["skipped"] * 2)
    gates.open_gate(busy_shop.database_url, holder, "door")
    assert holder.wait(30) is SagaStatus.COMPLETED


def test_during_a_long_backoff_it_does_not_wait_for_the_next_try(busy_shop: Shop) -> None:
    run = busy_shop.start(backs_off, {"b": "after:flaky"})
    eventually(lambda: run.steps[1].attempts == 1 and run.steps[1].status is StepStatus.PENDING, "the backoff")

    cancel(run)

    compensated(run)
    # Its attempt may have happened
    assert busy_shop.effects(run) == ["a", "b", "undo b", "undo a"]
    assert run.steps[1].attempts == 1


# -- beside others


def test_of_branches_what_is_done_is_undone_what_runs_is_drained_and_what_waits_is_skipped(busy_shop: Shop) -> None:
    run = busy_shop.start(waits_in_parallel, {"c": ["wait:door"]})
    gates.until_reached(busy_shop.database_url, run, "door")
    eventually(lambda: sorted(busy_shop.effects(run)) == ["a", "b", "b2", "d"], "the others to be done")
    eventually(lambda: run.steps[5].started_at, "the sleep to begin")

    cancel(run)

    assert run.status is SagaStatus.COMPENSATING
    busy_shop.sagas.sweep()
    assert len(busy_shop.effects(run)) == 4
    gates.open_gate(busy_shop.database_url, run, "door")
    compensated(run)
    effects = busy_shop.effects(run)
    begun = journal.query(
        busy_shop.database_url,
        "SELECT name FROM sagas.saga_step WHERE instance_id = %s AND round = 0 AND task IS NOT NULL "
        "ORDER BY first_claimed_at DESC",
        str(run.id),
    )
    assert effects[5:] == [f"undo {name}" for (name,) in begun]
    by_name = {step.name: step.status.value for step in run.steps}
    assert by_name == dict.fromkeys(["a", "b", "b2", "c", "d"], "compensated") | {"sleep": "skipped", "e": "skipped"}


def test_of_branches_an_unclaimed_one_never_runs(busy_shop: Shop) -> None:
    run = busy_shop.start(busy_elsewhere, {"d": ["wait:door"]})
    gates.until_reached(busy_shop.database_url, run, "door")
    eventually(lambda: busy_shop.effects(run) == ["b"], "one branch to be done")

    cancel(run)
    gates.open_gate(busy_shop.database_url, run, "door")

    compensated(run)
    assert sorted(busy_shop.effects(run)) == ["b", "d", "undo b", "undo d"]
    assert statuses(run) == ["compensated", "skipped", "compensated", "skipped"]


def test_while_a_child_runs_the_child_turns_back_first(busy_shop: Shop) -> None:
    run = busy_shop.start(with_child, {"book": ["wait:door"]})
    found = "SELECT id FROM sagas.saga_instance WHERE parent_id = %s"
    rows = eventually(lambda: journal.query(busy_shop.database_url, found, str(run.id)), "the child to be there")
    child = busy_shop.sagas.get(rows[0][0])
    gates.until_reached(busy_shop.database_url, child, "door")

    cancel(run)
    gates.open_gate(busy_shop.database_url, child, "door")

    compensated(run)
    assert busy_shop.effects(child) == ["pay", "book", "undo book", "undo pay"]
    assert busy_shop.effects(run) == ["a", "undo a"]
    assert child.status is SagaStatus.COMPENSATED


# -- when it turns back already


@pytest.mark.parametrize("times", [1, 3])
def test_a_saga_that_turns_back_already_does_so_once(busy_shop: Shop, times: int) -> None:
    run = busy_shop.start(scripted.three, {"c": ["no:sold out"], "undo b": ["wait:door"]})
    gates.until_reached(busy_shop.database_url, run, "door")

    for _ in range(times):
        cancel(run)

    gates.open_gate(busy_shop.database_url, run, "door")
    assert run.wait(30) is SagaStatus.COMPENSATED
    cancel(run)
    assert run.status is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "undo b", "undo a"]
    assert run.error is not None
    assert run.error.message == "sold out"
    assert not [entry for entry in run.history() if entry.event == "stop_requested"]


def test_of_eight_cancels_at_once_one_is_noted(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"b": ["wait:door"]})
    gates.until_reached(busy_shop.database_url, run, "door")
    together = threading.Barrier(8)

    def one() -> None:
        together.wait(30)
        cancel(run)

    for cancelling in [Background(one) for _ in range(8)]:
        cancelling.join()
    gates.open_gate(busy_shop.database_url, run, "door")

    compensated(run)
    assert busy_shop.effects(run) == ["a", "b", "undo b", "undo a"]


def test_a_cancel_does_not_cut_the_backoff_of_an_undo_short(busy_shop: Shop) -> None:
    run = busy_shop.start(undo_backs_off, {"b": ["no"], "undo a": ["flaky"]})
    eventually(lambda: (run.steps[0].compensation or run.steps[1]).attempts == 1, "the undo's first try")
    eventually(lambda: run.steps[0].compensation_status is StepStatus.PENDING, "its backoff")

    cancel(run)
    busy_shop.sagas.sweep()

    assert (run.status, busy_shop.effects(run)) == (SagaStatus.COMPENSATING, ["a"])


# -- too late


def test_a_completed_saga_cannot_be_cancelled(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three)
    run.wait(30)

    with pytest.raises(
        TransitionRefused, match=f"saga {run.id} is completed and cannot be cancelled: only a saga that"
    ):
        cancel(run)
    assert busy_shop.effects(run) == ["a", "b", "c"]


def test_a_failed_saga_cannot_be_cancelled(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.three, {"c": ["no"], "undo b": "invalid"})
    assert run.wait(30) is SagaStatus.FAILED

    with pytest.raises(TransitionRefused, match="is failed and cannot be cancelled"):
        cancel(run)


@pytest.mark.parametrize("script", [{"r": ["wait:door"]}, {"n": ["wait:door"]}, {"last": ["wait:door"]}], ids=str)
def test_past_its_pivot_a_saga_cannot_be_cancelled(busy_shop: Shop, script: Mapping[str, Any]) -> None:
    run = busy_shop.start(shapes.forward, script)
    gates.until_reached(busy_shop.database_url, run, "door")

    with pytest.raises(
        TransitionRefused,
        match="is running and cannot be cancelled: only a saga that is pending or running and not past its pivot can",
    ):
        cancel(run)

    gates.open_gate(busy_shop.database_url, run, "door")
    assert run.wait(30) is SagaStatus.COMPLETED
    assert not [entry for entry in run.history() if entry.event == "stop_requested"]


@pytest.mark.parametrize(
    ("answer", "ended", "effects"),
    [("ok", SagaStatus.COMPLETED, ["a", "p", "r"]), ("no", SagaStatus.COMPENSATED, ["a", "undo a"])],
    ids=["yes", "a clean no"],
)
def test_c6_while_the_pivot_runs_a_cancel_is_kept_and_counts_only_if_it_says_no(
    busy_shop: Shop, answer: str, ended: SagaStatus, effects: list[str]
) -> None:
    run = busy_shop.start(scripted.pivoted, {"p": [f"wait:door, {answer}"]})
    gates.until_reached(busy_shop.database_url, run, "door")

    cancel(run)

    assert run.status is SagaStatus.RUNNING
    gates.open_gate(busy_shop.database_url, run, "door")
    assert run.wait(30) is ended
    assert busy_shop.effects(run) == effects


def test_a_cancel_needs_a_reason_and_an_instance(shop: Shop) -> None:
    for reason in ("", "  ", None):
        with pytest.raises(ValueError, match=r"cancel\(\) needs a reason"):
            shop.start(scripted.three).cancel(reason)  # type: ignore[arg-type]
    with pytest.raises(InstanceNotFound, match="no saga instance"):
        SagaHandle(shop.sagas.engine, uuid4()).cancel("why not")
