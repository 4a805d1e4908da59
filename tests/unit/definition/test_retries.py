"""A policy that says one number changes that number; all else stays as it is by default where the policy stands."""

from typing import Any

import pytest
from celery import Celery, shared_task

from sagas import BestEffort, Pivot, Retriable, Retry, Saga, Sagas, Step
from sagas.model import PlanStep, RetryPolicy

sagas = Sagas(
    Celery("shop", set_as_current=False, broker="memory://"), database="postgresql://nobody@/nowhere?host=/nonexistent"
)


class Declined(Exception):
    """A no."""


@shared_task
def act() -> None: ...


@shared_task
def undo() -> None: ...


def planned(*steps: Step) -> PlanStep:
    return Saga("order", steps=list(steps)).plan(sagas.engine).steps[-1]


PLACES: dict[str, Any] = {
    "action": lambda policy: planned(Step(act, compensation=None, retry=policy)).retry,
    "pivot": lambda policy: planned(Pivot(act, retry=policy)).retry,
    "retriable": lambda policy: planned(Pivot(undo), Retriable(act, retry=policy)).retry,
    "best effort": lambda policy: planned(BestEffort(act, retry=policy)).retry,
    "compensation": lambda policy: planned(Step(act, compensation=undo, compensation_retry=policy)).compensation_retry,
    "undo of a best effort": lambda policy: (
        planned(BestEffort(act, compensation=undo, compensation_retry=policy)).compensation_retry
    ),
}
CHANGES: dict[str, dict[str, Any]] = {
    "attempts": {"max_attempts": 2},
    "backoff": {"backoff": 7.0},
    "factor": {"factor": 3.0},
    "longest": {"max_backoff": 9.0},
    "no chance": {"jitter": 0.0},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("change", CHANGES)
def test_one_number_changes_only_that_number(place: str, change: str) -> None:
    usual: RetryPolicy = PLACES[place](None)
    changed: RetryPolicy = PLACES[place](Retry(**CHANGES[change]))

    assert changed.to_json() == usual.to_json() | CHANGES[change]
    assert changed != usual


@pytest.mark.parametrize("place", PLACES)
def test_never_on_leaves_what_it_is_taken_from(place: str) -> None:
    usual: RetryPolicy = PLACES[place](None)
    changed: RetryPolicy = PLACES[place](Retry(never_on=Declined))

    assert changed.never_on == (f"{__name__}.Declined",)
    assert (changed.on, changed.max_attempts) == (usual.on, usual.max_attempts)


def test_the_defaults_are_those_of_the_table() -> None:
    compensation, retriable, action = (PLACES[place](Retry()) for place in ("compensation", "retriable", "action"))

    assert (compensation.max_attempts, compensation.on, compensation.backoff) == (6, ("builtins.Exception",), 0.5)
    assert (retriable.max_attempts, retriable.on, retriable.max_backoff) == (20, ("builtins.Exception",), 300.0)
    assert action == RetryPolicy()


def test_a_plan_of_the_last_release_whose_undo_was_narrowed_by_one_number_is_known() -> None:
    saga = Saga("order", steps=[Step(act, compensation=undo, compensation_retry=Retry(max_attempts=2))])

    former = saga.former_plan(sagas.engine)

    assert former is not None
    assert former.steps[0].compensation_retry == RetryPolicy(max_attempts=2)
    assert saga.plan(sagas.engine).steps[0].compensation_retry.on == ("builtins.Exception",)
