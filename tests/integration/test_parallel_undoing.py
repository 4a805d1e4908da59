"""A branch says no: what its siblings did or may have done is undone, the last begun first, and nothing else begins."""

from collections.abc import Iterator

import pytest

from sagas import Saga, SagaHandle, SagaStatus, StepStatus, TransitionRefused, parallel
from tests.conftest import Shop
from tests.support import gates, journal, scripted, shapes
from tests.support.branches import done_and_undone, pending, statuses, steps_begun, undo_effects
from tests.support.programs import briefly
from tests.support.workers import eventually

ELSEWHERE = "where-nobody-works-yet"


def others(failing: str) -> list[str]:
    return [name for name in "bcd" if name != failing]


@pytest.mark.parametrize("failing", list("bcd"))
def test_a_branch_that_says_no_after_its_siblings_undoes_them_the_last_begun_first(
    busy_shop: Shop, failing: str
) -> None:
    run = busy_shop.start(shapes.beside, {failing: ["wait:answer,no"]})
    gates.until_reached(busy_shop.database_url, run, "answer")
    eventually(lambda: pending(busy_shop, run) == 1, "the siblings to be done")
    gates.open_gate(busy_shop.database_url, run, "answer")

    assert run.wait(30) is SagaStatus.COMPENSATED
    happened = [name for name in steps_begun(run) if name != failing]
    done, undos = done_and_undone(busy_shop.effects(run))
    assert (sorted(done), undos) == (["a", *others(failing)], undo_effects(happened))
    assert statuses(run) == {
        **dict.fromkeys(happened, StepStatus.COMPENSATED),
        failing: StepStatus.FAILED,
        "e": StepStatus.SKIPPED,
    }


@pytest.mark.parametrize("failing", list("bcd"))
def test_c7_siblings_in_the_middle_are_awaited_recorded_and_undone(busy_shop: Shop, failing: str) -> None:
    # Given: all three in the middle
    script = dict.fromkeys(others(failing), "wait:bank") | {failing: ["wait:answer,no:sold out"]}
    run = busy_shop.start(shapes.beside, script)
    gates.until_reached(busy_shop.database_url, run, "bank", times=2)
    gates.until_reached(busy_shop.database_url, run, "answer")

    # When: one says no
    gates.open_gate(busy_shop.database_url, run, "answer")
    eventually(lambda: run.status is SagaStatus.COMPENSATING, "the saga to turn back")

    # Then: nothing is undone before the others have ended, whose results are recorded
    assert busy_shop.effects(run) == ["a"]
    assert {statuses(run)[name] for name in others(failing)} == {StepStatus.RUNNING}
    gates.open_gate(busy_shop.database_url, run, "bank")
    assert run.wait(30) is SagaStatus.COMPENSATED
    happened = [name for name in steps_begun(run) if name != failing]
    done, undos = done_and_undone(busy_shop.effects(run))
    assert (sorted(done), undos) == (["a", *others(failing)], undo_effects(happened))
    assert [step.result for step in run.steps if step.name in others(failing)] == [
        {f"{name}_done": 1} for name in others(failing)
    ]
    assert run.error is not None
    assert (run.error.step, run.error.message) == (failing, "sold out")


@pytest.fixture(scope="module")
def two_places(own_shop: Shop) -> Iterator[Shop]:
    """A shop with a worker for the usual queue; the other queue has none."""
    with briefly(own_shop.worker("-c", "2", name="here")):
        yield own_shop


