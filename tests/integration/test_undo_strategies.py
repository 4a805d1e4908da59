"""How a saga is undone: one after the other or side by side, on past a failure or not, wholly, in part or by hand."""

from typing import Any

import pytest

from sagas import Child, Saga, SagaHandle, SagaStatus, StepStatus, TransitionRefused
from tests.conftest import Shop
from tests.support import gates, journal, shapes
from tests.support.scripted import QUICK_UNDO, step
from tests.support.workers import eventually

fragile = Saga("fragile", steps=[step("a"), step("b"), step("c"), step("d")])
fragile_stops = Saga("fragile-stops", steps=[step("a"), step("b"), step("c"), step("d")], if_undo_fails="stop")
at_once = Saga("at-once", steps=[step("a"), step("b"), step("c"), step("d")], undo="parallel")
at_once_stops = Saga(
    "at-once-stops", steps=[step("a"), step("b"), step("c"), step("d")], undo="parallel", if_undo_fails="stop"
)
at_once_with_child = Saga("at-once-with-child", steps=[step("a"), Child(shapes.payment), step("d")], undo="parallel")
hurried = Saga("hurried", steps=[step("a"), step("b", compensation_deadline=0.3), step("d")])


def back(shop: Shop, saga: Saga, **script: Any) -> SagaHandle:
    """Turns back at its last step."""
    return shop.start(saga, {"d": ["no"]} | {name.replace("_", " "): line for name, line in script.items()})


def failed(shop: Shop, saga: Saga, **script: Any) -> SagaHandle:
    run = back(shop, saga, **script)
    assert run.wait(30) is SagaStatus.FAILED
    return run


def undone(shop: Shop, run: SagaHandle) -> list[str]:
    return [what.removeprefix("undo ") for what in shop.effects(run) if what.startswith("undo ")]


def outcomes(run: SagaHandle) -> dict[str, str | None]:
    """What each compensation that has run says of itself."""
    return {
        step.name: step.compensation.outcome and step.compensation.outcome.value
        for step in run.steps
        if step.compensation is not None
    }


def say_otherwise(shop: Shop, run: SagaHandle, what: str) -> None:
    """From now on this step or undo does what it should."""
    journal.query(
        shop.database_url,
        "UPDATE sagas.saga_instance SET data = data #- ARRAY['script', %s] WHERE id = %s",
        what,
        str(run.id),
    )


# -- undo="parallel"


def test_independent_steps_are_undone_side_by_side(busy_shop: Shop) -> None:
    run = back(busy_shop, at_once, undo_a=["wait:door"], undo_b=["wait:door"], undo_c=["wait:door"])

    gates.until_reached(busy_shop.database_url, run, "door", times=3)
    assert undone(busy_shop, run) == []
    gates.open_gate(busy_shop.database_url, run, "door")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert sorted(undone(busy_shop, run)) == ["a", "b", "c"]


def test_an_undo_that_is_slow_does_not_hold_up_the_others(busy_shop: Shop) -> None:
    run = back(busy_shop, at_once, undo_c=["wait:door"])
    eventually(lambda: sorted(undone(busy_shop, run)) == ["a", "b"], "the others to be undone")
    assert run.status is SagaStatus.COMPENSATING

    gates.open_gate(busy_shop.database_url, run, "door")

    assert run.wait(30) is SagaStatus.COMPENSATED


def test_in_doubt_and_drained_steps_are_undone_side_by_side_too(busy_shop: Shop) -> None:
    run = busy_shop.start(at_once, {"c": "after:flaky"})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert sorted(undone(busy_shop, run)) == ["a", "b", "c"]


def test_a_child_is_undone_beside_the_steps_and_in_its_own_reverse(busy_shop: Shop) -> None:
    run = back(busy_shop, at_once_with_child, undo_a=["wait:door"], undo_book=["wait:desk"])
    gates.until_reached(busy_shop.database_url, run, "door")
    found = "SELECT id FROM sagas.saga_instance WHERE parent_id = %s"
    child = busy_shop.sagas.get(journal.query(busy_shop.database_url, found, str(run.id))[0][0])
    gates.until_reached(busy_shop.database_url, child, "desk")
    gates.open_gate(busy_shop.database_url, child, "desk")
    assert child.wait(30) is not None
    eventually(lambda: child.status is SagaStatus.COMPENSATED, "the child to be undone")
    assert run.status is SagaStatus.COMPENSATING

    gates.open_gate(busy_shop.database_url, run, "door")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert undone(busy_shop, child) == ["book", "pay"]


