"""Branches side by side: on as many workers as there are, and the saga goes on when all of them are done."""

from collections import Counter
from collections.abc import Iterator

import pytest

from sagas import Saga, SagaStatus, StepStatus, parallel
from tests.conftest import Shop
from tests.support import gates, journal, scripted, shapes
from tests.support.branches import claims, pending, statuses, steps_begun
from tests.support.programs import briefly
from tests.support.workers import eventually

MEETING = dict.fromkeys("bcd", "wait:meeting")


@pytest.fixture(scope="module")
def single(own_shop: Shop) -> Iterator[Shop]:
    """A shop whose only worker runs one step at a time."""
    with briefly(own_shop.worker("-c", "1", name="single")):
        yield own_shop


def test_all_branches_are_in_the_middle_at_once_on_as_many_processes_as_there_are(shop: Shop) -> None:
    run = shop.start(shapes.beside, MEETING)
    with briefly(shop.worker("-c", "3")):
        gates.until_reached(shop.database_url, run, "meeting", times=3)
        assert shop.effects(run) == ["a"]
        assert {name: status.value for name, status in statuses(run).items()} == {
            "a": "completed",
            "b": "running",
            "c": "running",
            "d": "running",
            "e": "pending",
        }
        gates.open_gate(shop.database_url, run, "meeting")

        assert run.wait(30) is SagaStatus.COMPLETED
    effects = shop.effects(run)
    assert (effects[0], sorted(effects[1:4]), effects[4:]) == ("a", ["b", "c", "d"], ["e"])


def test_branches_run_at_once_on_several_workers(shop: Shop) -> None:
    run = shop.start(shapes.beside, MEETING)
    with briefly(shop.worker("-c", "1", name="left"), shop.worker("-c", "2", name="right")):
        gates.until_reached(shop.database_url, run, "meeting", times=3)
        gates.open_gate(shop.database_url, run, "meeting")

        assert run.wait(30) is SagaStatus.COMPLETED
    workers = Counter(str(step.worker).partition("@")[0] for step in run.steps[1:4])
    assert workers == {"left": 1, "right": 2}


@pytest.mark.parametrize(
    "saga", [shapes.beside, shapes.eight, shapes.fifty_branches, shapes.lanes], ids=lambda saga: saga.name
)
def test_fewer_processes_than_branches_are_enough(single: Shop, saga: Saga) -> None:
    run = single.start(saga)

    assert run.wait(60) is SagaStatus.COMPLETED
    names = [part.name for part in saga.parts]
    assert sorted(single.effects(run)) == sorted(names)
    assert single.effects(run)[-1] == names[-1]
    assert {step.attempts for step in run.steps} == {1}
    assert pending(single, run) == 0


def test_one_process_undoes_all_of_fifty_branches(single: Shop) -> None:
    run = single.start(shapes.fifty_branches, {"last": ["no"]})

    assert run.wait(60) is SagaStatus.COMPENSATED
    assert single.effects(run)[50:] == [f"undo {name}" for name in reversed(steps_begun(run)[:50])]


def test_several_sagas_share_one_process(single: Shop) -> None:
    runs = [single.start(shapes.eight) for _ in range(5)]

    for run in runs:
        assert run.wait(60) is SagaStatus.COMPLETED
        assert sorted(single.effects(run)) == sorted(part.name for part in shapes.eight.parts)


def test_fifty_branches_are_joined_once(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.fifty_branches)

    assert run.wait(60) is SagaStatus.COMPLETED
    assert Counter(busy_shop.effects(run)) == dict.fromkeys([part.name for part in shapes.fifty_branches.parts], 1)
    assert (claims(busy_shop, run), pending(busy_shop, run)) == (51, 0)


def test_a_lane_goes_on_while_another_one_still_is_at_its_first_step(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.lanes, {"a": ["wait:slow"]})
    gates.until_reached(busy_shop.database_url, run, "slow")
    eventually(lambda: statuses(run)["b3"] is StepStatus.COMPLETED, "the other lane to be done")

    assert busy_shop.effects(run) == ["b", "b2", "b3"]
    assert (run.status, statuses(run)["c"]) == (SagaStatus.RUNNING, StepStatus.PENDING)
    gates.open_gate(busy_shop.database_url, run, "slow")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["b", "b2", "b3", "a", "a2", "c"]
    assert [(step.position, step.lane) for step in run.steps] == [(0, 0), (0, 0), (0, 1), (0, 1), (0, 1), (1, 0)]


