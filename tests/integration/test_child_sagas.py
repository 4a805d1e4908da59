"""A step that is a saga of its own: its results come back, and it is undone as one unit."""

from typing import Any

import pytest

from sagas import Child, DefinitionError, Pivot, Retriable, Retry, Saga, SagaHandle, SagaStatus, StepStatus, parallel
from tests.conftest import Shop
from tests.support import gates, journal, scripted, shapes
from tests.support.scripted import QUICK, step
from tests.support.workers import eventually

child_first = Saga("child-first", steps=[Child(shapes.payment), step("b")])
child_last = Saga("child-last", steps=[step("a"), Child(shapes.payment)])
choosy = Saga("choosy", steps=[step("a"), Child(shapes.payment, input=["script", "a_done", "not there"]), step("b")])
beside = Saga("child-beside", steps=[step("a"), parallel([Child(shapes.payment), step("c")], step("d")), step("e")])
two_children = Saga(
    "two-children",
    steps=[parallel(Child(shapes.payment, name="left"), Child(shapes.payment, name="right", output=())), step("e")],
)
middle = Saga("middle", steps=[step("m1"), Child(shapes.payment), step("m2")])
outer = Saga("outer", steps=[step("o1"), Child(middle), step("o2")])
pivoted_child = Saga("pivoted-child", steps=[step("x"), Pivot(scripted.act, name="y", retry=QUICK)])
past_pivot = Saga("past-pivot", steps=[step("a"), Pivot(scripted.act, name="p", retry=QUICK), Child(pivoted_child)])
fragile_child = Saga("fragile-child", steps=[step("x"), step("y")])
past_pivot_fragile = Saga(
    "past-pivot-fragile",
    steps=[
        Pivot(scripted.act, name="p", retry=QUICK),
        Child(fragile_child),
        Retriable(scripted.act, name="r", retry=Retry(max_attempts=2)),
    ],
)
clashing_with_child = Saga(
    "clashing-with-child",
    steps=[
        parallel(Child(Saga("giver", steps=[step("x", task=scripted.give)])), step("b", task=scripted.give)),
        step("c"),
    ],
)


def children(shop: Shop, run: SagaHandle) -> list[SagaHandle]:
    """The sagas that a saga has started, in the order in which it did."""
    found = "SELECT id FROM sagas.saga_instance WHERE parent_id = %s ORDER BY created_at"
    return [shop.sagas.get(id_) for (id_,) in journal.query(shop.database_url, found, str(run.id))]


def only_child(shop: Shop, run: SagaHandle) -> SagaHandle:
    (child,) = eventually(lambda: children(shop, run), "the child to be there")
    return child


def effects(shop: Shop, *runs: SagaHandle) -> list[str]:
    """Those of these sagas, in the order in which they happened."""
    found = "SELECT what FROM public.journal WHERE saga_id = ANY (%s::uuid[]) ORDER BY id"
    return [what for (what,) in journal.query(shop.database_url, found, [str(run.id) for run in runs])]


# -- forward


def test_a_child_is_given_its_parents_data_and_gives_its_results_back(busy_shop: Shop) -> None:
    run = busy_shop.sagas.start(shapes.parent, {"script": {}, "order": 42})

    assert run.wait(30) is SagaStatus.COMPLETED
    child = only_child(busy_shop, run)
    assert (child.saga, child.status, child.key) == ("payment", SagaStatus.COMPLETED, None)
    assert child.data == {"script": {}, "order": 42, "a_done": 1, "pay_done": 1, "book_done": 1}
    assert run.steps[1].result == {"pay_done": 1, "book_done": 1}
    assert run.data == child.data | {"b_done": 1}
    assert effects(busy_shop, run, child) == ["a", "pay", "book", "b"]


@pytest.mark.parametrize(
    ("saga", "order"), [(child_first, "pay book b"), (child_last, "a pay book")], ids=["1st", "last"]
)
def test_a_child_may_be_the_first_step_or_the_last(busy_shop: Shop, saga: Saga, order: str) -> None:
    run = busy_shop.start(saga)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert effects(busy_shop, run, only_child(busy_shop, run)) == order.split()