def test_of_undos_side_by_side_those_that_fail_are_named_and_the_others_are_done(busy_shop: Shop) -> None:
    run = failed(busy_shop, at_once, undo_a="broken:bank", undo_c="broken:bank")
    assert undone(busy_shop, run) == ["b"]
    named = sorted(str(entry.step) for entry in run.history() if entry.event == "needs_a_person")
    assert named == ["a", "c"]

    gates.open_gate(busy_shop.database_url, run, "bank")
    run.retry("the bank is back")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert sorted(undone(busy_shop, run)) == ["a", "b", "c"]


def test_side_by_side_too_it_stops_only_when_what_is_under_way_has_ended(busy_shop: Shop) -> None:
    run = back(busy_shop, at_once_stops, undo_a=["wait:door"], undo_c="invalid")
    eventually(lambda: outcome_status(run, "c") is StepStatus.FAILED, "one undo to fail for good")
    assert run.status is SagaStatus.COMPENSATING

    gates.open_gate(busy_shop.database_url, run, "door")

    assert run.wait(30) is SagaStatus.FAILED
    assert sorted(undone(busy_shop, run)) == ["a", "b"]


def outcome_status(run: SagaHandle, name: str) -> StepStatus | None:
    return next(step for step in run.steps if step.name == name).compensation_status


# -- if_undo_fails


def test_continue_undoes_what_is_behind_a_failed_undo(busy_shop: Shop) -> None:
    run = failed(busy_shop, fragile, undo_b="broken:bank")
    assert undone(busy_shop, run) == ["c", "a"]

    gates.open_gate(busy_shop.database_url, run, "bank")
    run.retry("the bank is back")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert undone(busy_shop, run) == ["c", "a", "b"]


def test_stop_leaves_what_is_behind_a_failed_undo_until_it_succeeds(busy_shop: Shop) -> None:
    run = failed(busy_shop, fragile_stops, undo_b="broken:bank")
    assert undone(busy_shop, run) == ["c"]
    assert [step.status for step in run.steps] == [
        StepStatus.COMPLETED,
        StepStatus.FAILED,
        StepStatus.COMPENSATED,
        StepStatus.FAILED,
    ]
    assert [entry.step for entry in run.history() if entry.event == "needs_a_person"] == ["b"]

    gates.open_gate(busy_shop.database_url, run, "bank")
    run.retry("the bank is back")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert undone(busy_shop, run) == ["c", "b", "a"]


def test_stop_stops_again_at_the_next_one_that_fails(busy_shop: Shop) -> None:
    run = failed(busy_shop, fragile_stops, undo_c="invalid", undo_a="invalid")
    assert undone(busy_shop, run) == []

    run.retry("perhaps")
    assert run.wait(30) is SagaStatus.FAILED
    assert undone(busy_shop, run) == []
    run.resolve("put back by hand")
    assert run.wait(30) is SagaStatus.FAILED
    assert undone(busy_shop, run) == ["b"]
    run.resolve("this one too", step="a")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert outcomes(run) == {"a": "manual", "b": "full", "c": "manual"}


@pytest.mark.parametrize(("saga", "rest"), [(fragile, []), (fragile_stops, ["a"])], ids=["continue", "stop"])
def test_a_resolved_undo_lets_the_saga_go_on_and_end_compensated(busy_shop: Shop, saga: Saga, rest: list[str]) -> None:
    run = failed(busy_shop, saga, undo_b="invalid")
    before = undone(busy_shop, run)

    run.resolve("paid back in cash", by="maria")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert undone(busy_shop, run) == before + rest
    assert [step.status for step in run.steps[:3]] == [StepStatus.COMPENSATED] * 3
    (entry,) = [entry for entry in run.history() if entry.event == "resolved_by_hand"]
    assert (entry.step, entry.detail) == ("b", {"reason": "paid back in cash", "by": "maria"})