def test_c7_siblings_that_have_not_begun_never_begin(two_places: Shop) -> None:
    # Given: for each branch a saga whose other branches lie in a queue of which nobody takes
    runs = {failing: two_places.start(waiting_for(failing), {failing: ["no"]}) for failing in "bcd"}

    # Then: they are not waited for
    for failing, run in runs.items():
        assert run.wait(30) is SagaStatus.COMPENSATED
        assert two_places.effects(run) == ["a", "undo a"]
        assert [statuses(run)[name] for name in others(failing)] == [StepStatus.SKIPPED] * 2
    # When: somebody comes at last
    there = two_places.worker("-c", "1", "-Q", ELSEWHERE, name="there")
    with briefly(there):
        eventually(lambda: there.text().count("succeeded in") >= 6, "their messages to be dropped")
    for run in runs.values():
        assert two_places.effects(run) == ["a", "undo a"]
        assert {step.attempts for step in run.steps[1:4]} == {0, 1}


def waiting_for(failing: str) -> Saga:
    branches = (scripted.step(name, queue=None if name == failing else ELSEWHERE) for name in "bcd")
    return Saga(f"beside-before-{failing}", steps=[scripted.step("a"), parallel(*branches), scripted.step("e")])


def test_branches_are_undone_in_the_order_of_their_beginning_not_of_their_end(busy_shop: Shop) -> None:
    # Given: three lanes that begin one after the other and end the other way round
    run = busy_shop.start(shapes.beside, {name: [f"wait:{name}"] for name in "bcd"} | {"e": ["no"]})
    for name in "bcd":
        gates.until_reached(busy_shop.database_url, run, name)
    order = steps_begun(run)[1:]
    for name in order:
        gates.open_gate(busy_shop.database_url, run, name)
        eventually(lambda name=name: statuses(run)[name] is not StepStatus.RUNNING, f"{name} to end")

    assert run.wait(30) is SagaStatus.COMPENSATED
    done, undos = done_and_undone(busy_shop.effects(run))
    assert (done, undos) == (["a", *order], [*undo_effects(order), "undo a"])


def test_undos_of_branches_run_one_after_the_other(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.beside, {"e": ["no"]} | {f"undo {name}": ["wait:bank"] for name in "bcd"})
    gates.until_reached(busy_shop.database_url, run, "bank")

    compensating = [name for name, status in statuses(run).items() if status is StepStatus.COMPENSATING]
    assert compensating == [steps_begun(run)[3]]
    gates.open_gate(busy_shop.database_url, run, "bank")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert done_and_undone(busy_shop.effects(run))[1] == undo_effects(steps_begun(run)[:4])


def test_undos_run_side_by_side_where_the_position_says_so(busy_shop: Shop) -> None:
    script = {"e": ["no"]} | {f"undo {name}": ["wait:bank"] for name in "bcd"}
    run = busy_shop.start(shapes.undone_beside, script)

    gates.until_reached(busy_shop.database_url, run, "bank", times=3)
    assert done_and_undone(busy_shop.effects(run))[1] == []
    gates.open_gate(busy_shop.database_url, run, "bank")

    assert run.wait(30) is SagaStatus.COMPENSATED
    undos = done_and_undone(busy_shop.effects(run))[1]
    assert (sorted(undos[:3]), undos[3:]) == (["undo b", "undo c", "undo d"], ["undo a"])


def test_lanes_that_are_undone_side_by_side_are_each_undone_backwards(busy_shop: Shop) -> None:
    saga = Saga(
        "lanes-undone-beside",
        steps=[
            parallel(
                [scripted.step("a"), scripted.step("a2")],
                [scripted.step("b"), scripted.step("b2"), scripted.step("b3")],
                undo="parallel",
            ),
            scripted.step("c"),
        ],
    )
    run = busy_shop.start(saga, {"c": ["no"], "undo a2": ["wait:bank"]})
    gates.until_reached(busy_shop.database_url, run, "bank")
    eventually(lambda: statuses(run)["b"] is StepStatus.COMPENSATED, "the other lane to be undone")

    assert done_and_undone(busy_shop.effects(run))[1] == ["undo b3", "undo b2", "undo b"]
    assert statuses(run)["a"] is StepStatus.COMPLETED
    gates.open_gate(busy_shop.database_url, run, "bank")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert done_and_undone(busy_shop.effects(run))[1][3:] == ["undo a2", "undo a"]


