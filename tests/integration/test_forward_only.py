"""Past the pivot a saga only goes forward: side by side, past what hurts nobody, and with the help of a person."""

from collections import Counter

import pytest

from sagas import BestEffort, Pivot, Retriable, Saga, SagaHandle, SagaStatus, StepStatus, TransitionRefused, parallel
from tests.conftest import Shop
from tests.support import gates, journal, scripted, shapes
from tests.support.branches import done_and_undone, pending, statuses
from tests.support.programs import briefly
from tests.support.workers import eventually

FORWARD_LANES = Saga(
    "forward-lanes",
    steps=[
        scripted.step("a"),
        Pivot(scripted.act, name="p", retry=scripted.QUICK),
        parallel(
            Retriable(scripted.act, name="r", retry=shapes.FORWARD),
            [Retriable(scripted.act, name=name, retry=shapes.FORWARD) for name in ("s", "s2", "s3")],
        ),
        Retriable(scripted.act, name="last", retry=shapes.FORWARD),
    ],
)


def test_branches_past_the_pivot_run_side_by_side(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.forward, {"r": "wait:meeting", "s": "wait:meeting"})
    gates.until_reached(busy_shop.database_url, run, "meeting", times=2)
    gates.open_gate(busy_shop.database_url, run, "meeting")

    assert run.wait(30) is SagaStatus.COMPLETED
    effects = busy_shop.effects(run)
    assert (effects[:2], sorted(effects[2:4]), effects[4:]) == (["a", "p"], ["r", "s"], ["n", "last"])


@pytest.mark.parametrize(("stuck", "other"), ["rs", "sr"])
def test_a_branch_that_fails_for_good_past_the_pivot_lets_its_sibling_complete_and_waits_for_a_person(
    busy_shop: Shop, stuck: str, other: str
) -> None:
    run = busy_shop.start(shapes.forward, {stuck: ["no:the printer is gone"], other: ["wait:mail"]})
    gates.until_reached(busy_shop.database_url, run, "mail")
    eventually(lambda: statuses(run)[stuck] is StepStatus.FAILED, "its sibling to be given up")

    # While the other one runs, the saga does too.
    assert run.status is SagaStatus.RUNNING
    gates.open_gate(busy_shop.database_url, run, "mail")

    assert run.wait(30) is SagaStatus.FAILED
    assert busy_shop.effects(run) == ["a", "p", other]
    assert (statuses(run)[other], statuses(run)["last"]) == (StepStatus.COMPLETED, StepStatus.SKIPPED)
    assert run.error is not None
    assert (run.error.step, run.error.message) == (stuck, "the printer is gone")
    (asked,) = [entry for entry in run.history() if entry.event == "needs_a_person"]
    assert asked.step == stuck
    assert not any(step.compensation for step in run.steps)


def test_a_branch_that_fails_for_good_last_waits_for_a_person_at_once(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.forward, {"r": ["wait:mail,no"]})
    gates.until_reached(busy_shop.database_url, run, "mail")
    eventually(lambda: statuses(run)["s"] is StepStatus.COMPLETED, "the sibling to be done")
    gates.open_gate(busy_shop.database_url, run, "mail")

    assert run.wait(30) is SagaStatus.FAILED
    assert busy_shop.effects(run) == ["a", "p", "s"]


@pytest.mark.parametrize("behaviour", ["no", "invalid", "after:flaky", "after:return:set"])
def test_whatever_fails_a_branch_past_the_pivot_undoes_nothing(busy_shop: Shop, behaviour: str) -> None:
    run = busy_shop.start(shapes.forward, {"s": behaviour})

    assert run.wait(30) is SagaStatus.FAILED
    assert done_and_undone(busy_shop.effects(run))[1] == []
    assert statuses(run)["r"] is StepStatus.COMPLETED


def test_a_lane_past_the_pivot_goes_on_to_its_end_beside_one_that_failed_for_good(busy_shop: Shop) -> None:
    run = busy_shop.start(FORWARD_LANES, {"r": ["no"], "s": ["wait:mail"]})
    gates.until_reached(busy_shop.database_url, run, "mail")
    eventually(lambda: statuses(run)["r"] is StepStatus.FAILED, "the other lane to be given up")
    gates.open_gate(busy_shop.database_url, run, "mail")

    assert run.wait(30) is SagaStatus.FAILED
    assert busy_shop.effects(run) == ["a", "p", "s", "s2", "s3"]
    run.skip("printed by hand")
    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run)[5:] == ["last"]


def test_a_persons_retry_of_a_first_step_of_a_lane_goes_on_through_the_lane(busy_shop: Shop) -> None:
    run = busy_shop.start(FORWARD_LANES, {"s": "broken:printer"})
    assert run.wait(30) is SagaStatus.FAILED
    assert busy_shop.effects(run) == ["a", "p", "r"]

    gates.open_gate(busy_shop.database_url, run, "printer")
    run.retry("the printer works again")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "p", "r", "s", "s2", "s3", "last"]
    assert pending(busy_shop, run) == 0


