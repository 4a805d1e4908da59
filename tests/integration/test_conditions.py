"""A step with a condition runs when that holds, asked once its turn has come; else it is skipped, and never undone."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from sagas import Pivot, Retriable, Saga, SagaHandle, SagaStatus, StepStatus, parallel
from tests.conftest import Shop
from tests.support import gates, journal, releases, scripted, shapes
from tests.support.branches import claims, done_and_undone, pending, statuses
from tests.support.deploys import let_time_pass, worker_of
from tests.support.programs import briefly
from tests.support.workers import eventually


def start(shop: Shop, saga: Saga, script: Any = None, **data: Any) -> SagaHandle:
    return shop.sagas.start(saga, {"script": script or {}} | data)


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}], ids=repr)
def test_a_step_whose_name_is_missing_or_false_is_skipped(busy_shop: Shop, value: Any) -> None:
    given = {} if value is None else {"extra": value}
    run = start(busy_shop, shapes.optional, **given)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert sorted(busy_shop.effects(run)) == ["a", "d", "e"]
    assert [step.status.value for step in run.steps] == ["completed", "skipped", "skipped", "completed", "completed"]
    assert (run.steps[1].attempts, run.steps[1].result, run.steps[1].error) == (0, None, None)
    assert pending(busy_shop, run) == 0


@pytest.mark.parametrize("value", [True, 1, "no", [0], {"": 0}], ids=repr)
def test_a_step_whose_name_is_true_runs(busy_shop: Shop, value: Any) -> None:
    run = start(busy_shop, shapes.optional, {"wanted": True}, extra=value)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert sorted(busy_shop.effects(run)) == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("given", [True, False])
def test_an_earlier_step_decides_about_a_later_one(busy_shop: Shop, given: bool) -> None:
    saga = Saga("deciding", steps=[scripted.step("a", task=scripted.give), scripted.step("b", when="extra")])
    run = start(busy_shop, saga, gifts={"a": {"extra": given}})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == (["a", "b"] if given else ["a"])


def test_a_name_that_an_earlier_step_takes_back_skips_the_step(busy_shop: Shop) -> None:
    saga = Saga("taking-back", steps=[scripted.step("a", task=scripted.give), scripted.step("b", when="extra")])
    run = start(busy_shop, saga, gifts={"a": {"extra": False}}, extra=True)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a"]


def test_the_history_tells_that_a_step_was_skipped_and_not_that_it_began(busy_shop: Shop) -> None:
    run = start(busy_shop, shapes.optional)
    run.wait(30)

    assert [entry.event for entry in run.history() if entry.step == "b"] == ["step_skipped"]


def test_a_skipped_step_is_never_undone(busy_shop: Shop) -> None:
    run = start(busy_shop, shapes.optional, {"e": ["no"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert done_and_undone(busy_shop.effects(run))[1] == ["undo d", "undo a"]
    assert [statuses(run)[name].value for name in "bc"] == ["skipped", "skipped"]
    assert [step.compensation for step in run.steps if step.name in "bc"] == [None, None]


def test_a_step_that_ran_on_its_condition_is_undone_like_any_other(busy_shop: Shop) -> None:
    run = start(busy_shop, shapes.optional, {"e": ["no"], "wanted": True}, extra=1)

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert sorted(done_and_undone(busy_shop.effects(run))[1]) == ["undo a", "undo b", "undo c", "undo d"]


def test_a_saga_may_end_with_a_step_that_is_skipped(busy_shop: Shop) -> None:
    saga = Saga("ending", steps=[scripted.step("a"), scripted.step("b", when="extra")])
    run = start(busy_shop, saga)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert (busy_shop.effects(run), statuses(run)["b"]) == (["a"], StepStatus.SKIPPED)


@pytest.mark.parametrize("number", [1, 7])
def test_a_saga_whose_steps_are_all_skipped_completes(busy_shop: Shop, number: int) -> None:
    saga = Saga(f"nothing-of-{number}", steps=[scripted.step(f"s{at}", when="extra") for at in range(number)])
    run = start(busy_shop, saga)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert (busy_shop.effects(run), set(statuses(run).values())) == ([], {StepStatus.SKIPPED})


def test_branches_are_joined_when_all_of_them_are_skipped(busy_shop: Shop) -> None:
    branches = [scripted.step(name, when="extra") for name in "bcd"]
    saga = Saga("all-skipped", steps=[scripted.step("a"), parallel(*branches), scripted.step("e")])
    run = start(busy_shop, saga)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "e"]
    assert (claims(busy_shop, run), pending(busy_shop, run)) == (2, 0)


def test_a_lane_goes_on_past_a_step_that_is_skipped(busy_shop: Shop) -> None:
    lane = [scripted.step("b"), scripted.step("b2", when="extra"), scripted.step("b3")]
    saga = Saga("skipping-in-a-lane", steps=[parallel(lane, scripted.step("c", when="extra")), scripted.step("d")])
    run = start(busy_shop, saga)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["b", "b3", "d"]


def test_a_pivot_and_what_follows_it_may_be_skipped(busy_shop: Shop) -> None:
    saga = Saga(
        "optional-pivot",
        steps=[
            scripted.step("a"),
            Pivot(scripted.act, name="p", when="extra"),
            Retriable(scripted.act, name="r", when="extra"),
            Retriable(scripted.act, name="s"),
        ],
    )
    run = start(busy_shop, saga)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "s"]


def test_a_condition_is_asked_when_the_steps_turn_has_come(busy_shop: Shop) -> None:
    saga = Saga(
        "asking", steps=[scripted.step("a"), scripted.step("b", when=shapes.somebody_agrees), scripted.step("c")]
    )
    run, question = asked(busy_shop, saga, {"a": ["wait:start"]})
    gates.until_reached(busy_shop.database_url, run, "start")
    answer(busy_shop, run, question, agrees=True)
    gates.open_gate(busy_shop.database_url, run, "start")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "b", "c"]


def test_a_condition_that_raises_is_tried_again_by_the_steps_policy(busy_shop: Shop) -> None:
    retry = scripted.Retry(max_attempts=50, backoff=0.1, factor=1)
    saga = Saga(
        "asking-often", steps=[scripted.step("b", when=shapes.somebody_agrees, retry=retry), scripted.step("c")]
    )
    run, question = asked(busy_shop, saga, {})
    eventually(lambda: journal.events(busy_shop.database_url, run.id, "attempt_failed") >= 2, "two tries")
    answer(busy_shop, run, question, agrees=True)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["b", "c"]


def test_a_condition_that_raises_fails_its_step_once_the_policy_is_used_up(busy_shop: Shop) -> None:
    saga = Saga(
        "asking", steps=[scripted.step("a"), scripted.step("b", when=shapes.somebody_agrees), scripted.step("c")]
    )
    run, _ = asked(busy_shop, saga, {})

    assert run.wait(30) is SagaStatus.COMPENSATED
    done, undos = done_and_undone(busy_shop.effects(run))
    assert (done, undos[-1]) == (["a"], "undo a")
    assert (run.steps[1].attempts, statuses(run)["c"]) == (3, StepStatus.SKIPPED)
    assert run.error is not None
    assert (run.error.type, run.error.message, run.error.step) == ("builtins.ConnectionError", "no answer", "b")


def test_a_condition_that_raises_what_no_policy_names_fails_its_step_at_once(busy_shop: Shop) -> None:
    saga = Saga(
        "asking", steps=[scripted.step("a"), scripted.step("b", when=shapes.somebody_agrees), scripted.step("c")]
    )
    run = start(busy_shop, saga)  # without a question

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "undo a"]
    assert (run.steps[1].attempts, run.steps[1].in_doubt) == (1, False)
    assert run.error is not None
    assert run.error.type == "builtins.KeyError"


def test_c5_a_step_in_doubt_whose_condition_has_become_false_is_undone(busy_shop: Shop) -> None:
    # Given: a first attempt that had its effect, and nobody who knows
    saga = Saga(
        "asking-twice",
        steps=[
            scripted.step("a"),
            scripted.step("b", when=shapes.somebody_agrees, retry=scripted.Retry(max_attempts=3, backoff=0.05)),
            scripted.step("c"),
        ],
    )
    run, question = asked(busy_shop, saga, {"a": ["wait:start"], "b": ["after:wait:later,after:flaky"], "c": ["no"]})
    answer(busy_shop, run, question, agrees=True)
    gates.open_gate(busy_shop.database_url, run, "start")
    gates.until_reached(busy_shop.database_url, run, "later")

    # When: the second attempt is not wanted any more
    answer(busy_shop, run, question, agrees=False)
    gates.open_gate(busy_shop.database_url, run, "later")

    # Then: the first one is not forgotten
    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "b", "undo b", "undo a"]


@pytest.fixture(scope="module")
def old(own_shop: Shop) -> Iterator[Shop]:
    """A shop whose only worker is older than the condition."""
    with briefly(worker_of(own_shop, "1", "-c", "2")):
        yield own_shop


ABROAD = Saga("abroad", steps=[scripted.step("a"), scripted.step("b", when=releases.is_abroad), scripted.step("c")])


def test_a_step_whose_condition_the_worker_does_not_know_waits_in_the_open_until_a_deploy(old: Shop) -> None:
    wanted = start(old, ABROAD, {"abroad": True})
    unwanted = start(old, ABROAD)
    beside = start(
        old,
        Saga("abroad-beside", steps=[parallel(scripted.step("a"), scripted.step("b", when=releases.is_abroad))]),
        {"abroad": True},
    )
    cancelled = start(old, ABROAD)
    for run in (wanted, unwanted, beside, cancelled):
        eventually(lambda run=run: "parked" in [entry.event for entry in run.history()], "it to be parked")
        step = next(step for step in run.steps if step.name == "b")
        assert (run.status, step.status, step.attempts, step.in_doubt) == (
            SagaStatus.RUNNING,
            StepStatus.PENDING,
            0,
            False,
        )
        assert step.error is not None
        assert step.error.type == "sagas.errors.BindingError"
        assert "'tests.support.releases.is_abroad' is not registered in this worker" in step.error.message
        assert "the condition 'tests.support.releases.is_abroad' is not" in " ".join(run.timeline().split())
        eventually(lambda run=run: old.effects(run) == ["a"], "nothing but the step before or beside it")
    cancelled.cancel("nobody will know")
    assert cancelled.wait(30) is SagaStatus.COMPENSATED
    assert old.effects(cancelled) == ["a", "undo a"]

    with briefly(worker_of(old, "2", "-c", "2")):
        # It looks again after a minute, and may be taken by the old worker again.
        for run in (wanted, unwanted, beside):
            eventually(lambda run=run: let_time_pass(old, run) or run.status.is_final, "it to go on", every=0.3)

    assert {wanted.status, unwanted.status, beside.status} == {SagaStatus.COMPLETED}
    assert [old.effects(run) for run in (wanted, unwanted, beside)] == [["a", "b", "c"], ["a", "c"], ["a", "b"]]
    assert statuses(unwanted)["b"] is StepStatus.SKIPPED


def asked(shop: Shop, saga: Saga, script: Any) -> tuple[SagaHandle, str]:
    """An instance whose condition waits for the answer to a question of its own."""
    question = f"question {uuid4()}"
    return start(shop, saga, script, question=question), question


def answer(shop: Shop, run: SagaHandle, question: str, *, agrees: bool) -> None:
    given = """
    INSERT INTO public.gate (saga_id, name, open) VALUES (%s, %s, %s)
    ON CONFLICT (saga_id, name) DO UPDATE SET open = excluded.open
    """
    journal.query(shop.database_url, given, str(run.id), question, agrees)