def test_c7_later_steps_of_a_lane_do_not_begin_once_another_lane_has_failed(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.lanes, {"a": ["wait:bank"], "b2": ["no"]})
    gates.until_reached(busy_shop.database_url, run, "bank")
    eventually(lambda: run.status is SagaStatus.COMPENSATING, "the saga to turn back")
    gates.open_gate(busy_shop.database_url, run, "bank")

    assert run.wait(30) is SagaStatus.COMPENSATED
    done, undos = done_and_undone(busy_shop.effects(run))
    assert (done, undos) == (["b", "a"], undo_effects([name for name in steps_begun(run) if name != "b2"]))
    assert run.steps[0].result == {"a_done": 1}
    assert {name: run.steps[at].attempts for at, name in enumerate(statuses(run))} == {
        "a": 1,
        "a2": 0,
        "b": 1,
        "b2": 1,
        "b3": 0,
        "c": 0,
    }


def test_c5_a_branch_given_up_in_doubt_is_undone_with_its_siblings(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.beside, {"c": "after:flaky"})

    assert run.wait(30) is SagaStatus.COMPENSATED
    done, undos = done_and_undone(busy_shop.effects(run))
    assert (done.count("c"), sorted(set(done))) == (3, ["a", "b", "c", "d"])
    assert undos == undo_effects(steps_begun(run))
    assert run.steps[2].in_doubt


def test_two_branches_that_say_no_turn_the_saga_back_once(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.beside, {"b": ["wait:answer,no:first"], "d": ["wait:answer,no:second"]})
    gates.until_reached(busy_shop.database_url, run, "answer", times=2)
    gates.open_gate(busy_shop.database_url, run, "answer")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert done_and_undone(busy_shop.effects(run)) == (["a", "c"], ["undo c", "undo a"])
    assert [statuses(run)[name] for name in "bd"] == [StepStatus.FAILED] * 2
    assert run.error is not None
    first, _ = sorted((step.finished_at, step.error) for step in run.steps if step.error is not None)
    assert run.error == first[1]


def test_a_name_that_two_branches_return_is_an_error_that_names_both_and_undoes_both(busy_shop: Shop) -> None:
    run = busy_shop.sagas.start(shapes.clashing, {"script": {}, "gifts": {"a": {"x": 1}, "b": {"x": 2}}})

    assert run.wait(30) is SagaStatus.COMPENSATED
    done, undos = done_and_undone(busy_shop.effects(run))
    assert (sorted(done), sorted(undos)) == (["a", "b"], ["undo a", "undo b"])
    assert run.error is not None
    assert run.error.type == "sagas.KeyClash"
    assert run.error.message in (
        "the branches 'a' and 'b' both return 'x': give it two names",
        "the branches 'b' and 'a' both return 'x': give it two names",
    )
    # The one that came second is done all the same: its body is not run again for it.
    assert [step.attempts for step in run.steps] == [1, 1, 0]


@pytest.mark.parametrize("saga", [shapes.beside, shapes.undone_beside], ids=lambda saga: saga.name)
def test_h13_an_undo_of_a_branch_that_fails_for_good_does_not_stop_the_others(busy_shop: Shop, saga: Saga) -> None:
    run = busy_shop.start(saga, {"e": ["no"], "undo c": "broken:account"})

    assert run.wait(30) is SagaStatus.FAILED
    undos = done_and_undone(busy_shop.effects(run))[1]
    assert (sorted(undos[:2]), undos[2:]) == (["undo b", "undo d"], ["undo a"])
    gates.open_gate(busy_shop.database_url, run, "account")
    run.retry("the account is open again")
    assert run.wait(30) is SagaStatus.COMPENSATED
    assert done_and_undone(busy_shop.effects(run))[1][3:] == ["undo c"]


