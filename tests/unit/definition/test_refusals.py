"""What cannot work is refused when it is declared, with the step, the parameter and the cure in the message."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypedDict

import pytest
from celery import Celery, shared_task

from sagas import DefinitionError, Pivot, Retriable, Retry, Saga, Step

app = Celery("refusals", set_as_current=False)


@shared_task
def act() -> None: ...


@shared_task
def undo() -> None: ...


@shared_task
def other() -> None: ...


@shared_task(autoretry_for=(ValueError,))
def retries_itself() -> None: ...


@app.task(autoretry_for=(ValueError,))
def retries_itself_too() -> None: ...


@shared_task
def needs_two(first: str, second: str) -> None: ...


def step(name: str = "act", **options: Any) -> Step:
    return Step(act, compensation=undo, name=name, **options)


def plain_function() -> None: ...


#: what is declared, and what the refusal must say
STEPS: dict[str, tuple[Callable[[], object], str]] = {
    "no compensation": (lambda: Step(act), r"step 'act' does not say how it is undone.*compensation=None"),
    "a function": (lambda: Step(plain_function, compensation=None), "is not a Celery task; decorate the function"),
    "a name": (lambda: Step("tasks.act", compensation=None), r"Step\(…\): 'tasks.act' is not a Celery task"),
    "a signature": (lambda: Step(act.si(), compensation=None), "neither its name nor a signature"),
    "none": (lambda: Step(None, compensation=None), "is not a Celery task"),
    "a function as compensation": (
        lambda: Step(act, compensation=plain_function),
        "compensation of 'act': .* is not a Celery task",
    ),
    "its own retries": (lambda: Step(retries_itself_too, compensation=None), "autoretry_for.*Step.retry=Retry"),
    "an awkward name": (lambda: step("a b"), "step name 'a b' must be letters.*pass name="),
    "an empty timeout": (lambda: step(timeout=0), "step 'act': timeout: 0 must be between 0.001 and 604800"),
    "no number": (lambda: step(timeout="30"), "step 'act': timeout: '30' is not a number of seconds"),
    "true": (lambda: step(timeout=True), "step 'act': timeout: True is not a number of seconds"),
    "for ever": (lambda: step(timeout=float("inf")), "step 'act': timeout: inf is not a number of seconds"),
    "too long": (lambda: step(timeout=timedelta(days=8)), "step 'act': timeout"),
    "the undo's timeout": (lambda: step(compensation_timeout=-1), "step 'act': compensation_timeout: -1 must be"),
    "idempotent or so": (lambda: step(idempotent="yes"), "step 'act': idempotent='yes' must be True or False"),
    "negative losses": (lambda: step(max_losses=-1), "step 'act': max_losses=-1 must be a whole number"),
    "half a loss": (lambda: step(max_losses=1.5), "step 'act': max_losses=1.5"),
    "true losses": (lambda: step(max_losses=True), "step 'act': max_losses=True"),
    "no policy": (lambda: step(retry=3), r"step 'act': retry=3 must be Retry\(…\)"),
    "no undo policy": (lambda: step(compensation_retry={}), r"step 'act': compensation_retry={} must be Retry\(…\)"),
    "a pivot undone": (lambda: Pivot(act, compensation=undo), "Pivot takes no compensation.*Use Step"),
    "a retriable undone": (lambda: Retriable(act, compensation=None), "Retriable takes no compensation"),
    "a pivot's undo retried": (lambda: Pivot(act, compensation_retry=Retry()), "Pivot takes no compensation_retry"),
    "a pivot's undo timed": (lambda: Pivot(act, compensation_timeout=3), "Pivot takes no compensation_timeout"),
}
RETRIES: dict[str, tuple[dict[str, Any], str]] = {
    "no attempt": ({"max_attempts": 0}, r"Retry\(max_attempts=0\): it counts the first try too; pass 1 or more"),
    "true attempts": ({"max_attempts": True}, "max_attempts=True"),
    "half an attempt": ({"max_attempts": 1.5}, "max_attempts=1.5"),
    "backwards": ({"backoff": -1}, r"Retry\(backoff=…\): -1 must be between 0"),
    "text": ({"backoff": "1s"}, r"Retry\(backoff=…\): '1s' is not a number"),
    "shrinking": ({"factor": 0.5}, r"Retry\(factor=…\): 0.5 must be between 1 and 100"),
    "endless": ({"max_backoff": float("nan")}, r"Retry\(max_backoff=…\): nan is not a number"),
    "too much chance": ({"jitter": 1.5}, r"Retry\(jitter=…\): 1.5 must be between 0 and 1"),
    "a name of an error": ({"on": "ValueError"}, r"Retry\(on='ValueError'\): pass a tuple of exception classes"),
    "an instance": ({"on": (ValueError(),)}, r"Retry\(on=…\) contains ValueError\(\), which is not an exception class"),
    "another class": ({"never_on": (int,)}, r"Retry\(never_on=…\) contains <class 'int'>, which is not an exception"),
    "one that is none": ({"on": int}, r"Retry\(on=…\) contains <class 'int'>"),
    "chance as text": ({"jitter": "much"}, r"Retry\(jitter=…\)"),
}
SAGAS: dict[str, tuple[Callable[[], object], str]] = {
    "no steps": (lambda: Saga("order", steps=[]), "saga 'order' has no steps"),
    "a step that is not in a list": (
        lambda: Saga("order", steps=step()),  # type: ignore[arg-type]
        r"saga 'order': steps=.* must be a list of steps",
    ),
    "None for steps": (lambda: Saga("order", steps=None), "steps=None must be a list of steps"),  # type: ignore[arg-type]
    "no name": (lambda: Saga("", steps=[step()]), "saga name '' must be text of letters"),
    "an awkward name": (lambda: Saga("my order", steps=[step()]), "saga name 'my order' must be"),
    "a number for a name": (lambda: Saga(7, steps=[step()]), "saga name 7 must be"),  # type: ignore[arg-type]
    "version 0": (lambda: Saga("order", version=0, steps=[step()]), "saga 'order': version=0 must be a whole number"),
    "version true": (lambda: Saga("order", version=True, steps=[step()]), "version=True must be"),
    "version 1.0": (lambda: Saga("order", version="1.0", steps=[step()]), "version='1.0'"),  # type: ignore[arg-type]
    "a task": (lambda: Saga("order", steps=[act]), r"is not a step; wrap the task in Step\(…\), Pivot\(…\)"),
    "two of a name": (
        lambda: Saga("order", steps=[step(), step()]),
        "saga 'order' has two steps named 'act': pass name=… to one",
    ),
    "retriable first": (lambda: Saga("order", steps=[Retriable(act)]), "Retriable 'act' is before any Pivot"),
    "step after the pivot": (
        lambda: Saga("order", steps=[Pivot(other), step()]),
        "step 'act' is after the pivot, where nothing can be undone: make it a Retriable",
    ),
    "two pivots": (
        lambda: Saga("order", steps=[Pivot(other), Pivot(act)]),
        "step 'act' is after the pivot",
    ),
    "odd input": (lambda: Saga("order", steps=[step()], input=[1]), "pass names, a TypedDict or a dataclass"),
}


@pytest.mark.parametrize(("declare", "says"), STEPS.values(), ids=STEPS)
def test_a_step_that_cannot_work_is_refused(declare: Callable[[], object], says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        declare()


@pytest.mark.parametrize(("options", "says"), RETRIES.values(), ids=RETRIES)
def test_a_policy_that_cannot_work_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        Retry(**options)


@pytest.mark.parametrize(("declare", "says"), SAGAS.values(), ids=SAGAS)
def test_a_saga_that_cannot_work_is_refused(declare: Callable[[], object], says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        declare()


def test_an_unknown_option_is_refused_by_python_itself() -> None:
    with pytest.raises(TypeError, match="max_retries"):
        Retry(max_retries=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="retries"):
        Step(act, compensation=None, retries=3)  # type: ignore[call-arg]


# -- parameters


class Order(TypedDict):
    order_id: str


class Reservation(TypedDict):
    reservation_id: str


@shared_task
def reserve(order_id: str) -> Reservation:
    return {"reservation_id": order_id}


@shared_task
def release(reservation_id: str | None = None) -> None: ...


@shared_task
def release_strictly(reservation_id: str) -> None: ...


@shared_task
def charge(order_id: str, reservation_id: str, currency: str = "EUR") -> dict[str, str]:
    return {}


@shared_task
def whatever(data: dict[str, Any]) -> None: ...


@shared_task
def everything(**data: Any) -> None: ...


@shared_task
def tells_nothing(order_id):  # type: ignore[no-untyped-def]
    return {"anything": 1}


@shared_task(bind=True)
def bound(self: Any, order_id: str) -> None: ...


def test_what_input_and_declared_returns_give_is_enough() -> None:
    saga = Saga(
        "order",
        steps=[
            Step(reserve, compensation=release),
            Step(charge, compensation=None),
        ],
        input=Order,
    )

    assert saga.input == {"order_id"}


@pytest.mark.parametrize("declared", [{"order_id"}, ["order_id"], ("order_id",)])
def test_the_input_may_be_names(declared: Any) -> None:
    assert Saga("order", steps=[Step(reserve, compensation=None)], input=declared).input == {"order_id"}


def test_a_parameter_that_nothing_gives_is_refused_naming_it_and_what_there_is() -> None:
    with pytest.raises(DefinitionError, match="saga 'order': the step 'charge' requires 'reservation_id'") as refused:
        Saga("order", steps=[Step(charge, compensation=None)], input=Order)
    assert "there is only order_id: add it to the input, let an earlier step return it" in str(refused.value)


def test_a_parameter_that_only_a_later_step_gives_is_refused() -> None:
    with pytest.raises(DefinitionError, match="step 'charge' requires 'reservation_id'"):
        Saga("order", steps=[Step(charge, compensation=None), Step(reserve, compensation=None)], input=Order)


def test_h11_a_compensations_parameter_that_only_its_actions_result_gives_needs_a_default() -> None:
    with pytest.raises(
        DefinitionError, match=r"compensation of step 'reserve' requires 'reservation_id'.*give the parameter a default"
    ):
        Saga("order", steps=[Step(reserve, compensation=release_strictly)], input=Order)


def test_h11_nor_does_a_result_count_of_which_the_action_says_nothing_and_the_refusal_tells_why() -> None:
    with pytest.raises(DefinitionError, match="what its own action returns is missing where that is in doubt") as undo:
        Saga("order", steps=[Step(tells_nothing, compensation=release_strictly)], input=Order)
    assert "undo by current_step.action_key" in str(undo.value)

    with pytest.raises(DefinitionError, match=r"or give it a default$"):
        Saga("order", steps=[Step(charge, compensation=None)], input=Order)


def test_nothing_is_refused_where_nothing_is_declared() -> None:
    Saga("order", steps=[Step(charge, compensation=None)])
    Saga("order", steps=[Step(tells_nothing, compensation=None), Step(charge, compensation=None)], input=Order)


def test_parameters_that_need_no_name_are_no_trouble() -> None:
    tasks = (whatever, everything, bound)
    Saga("order", steps=[Step(task, compensation=None) for task in tasks], input=Order)


# -- all of it at once


def test_d33_a_definition_error_tells_of_all_steps_at_once() -> None:
    with pytest.raises(DefinitionError) as caught:
        Saga(
            "order",
            input=["order_id"],
            steps=[
                Step(needs_two, compensation=None),
                Step(needs_two, compensation=None),
                Retriable(needs_two, name="early"),
                Step(other, name="odd", compensation=None, when="colour"),
            ],
        )

    told = str(caught.value)
    assert told.startswith("saga 'order' cannot work, for ")
    for problem in (
        "has two steps named 'needs_two'",
        "Retriable 'early' is before any Pivot",
        "step 'early' requires 'first'",
        "step 'early' requires 'second'",
        "step 'odd' asks for 'colour' with when=",
    ):
        assert told.count(problem) == 1, problem


def test_d33_a_single_problem_is_told_as_ever() -> None:
    with pytest.raises(DefinitionError, match=r"^saga 'order': the step 'needs_two' requires 'second', and there is"):
        Saga("order", input=["first"], steps=[Step(needs_two, compensation=None)])