@pytest.mark.parametrize("stuck", ["r", "s", "last"])
def test_a_persons_retry_runs_what_is_missing_and_goes_on_to_the_end(busy_shop: Shop, stuck: str) -> None:
    run = busy_shop.start(shapes.forward, {stuck: "broken:printer"})
    assert run.wait(30) is SagaStatus.FAILED

    gates.open_gate(busy_shop.database_url, run, "printer")
    run.retry("the printer works again", by="maria")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert Counter(busy_shop.effects(run)) == dict.fromkeys(["a", "p", "r", "s", "n", "last"], 1)
    assert (run.error, pending(busy_shop, run)) == (None, 0)
    keys = [key for what, key in journal.entries(busy_shop.database_url, run.id) if what == stuck]
    assert keys == [f"{run.id}:{stuck}"]


def test_a_persons_retry_of_two_branches_runs_both_side_by_side(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.forward, {"r": "broken:printer,wait:meeting", "s": "broken:printer,wait:meeting"})
    assert run.wait(30) is SagaStatus.FAILED
    assert busy_shop.effects(run) == ["a", "p"]

    gates.open_gate(busy_shop.database_url, run, "printer")
    run.retry("the printer works again")
    gates.until_reached(busy_shop.database_url, run, "meeting", times=2)
    gates.open_gate(busy_shop.database_url, run, "meeting")

    assert run.wait(30) is SagaStatus.COMPLETED


def test_a_persons_retry_that_helps_only_one_of_two_branches_leaves_the_other_to_the_next(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.forward, {"r": "broken:printer", "s": "broken:post"})
    assert run.wait(30) is SagaStatus.FAILED

    gates.open_gate(busy_shop.database_url, run, "printer")
    run.retry("the printer works again")
    eventually(lambda: run.status is SagaStatus.FAILED and statuses(run)["r"] is StepStatus.COMPLETED, "the first one")
    assert busy_shop.effects(run) == ["a", "p", "r"]
    gates.open_gate(busy_shop.database_url, run, "post")
    run.retry("the post too")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "p", "r", "s", "n", "last"]


def test_of_two_branches_that_failed_each_is_skipped_by_name(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.forward, {"r": "no", "s": "no"})
    assert run.wait(30) is SagaStatus.FAILED
    with pytest.raises(TransitionRefused, match="name it if there are several"):
        run.skip("both are done")

    run.skip("printed by hand", step="s", result={"s_done": "by hand"})
    assert run.status is SagaStatus.FAILED
    run.skip("posted by hand", step="r")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "p", "n", "last"]
    assert run.data["s_done"] == "by hand"


def test_a_saga_in_the_middle_of_branches_past_its_pivot_cannot_be_cancelled(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.forward, {"r": "wait:mail"})
    gates.until_reached(busy_shop.database_url, run, "mail")

    with pytest.raises(TransitionRefused, match=rf"saga {run.id} is running and cannot be cancelled: .*past its pivot"):
        run.cancel("too late")
    gates.open_gate(busy_shop.database_url, run, "mail")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert journal.events(busy_shop.database_url, run.id, "stop_requested") == 0


def test_a_saga_that_waits_for_a_person_past_its_pivot_cannot_be_cancelled(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.forward, {"r": "no"})
    assert run.wait(30) is SagaStatus.FAILED

    with pytest.raises(TransitionRefused, match=r"is failed and cannot be cancelled: .*past its pivot"):
        run.cancel("too late")

    assert run.status is SagaStatus.FAILED


def test_a_deadline_past_the_pivot_stops_no_branch(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.forward, {"r": "wait:mail"}, deadline=1.0)
    gates.until_reached(busy_shop.database_url, run, "mail")
    passed = """
    SELECT min(step.first_claimed_at) + interval '1 second' < min(sweep.swept_at)
    FROM sagas.saga_step AS step, sagas.saga_sweep AS sweep WHERE instance_id = %s
    """
    eventually(lambda: journal.query(busy_shop.database_url, passed, str(run.id))[0][0], "a sweep after the deadline")
    gates.open_gate(busy_shop.database_url, run, "mail")

    assert run.wait(30) is SagaStatus.COMPLETED


#: What fails a best effort, how often it is tried, and whether anybody knows that it did not happen.
FAILURES = {"no": (1, False), "flaky": (3, True), "after:flaky": (3, True), "after:return:set": (1, True)}


@pytest.mark.parametrize("saga", [shapes.forward, shapes.noted], ids=lambda saga: saga.name)
@pytest.mark.parametrize("behaviour", FAILURES)
def test_a_best_effort_that_fails_hurts_nobody_and_is_recorded(busy_shop: Shop, saga: Saga, behaviour: str) -> None:
    run = busy_shop.start(saga, {"n": behaviour})

    assert run.wait(30) is SagaStatus.COMPLETED
    (step,) = [step for step in run.steps if step.name == "n"]
    attempts, in_doubt = FAILURES[behaviour]
    assert (step.status, step.attempts, step.in_doubt) == (StepStatus.FAILED, attempts, in_doubt)
    assert step.error is not None
    assert {other.status for other in run.steps if other.name != "n"} == {StepStatus.COMPLETED}
    assert run.error is None
    assert journal.events(busy_shop.database_url, run.id, "attempt_failed") == attempts
    assert [entry.event for entry in run.history()][-1] == "completed"