def test_an_undo_beside_others_is_tried_again_while_they_go_on(busy_shop: Shop) -> None:
    script = {"e": ["no"], "undo c": ["flaky", "after:invalid", "wait:bank"]}
    run = busy_shop.start(shapes.undone_beside, script)
    gates.until_reached(busy_shop.database_url, run, "bank")
    eventually(lambda: statuses(run)["b"] is statuses(run)["d"] is StepStatus.COMPENSATED, "the others")

    # Nothing of the position before is undone yet.
    assert "undo a" not in busy_shop.effects(run)
    gates.open_gate(busy_shop.database_url, run, "bank")

    assert run.wait(30) is SagaStatus.COMPENSATED
    undos = done_and_undone(busy_shop.effects(run))[1]
    assert (sorted(undos[:-2]), undos[-2:]) == (["undo b", "undo c", "undo d"], ["undo c", "undo a"])
    undo = run.steps[2].compensation
    assert undo is not None
    assert (undo.attempts, undo.round) == (3, 1)


def test_c7_a_cancel_awaits_the_branches_in_the_middle_and_undoes_all(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.beside, {"b": ["wait:bank"], "c": ["wait:bank"]})
    gates.until_reached(busy_shop.database_url, run, "bank", times=2)
    eventually(lambda: statuses(run)["d"] is StepStatus.COMPLETED, "d to be done")

    run.cancel("changed mind")
    assert (run.status, done_and_undone(busy_shop.effects(run))[1]) == (SagaStatus.COMPENSATING, [])
    gates.open_gate(busy_shop.database_url, run, "bank")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert done_and_undone(busy_shop.effects(run))[1] == undo_effects(steps_begun(run)[:4])
    assert "e" not in busy_shop.effects(run)
    with pytest.raises(TransitionRefused):
        run.retry("please")


def test_c7_a_branch_whose_retry_is_due_is_not_tried_again_after_a_cancel(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.beside, {"b": ["wait:bank,flaky"], "c": ["wait:shop"]})
    for gate in ("bank", "shop"):
        gates.until_reached(busy_shop.database_url, run, gate)

    run.cancel("changed mind")
    for gate in ("bank", "shop"):
        gates.open_gate(busy_shop.database_url, run, gate)

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert [run.steps[at].attempts for at in (1, 2)] == [1, 1]
    assert done_and_undone(busy_shop.effects(run))[1] == undo_effects(steps_begun(run)[:4])


def test_a_deadline_turns_branches_back_like_a_cancel(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.beside, {"b": ["wait:bank"]}, deadline=0.5)
    gates.until_reached(busy_shop.database_url, run, "bank")
    eventually(lambda: journal.events(busy_shop.database_url, run.id, "deadline_passed"), "the deadline")
    gates.open_gate(busy_shop.database_url, run, "bank")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert sorted(done_and_undone(busy_shop.effects(run))[1]) == ["undo a", "undo b", "undo c", "undo d"]


def test_a_failed_branch_tells_its_sibling_to_stop_where_the_position_says_so(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.cancelling, {"a": ["after:wait:never"], "b": ["wait:answer,no"]})
    for gate in ("never", "answer"):
        gates.until_reached(busy_shop.database_url, run, gate)
    gates.open_gate(busy_shop.database_url, run, "answer")

    try:
        assert run.wait(15) is SagaStatus.COMPENSATED
    finally:
        gates.open_gate(busy_shop.database_url, run, "never")
    assert busy_shop.effects(run) == ["a", "undo a"]
    assert (run.steps[0].attempts, run.steps[0].in_doubt) == (1, True)
    assert errors(run) == {"a": "billiard.exceptions.SoftTimeLimitExceeded", "b": "tests.support.scripted.CleanNo"}


def errors(run: SagaHandle) -> dict[str, str]:
    return {step.name: step.error.type for step in run.steps if step.error is not None}