def test_nothing_follows_before_the_last_branch_is_done(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.eight, {"b5": ["wait:slow"]})
    gates.until_reached(busy_shop.database_url, run, "slow")
    eventually(lambda: pending(busy_shop, run) == 1, "the seven others to be done")

    assert statuses(run)["last"] is StepStatus.PENDING
    assert len(busy_shop.effects(run)) == 7
    gates.open_gate(busy_shop.database_url, run, "slow")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run)[7:] == ["b5", "last"]


def test_a_branch_sees_its_own_lane_and_the_step_after_the_join_sees_all(busy_shop: Shop) -> None:
    # Given: branches that look only when every sibling has returned
    script = {"b": ["wait:start"], "c": ["wait:start"]}
    run = busy_shop.start(shapes.seeing, script)
    gates.until_reached(busy_shop.database_url, run, "start", times=2)
    eventually(lambda: statuses(run)["d"] is StepStatus.COMPLETED, "d to be done")
    gates.open_gate(busy_shop.database_url, run, "start")

    assert run.wait(30) is SagaStatus.COMPLETED
    seen = [what for what in busy_shop.effects(run) if " sees " in what]
    assert sorted(seen) == [
        "b2 sees a_done, b_done",
        "c2 sees a_done, c_done",
        "e sees a_done, b2_saw, b_done, c2_saw, c_done, d_done",
    ]
    assert run.data["e_saw"] == "a_done, b2_saw, b_done, c2_saw, c_done, d_done"


def test_h11_an_undo_of_a_branch_sees_its_own_lane_and_none_of_its_siblings(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.seeing, {"f": ["no"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    # b2's own result is there too, and neither c's nor d's.
    assert "b2 sees a_done, b2_saw, b_done" in busy_shop.effects(run)


def test_a_lane_may_return_the_same_name_twice_and_the_later_step_wins(busy_shop: Shop) -> None:
    lane = [scripted.step(name, task=scripted.give) for name in ("a", "a2")]
    saga = Saga("giving-in-lanes", steps=[parallel(lane, scripted.step("b"))])
    run = busy_shop.sagas.start(saga, {"script": {}, "gifts": {"a": {"x": 1, "y": 1}, "a2": {"x": 2}}})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert (run.data["x"], run.data["y"]) == (2, 1)


def test_parallel_positions_may_follow_one_another_and_end_the_saga(busy_shop: Shop) -> None:
    saga = Saga(
        "beside-beside",
        steps=[
            parallel(scripted.step("a"), scripted.step("b")),
            parallel(scripted.step("c"), [scripted.step("d"), scripted.step("d2")]),
        ],
    )
    run = busy_shop.start(saga)

    assert run.wait(30) is SagaStatus.COMPLETED
    effects = busy_shop.effects(run)
    assert (sorted(effects[:2]), sorted(effects[2:])) == (["a", "b"], ["c", "d", "d2"])
    assert (claims(busy_shop, run), pending(busy_shop, run)) == (5, 0)


def test_a_branch_that_fails_is_tried_again_while_its_siblings_go_on(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.beside, {"c": ["flaky", "after:flaky"], "d": ["wait:slow"]})
    gates.until_reached(busy_shop.database_url, run, "slow")
    eventually(lambda: statuses(run)["c"] is StepStatus.COMPLETED, "the third try")
    gates.open_gate(busy_shop.database_url, run, "slow")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert [step.attempts for step in run.steps] == [1, 1, 3, 1, 1]
    assert (run.steps[2].in_doubt, run.data["c_done"]) == (False, 3)
    keys = [key for what, key in journal.entries(busy_shop.database_url, run.id) if what == "c"]
    assert keys == [f"{run.id}:c"] * 2


def test_each_branch_has_a_key_of_its_own(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.lanes)
    run.wait(30)

    keys = dict(journal.entries(busy_shop.database_url, run.id))
    assert keys == {name: f"{run.id}:{name}" for name in ("a", "a2", "b", "b2", "b3", "c")}


def test_the_history_tells_of_every_branch_and_of_one_end(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.beside)
    run.wait(30)

    told = Counter(f"{entry.event} {entry.step or ''}".strip() for entry in run.history())
    expected = [f"step_{what} {name}" for name in "abcde" for what in ("started", "completed")]
    assert told == dict.fromkeys(["started", *expected, "completed"], 1)