def test_a_best_effort_whose_process_dies_every_time_hurts_nobody(shop: Shop) -> None:
    run = shop.start(shapes.noted, {"n": "die"})
    with briefly(shop.worker()):
        assert run.wait(90) is SagaStatus.COMPLETED
    assert (shop.effects(run), statuses(run)["n"]) == (["a", "b"], StepStatus.FAILED)


def noted_and_undone(place: str) -> Saga:
    """A best effort that can be undone, alone or beside another step."""
    note = BestEffort(scripted.act, name="n", compensation=scripted.undo, retry=scripted.QUICK)
    middle = parallel(note, scripted.step("m")) if place == "beside" else note
    return Saga(f"noted-{place}", steps=[scripted.step("a"), middle, scripted.step("b")])


@pytest.mark.parametrize("place", ["alone", "beside"])
@pytest.mark.parametrize(
    ("behaviour", "is_undone"), [("ok", True), ("no", False), ("after:flaky", True), ("after:return:set", True)]
)
def test_a_best_effort_that_may_have_happened_is_undone_with_the_others_if_it_has_a_compensation(
    busy_shop: Shop, place: str, behaviour: str, is_undone: bool
) -> None:
    run = busy_shop.start(noted_and_undone(place), {"n": behaviour, "b": ["no"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    undos = done_and_undone(busy_shop.effects(run))[1]
    assert (undos.count("undo n"), undos[-1]) == (int(is_undone), "undo a")
    assert run.error is not None
    assert run.error.step == "b"


def test_a_best_effort_without_a_compensation_is_left_as_it_is(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.noted, {"n": "after:flaky", "b": ["no"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert done_and_undone(busy_shop.effects(run))[1] == ["undo a"]


@pytest.mark.parametrize("first", ["n", "m"])
def test_a_best_effort_that_fails_beside_others_is_joined_like_any_other(busy_shop: Shop, first: str) -> None:
    other = "m" if first == "n" else "n"
    failing = {"n": "no", "m": "ok"}
    run = busy_shop.start(noted_and_undone("beside"), {other: f"wait:slow,{failing[other]}", first: failing[first]})
    gates.until_reached(busy_shop.database_url, run, "slow")
    eventually(lambda: not step_is_live(run, first), f"{first} to end")
    assert statuses(run)["b"] is StepStatus.PENDING
    gates.open_gate(busy_shop.database_url, run, "slow")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["a", "m", "b"]
    assert pending(busy_shop, run) == 0


def test_a_lane_goes_on_past_a_best_effort_that_failed(busy_shop: Shop) -> None:
    lane = [scripted.step("b"), BestEffort(scripted.act, name="n"), scripted.step("b2")]
    saga = Saga("noted-in-a-lane", steps=[parallel(lane, scripted.step("c")), scripted.step("d")])
    run = busy_shop.start(saga, {"n": "no", "c": ["wait:slow"]})
    gates.until_reached(busy_shop.database_url, run, "slow")
    eventually(lambda: statuses(run)["b2"] is StepStatus.COMPLETED, "the lane to go on")
    gates.open_gate(busy_shop.database_url, run, "slow")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["b", "b2", "c", "d"]


@pytest.mark.parametrize("place", ["alone", "beside"])
def test_a_saga_may_end_with_a_best_effort_that_fails(busy_shop: Shop, place: str) -> None:
    note = BestEffort(scripted.act, name="n")
    last = parallel(note, BestEffort(scripted.act, name="m")) if place == "beside" else note
    run = busy_shop.start(Saga(f"noted-at-the-end-{place}", steps=[scripted.step("a"), last]), {"n": "no", "m": "no"})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert (busy_shop.effects(run), statuses(run)["n"]) == (["a"], StepStatus.FAILED)
    assert pending(busy_shop, run) == 0


def step_is_live(run: SagaHandle, name: str) -> bool:
    return statuses(run)[name] in (StepStatus.PENDING, StepStatus.RUNNING)


def test_attempts_count_on_after_a_persons_retry_and_the_budget_is_fresh(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.pivoted, {"r": "tell:attempt, broken:bank"})
    assert run.wait(30) is SagaStatus.FAILED
    assert run.steps[2].attempts == 3

    run.retry("not yet mended")
    assert run.wait(30) is SagaStatus.FAILED
    gates.open_gate(busy_shop.database_url, run, "bank")
    run.retry("mended")

    assert run.wait(30) is SagaStatus.COMPLETED
    told = [effect for effect in busy_shop.effects(run) if effect.startswith("attempt=")]
    assert told == [f"attempt={number}" for number in range(1, 8)]
    assert run.steps[2].attempts == 7