def test_only_a_failed_compensation_can_be_resolved(busy_shop: Shop) -> None:
    forward = busy_shop.start(shapes.forward, {"last": "invalid"})
    assert forward.wait(30) is SagaStatus.FAILED
    with pytest.raises(TransitionRefused, match="the compensation of last cannot be resolved: only a failed one"):
        forward.resolve("why not", step="last")

    two = failed(busy_shop, fragile, undo_a="invalid", undo_b="invalid")
    for options in ({}, {"step": "c"}, {"step": "d"}):
        with pytest.raises(TransitionRefused, match="cannot be resolved"):
            two.resolve("why not", **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs a reason"):
        two.resolve(" ", step="a")
    assert two.status is SagaStatus.FAILED


# -- how far an undo got


@pytest.mark.parametrize("word", ["full", "partial"])
def test_an_undo_says_how_far_it_got(busy_shop: Shop, word: str) -> None:
    run = back(busy_shop, fragile, undo_b=f"say:{word}")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert outcomes(run) == {"a": "full", "b": word, "c": "full"}
    assert undone(busy_shop, run) == ["c", "b", "a"]
    assert (f"undo completed ({word})" in run.timeline()) is (word == "partial")
    noted = [entry.step for entry in run.history() if entry.event == "undone_in_part"]
    assert noted == (["b"] if word == "partial" else [])


@pytest.mark.parametrize(("saga", "others"), [(fragile, ["c", "a"]), (fragile_stops, ["c"])], ids=["continue", "stop"])
def test_an_undo_that_a_person_has_to_do_ends_failed_until_it_is_resolved(
    busy_shop: Shop, saga: Saga, others: list[str]
) -> None:
    run = failed(busy_shop, saga, undo_b="say:manual")
    assert run.steps[1].status is StepStatus.FAILED
    assert outcomes(run)["b"] == "manual"
    assert "undo failed (manual)" in run.timeline()
    undo = run.steps[1].compensation
    assert undo is not None
    assert undo.error is not None
    # Its body ran, once: an answer is no failure that is tried again
    assert (undo.attempts, undo.error.type) == (1, "sagas.ManualUndo")
    assert [name for name in undone(busy_shop, run) if name != "b"] == others
    assert [entry.step for entry in run.history() if entry.event == "needs_a_person"] == ["b"]

    run.resolve("the parcel was fetched", by="maria")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert outcomes(run) == {"a": "full", "b": "manual", "c": "full"}
    assert [name for name in undone(busy_shop, run) if name != "b"] == ["c", "a"]
    assert "resolved_by_hand" in run.timeline()


def test_an_undo_that_succeeds_after_all_says_so_and_nothing_of_the_hand(busy_shop: Shop) -> None:
    run = failed(busy_shop, fragile, undo_b="say:manual")
    say_otherwise(busy_shop, run, "undo b")

    run.retry("the carrier takes it back")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert outcomes(run) == {"a": "full", "b": "full", "c": "full"}
    assert "manual" not in run.timeline().splitlines()[2]


def test_an_operators_retry_of_what_needs_a_hand_needs_it_again(busy_shop: Shop) -> None:
    run = failed(busy_shop, fragile, undo_b="say:manual")

    run.retry("perhaps")

    assert run.wait(30) is SagaStatus.FAILED
    assert outcomes(run)["b"] == "manual"
    assert undone(busy_shop, run) == ["c", "b", "a", "b"]


# -- compensation_deadline


def until_late(shop: Shop, run: SagaHandle) -> None:
    """Until the deadline of an undo that has begun is over."""
    late = (
        "SELECT clock_timestamp() > first_claimed_at + interval '0.4 s' FROM sagas.saga_step "
        "WHERE instance_id = %s AND name = 'b' AND round = 1"
    )
    eventually(lambda: journal.query(shop.database_url, late, str(run.id)) == [(True,)], "the deadline to pass")


def given_up(shop: Shop, **script: Any) -> SagaHandle:
    """An undo that would be tried three times more, if its time were not over."""
    run = back(shop, hurried, undo_b=["wait:door, flaky"], **script)
    gates.until_reached(shop.database_url, run, "door")
    until_late(shop, run)
    gates.open_gate(shop.database_url, run, "door")
    assert run.wait(30) is SagaStatus.FAILED
    return run


def test_an_undo_is_given_up_when_its_deadline_is_over(busy_shop: Shop) -> None:
    run = given_up(busy_shop)

    undo = run.steps[1].compensation
    assert undo is not None
    assert (undo.status, undo.attempts) == (StepStatus.FAILED, 1)
    assert QUICK_UNDO.max_attempts > 1
    (entry,) = [entry for entry in run.history() if entry.event == "compensation_deadline_passed"]
    assert (entry.step, entry.detail) == ("b", {"seconds": 0.3})
    assert undone(busy_shop, run) == ["a"]


def test_an_undo_that_is_quick_enough_never_hears_of_its_deadline(busy_shop: Shop) -> None:
    run = back(busy_shop, hurried)

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert "compensation_deadline_passed" not in run.timeline()


def test_an_undo_that_was_given_up_can_be_resolved(busy_shop: Shop) -> None:
    run = given_up(busy_shop)

    run.resolve("paid back in cash")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert outcomes(run) == {"a": "full", "b": "manual"}


def test_an_operators_retry_gives_an_undo_all_of_its_time_again(busy_shop: Shop) -> None:
    run = given_up(busy_shop)

    # Its first attempt fails as before, its second one would succeed
    run.retry("once more")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert undone(busy_shop, run) == ["a", "b"]