def test_a_child_may_be_given_a_part_of_the_data(busy_shop: Shop) -> None:
    run = busy_shop.sagas.start(choosy, {"script": {}, "secret": "1234"})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert only_child(busy_shop, run).data == {"script": {}, "a_done": 1, "pay_done": 1, "book_done": 1}
    assert run.data["secret"] == "1234"


def test_a_child_in_a_branch_does_not_hold_up_the_one_beside_it(busy_shop: Shop) -> None:
    run = busy_shop.start(beside, {"pay": ["wait:bank"]})
    child = only_child(busy_shop, run)
    gates.until_reached(busy_shop.database_url, child, "bank")
    eventually(lambda: busy_shop.effects(run) == ["a", "d"], "the other branch to be done")

    gates.open_gate(busy_shop.database_url, child, "bank")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert effects(busy_shop, run, child) == ["a", "d", "pay", "book", "c", "e"]


def test_two_children_of_the_same_saga_run_side_by_side(busy_shop: Shop) -> None:
    run = busy_shop.start(two_children, {"pay": ["wait:bank"]})
    pair = eventually(lambda: len(found := children(busy_shop, run)) == 2 and found, "both children")
    for child in pair:
        gates.until_reached(busy_shop.database_url, child, "bank")
    for child in pair:
        gates.open_gate(busy_shop.database_url, child, "bank")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == ["e"]
    assert [busy_shop.effects(child) for child in pair] == [["pay", "book"]] * 2


def test_a_child_may_have_a_child(busy_shop: Shop) -> None:
    run = busy_shop.start(outer)

    assert run.wait(30) is SagaStatus.COMPLETED
    child = only_child(busy_shop, run)
    grandchild = only_child(busy_shop, child)
    assert effects(busy_shop, run, child, grandchild) == ["o1", "m1", "pay", "book", "m2", "o2"]
    assert run.data["book_done"] == 1


def test_past_the_pivot_a_child_may_have_a_pivot_of_its_own(busy_shop: Shop) -> None:
    run = busy_shop.start(past_pivot)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert effects(busy_shop, run, only_child(busy_shop, run)) == ["a", "p", "x", "y"]
    with pytest.raises(DefinitionError, match="could not be undone once it is"):
        Saga("wrong", steps=[Child(pivoted_child), step("a")])


# -- the child turns back


@pytest.mark.parametrize(
    ("script", "undone"),
    [({"pay": ["no:no money"]}, []), ({"book": ["no:no money"]}, ["pay", "undo pay"])],
    ids=["its first step", "its last"],
)
def test_a_child_that_fails_turns_its_parent_back(busy_shop: Shop, script: dict[str, Any], undone: list[str]) -> None:
    run = busy_shop.start(shapes.parent, script)

    assert run.wait(30) is SagaStatus.COMPENSATED
    child = only_child(busy_shop, run)
    assert child.status is SagaStatus.COMPENSATED
    assert effects(busy_shop, run, child) == ["a", *undone, "undo a"]
    assert [step.status for step in run.steps] == [StepStatus.COMPENSATED, StepStatus.FAILED, StepStatus.SKIPPED]
    for error in (run.error, run.steps[1].error):
        assert error is not None
        assert (error.type, error.message) == ("tests.support.scripted.CleanNo", "no money")
    (told,) = [entry for entry in run.history() if entry.event == "child_compensated"]
    assert told.detail["child"] == str(child.id)


def test_a_child_that_fails_in_a_branch_turns_all_back_once_the_other_branch_is_drained(busy_shop: Shop) -> None:
    run = busy_shop.start(beside, {"book": ["no"], "d": ["wait:door"]})
    gates.until_reached(busy_shop.database_url, run, "door")
    child = only_child(busy_shop, run)
    assert child.wait(30) is SagaStatus.COMPENSATED
    eventually(lambda: run.status is SagaStatus.COMPENSATING, "the parent to turn back")

    gates.open_gate(busy_shop.database_url, run, "door")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert effects(busy_shop, run, child) == ["a", "pay", "undo pay", "d", "undo d", "undo a"]


