"""Words beside the steps."""

import pytest

from sagas.graph.labels import clean, condition, duration, outcome_facts, step_description, traits, undo_facts
from sagas.handle import StepView
from sagas.model import OnTimeout, Plan, PlanStep, StepStatus, UndoOutcome
from tests.unit.graph.samples import child, pivot, plan, retriable, sleep, step, undo, wait

HIDDEN = "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("two\n lines\t", "two lines"),
        ("a\x00\x1b\u202eb\ud800\ufffe", f"a{HIDDEN * 3}b{HIDDEN * 2}"),
        ("x" * 1000, "x" * 299 + "…"),
        (None, "None"),
    ],
    ids=["lines", "what cannot be seen", "length", "no text"],
)
def test_text_becomes_one_line_of_what_can_be_seen(given: object, says: str) -> None:
    assert clean(given) == says


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(0.25, "0.25 s"), (59, "59 s"), (60, "1 min"), (5400, "1.5 h"), (86400, "1 d"), (1e9, "1.157e+04 d")],
)
def test_durations_are_in_the_largest_unit(seconds: float, says: str) -> None:
    assert duration(seconds) == says


@pytest.mark.parametrize(
    ("drawn", "says"),
    [
        (step(0, "reserve", task="tasks.orders.reserve"), None),
        (step(0, "reserve", task="stock.take"), "stock.take"),
        (sleep(0, 90), "sleeps 1.5 min"),
        (wait(0), "waits for signal approved"),
        (wait(0, seconds=3600), "waits for signal approved, 1 h, then turns back"),
        (wait(0, seconds=60, on_timeout=OnTimeout.CONTINUE), "waits for signal approved, 1 min, then goes on"),
        (child(0), "saga insurance v1"),
        (child(0, child_input=("a", "b")), "saga insurance v1, given a, b"),
        (child(0, child_input=()), "saga insurance v1, given nothing"),
        (child(0, child=None), "another saga"),
    ],
)
def test_a_step_says_what_its_name_does_not(drawn: PlanStep, says: str | None) -> None:
    assert step_description(drawn) == says


@pytest.mark.parametrize(
    ("drawn", "says"),
    [
        (step(0), ()),
        (step(0, compensation=None), ("nothing to undo",)),
        (sleep(0), ()),
        (pivot(0), ("pivot",)),
        (retriable(0, best_effort=True), ("retriable", "best effort")),
        (
            step(0, idempotent=False, cancels_siblings=True, queue="gold"),
            ("runs once", "stops the others", "queue gold"),
        ),
    ],
)
def test_unusual_policies_are_named(drawn: PlanStep, says: tuple[str, ...]) -> None:
    assert traits(drawn) == says


def test_conditions_are_named() -> None:
    assert condition(step(0)) is None
    assert condition(step(0, when="gift")) == "if gift"
    assert condition(step(0, when="gift", predicate="tasks.is_big")) == "if gift and if tasks.is_big"


def test_attempts_losses_and_doubt_are_told() -> None:
    never = StepView(name="a", status=StepStatus.PENDING)
    often = StepView(name="a", status=StepStatus.FAILED, attempts=3, losses=1, in_doubt=True)

    assert outcome_facts(never) == ()
    assert outcome_facts(often) == ("3 attempts", "1 lost with its process", "in doubt")


def test_a_compensation_tells_its_round_and_how_far_it_got() -> None:
    assert undo_facts(undo("completed", outcome=UndoOutcome.FULL)) == ("1 attempt",)
    assert undo_facts(undo("completed", attempts=2, round=2, outcome=UndoOutcome.PARTIAL)) == (
        "2 attempts",
        "round 2",
        "partial",
    )
    assert undo_facts(undo("pending", attempts=0)) == ()


def test_a_child_is_told_by_its_name_and_version() -> None:
    inner = Plan(saga="refund", version=7, steps=plan(step(0)).steps)

    assert step_description(child(0, child=inner)) == "saga refund v7"