def test_past_the_pivot_a_child_that_was_undone_needs_a_person_whose_retry_starts_another_one(busy_shop: Shop) -> None:
    run = busy_shop.start(past_pivot_fragile, {"y": ["no"]})
    assert run.wait(30) is SagaStatus.FAILED
    first = only_child(busy_shop, run)
    assert effects(busy_shop, run, first) == ["p", "x", "undo x"]

    # The data tells the next one to do better
    better = "UPDATE sagas.saga_instance SET data = jsonb_set(data, '{script}', '{}') WHERE id = %s"
    journal.query(busy_shop.database_url, better, str(run.id))
    run.retry("the stock is back")

    assert run.wait(30) is SagaStatus.COMPLETED
    _, second = children(busy_shop, run)
    assert effects(busy_shop, run, first, second) == ["p", "x", "undo x", "x", "y", "r"]


def test_past_the_pivot_a_child_that_was_undone_can_be_done_without(busy_shop: Shop) -> None:
    run = busy_shop.start(past_pivot_fragile, {"y": ["no"]})
    assert run.wait(30) is SagaStatus.FAILED

    run.skip("done by hand", result={"y_done": "by hand"})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert run.data["y_done"] == "by hand"
    assert len(children(busy_shop, run)) == 1


def test_a_child_and_a_branch_that_give_the_same_name_clash(busy_shop: Shop) -> None:
    data = {"script": {}, "gifts": {"x": {"gift": 1}, "b": {"gift": 2}}}
    run = busy_shop.sagas.start(clashing_with_child, data)

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert run.error is not None
    assert run.error.type == "sagas.KeyClash"


# -- the parent turns back


def test_a_completed_child_is_undone_as_one_unit_in_reverse_and_before_what_came_before_it(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.parent, {"b": ["no"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    child = only_child(busy_shop, run)
    assert child.status is SagaStatus.COMPENSATED
    assert effects(busy_shop, run, child) == ["a", "pay", "book", "undo book", "undo pay", "undo a"]
    assert [step.status for step in run.steps[:2]] == [StepStatus.COMPENSATED] * 2
    assert [step.status for step in child.steps] == [StepStatus.COMPENSATED] * 2
    assert "undone_by_parent" in [entry.event for entry in child.history()]


def test_a_child_of_a_child_is_undone_with_it(busy_shop: Shop) -> None:
    run = busy_shop.start(outer, {"o2": ["no"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    child = only_child(busy_shop, run)
    grandchild = only_child(busy_shop, child)
    done = ["o1", "m1", "pay", "book", "m2"]
    assert effects(busy_shop, run, child, grandchild) == done + [f"undo {name}" for name in reversed(done)]


def test_a_completed_child_in_a_branch_is_undone_with_its_siblings(busy_shop: Shop) -> None:
    run = busy_shop.start(beside, {"e": ["no"], "d": ["wait:door"]})
    child = only_child(busy_shop, run)
    assert child.wait(30) is SagaStatus.COMPLETED
    eventually(lambda: "c" in busy_shop.effects(run), "the rest of the child's branch")
    gates.open_gate(busy_shop.database_url, run, "door")

    assert run.wait(30) is SagaStatus.COMPENSATED
    undone = effects(busy_shop, run, child)[5:]
    assert undone[0] == "undo c"
    assert sorted(undone[1:4]) == ["undo book", "undo d", "undo pay"]
    assert undone.index("undo book") < undone.index("undo pay")
    assert undone[4:] == ["undo a"]


def test_a_child_without_anything_to_undo_is_undone_at_once(busy_shop: Shop) -> None:
    light = Saga("light", steps=[step("x", compensation=None)])
    run = busy_shop.start(Saga("light-parent", steps=[step("a"), Child(light), step("b")]), {"b": ["no"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert only_child(busy_shop, run).status is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "undo a"]


# -- the parent is told to stop while the child runs


def test_a_cancelled_parent_cancels_its_child_and_waits_for_its_undoing(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.parent, {"book": ["wait:desk"]})
    child = only_child(busy_shop, run)
    gates.until_reached(busy_shop.database_url, child, "desk")

    run.cancel("changed mind")

    eventually(lambda: child.status is SagaStatus.COMPENSATING, "the child to hear of it")
    assert (run.status, effects(busy_shop, run, child)) == (SagaStatus.COMPENSATING, ["a", "pay"])
    gates.open_gate(busy_shop.database_url, child, "desk")
    assert run.wait(30) is SagaStatus.COMPENSATED
    assert effects(busy_shop, run, child) == ["a", "pay", "book", "undo book", "undo pay", "undo a"]
    assert child.error is not None
    assert (child.error.type, child.error.message) == ("sagas.Cancelled", "its parent turned back")


def test_a_deadline_of_the_parent_ends_its_child_too(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.parent, {"book": ["wait:desk"]}, deadline=1.0)
    child = only_child(busy_shop, run)
    eventually(lambda: child.status is SagaStatus.COMPENSATING, "the child to hear of it")
    gates.open_gate(busy_shop.database_url, child, "desk")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert effects(busy_shop, run, child) == ["a", "pay", "book", "undo book", "undo pay", "undo a"]


def test_a_cancelled_grandparent_turns_all_of_them_back(busy_shop: Shop) -> None:
    run = busy_shop.start(outer, {"book": ["wait:desk"]})
    child = only_child(busy_shop, run)
    grandchild = only_child(busy_shop, child)
    gates.until_reached(busy_shop.database_url, grandchild, "desk")

    run.cancel("changed mind")
    eventually(lambda: grandchild.status is SagaStatus.COMPENSATING, "the grandchild to hear of it")
    gates.open_gate(busy_shop.database_url, grandchild, "desk")

    assert run.wait(30) is SagaStatus.COMPENSATED
    undone = [f"undo {name}" for name in ("book", "pay", "m1", "o1")]
    assert effects(busy_shop, run, child, grandchild) == ["o1", "m1", "pay", "book", *undone]


def test_a_child_that_somebody_cancels_turns_its_parent_back(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.parent, {"book": ["wait:desk"]})
    child = only_child(busy_shop, run)
    gates.until_reached(busy_shop.database_url, child, "desk")
    child.cancel("not this one")
    gates.open_gate(busy_shop.database_url, child, "desk")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert run.error is not None
    assert run.error.message == "not this one"


# -- a person is needed


def test_a_parent_waits_for_the_person_that_its_child_needs(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.parent, {"book": ["no"], "undo pay": "broken:bank"})
    child = only_child(busy_shop, run)
    assert child.wait(30) is SagaStatus.FAILED
    busy_shop.sagas.sweep()
    assert (run.status, busy_shop.effects(run)) == (SagaStatus.RUNNING, ["a"])

    gates.open_gate(busy_shop.database_url, child, "bank")
    child.retry("the bank is back", by="maria")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert effects(busy_shop, run, child) == ["a", "pay", "undo pay", "undo a"]


def test_a_parent_that_turns_back_waits_for_the_person_that_its_childs_undo_needs(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.parent, {"b": ["no"], "undo pay": "invalid"})
    child = only_child(busy_shop, run)
    eventually(lambda: child.status is SagaStatus.FAILED, "the child to need a person")
    busy_shop.sagas.sweep()
    assert (run.status, effects(busy_shop, run, child)) == (
        SagaStatus.COMPENSATING,
        ["a", "pay", "book", "undo book"],
    )

    child.resolve("paid back in cash", by="maria")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert effects(busy_shop, run, child) == ["a", "pay", "book", "undo book", "undo a"]


def test_a_parent_that_is_cancelled_waits_for_the_person_that_its_child_needs_already(busy_shop: Shop) -> None:
    run = busy_shop.start(shapes.parent, {"book": ["no"], "undo pay": "invalid"})
    child = only_child(busy_shop, run)
    assert child.wait(30) is SagaStatus.FAILED

    run.cancel("changed mind")
    busy_shop.sagas.sweep()
    assert (run.status, child.status) == (SagaStatus.COMPENSATING, SagaStatus.FAILED)
    child.resolve("paid back in cash", by="maria")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert effects(busy_shop, run, child) == ["a", "pay", "undo a"]


# -- beside others


def test_a_branch_that_fails_and_cancels_the_others_stops_what_a_child_of_them_runs(busy_shop: Shop) -> None:
    deep = Saga("deep", steps=[Child(Saga("deeper", steps=[step("slow")]))])
    saga = Saga("cancels-child", steps=[parallel(Child(deep), step("b"), if_one_fails="cancel")])
    run = busy_shop.start(saga, {"slow": ["wait:never"], "b": ["wait:door, no"]})
    below = only_child(busy_shop, only_child(busy_shop, run))
    gates.until_reached(busy_shop.database_url, below, "never")

    gates.open_gate(busy_shop.database_url, run, "door")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert below.steps[0].status is StepStatus.COMPENSATED
