"""`clean=`, `records=` and `if_in_doubt=`: what is kept of them, and what is refused with its reason."""

import socket
import sys
from typing import Any

import pytest
import requests
import stripe
from celery import Celery, shared_task

from sagas import DefinitionError, PermanentError, Pivot, Retriable, Saga, Sagas, Step
from sagas.engine import qualified
from sagas.model import IfInDoubt, PlanStep


class CardDeclined(Exception):
    pass


class TooHeavy(PermanentError):
    pass


@shared_task
def act() -> None: ...


@shared_task
def undo(charge_id: str | None = None) -> None: ...


@shared_task
def demanding_undo(charge_id: str) -> None: ...


def step(**options: Any) -> Step:
    return Step(act, **{"compensation": undo} | options)


def compiled(*parts: Step) -> tuple[PlanStep, ...]:
    app = Celery("clean", set_as_current=False, broker="memory://")
    return (
        Saga("clean", steps=parts)
        .plan(Sagas(app, database="postgresql://nobody@/nowhere?host=/nonexistent").engine)
        .steps
    )


# -- clean=


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (CardDeclined, (f"{__name__}.CardDeclined",)),
        ((CardDeclined, TooHeavy), (f"{__name__}.CardDeclined", f"{__name__}.TooHeavy")),
        ([CardDeclined], (f"{__name__}.CardDeclined",)),
        ("shop.errors.OutOfStock", ("shop.errors.OutOfStock",)),
        (("shop.errors.OutOfStock", CardDeclined), ("shop.errors.OutOfStock", f"{__name__}.CardDeclined")),
        ((), ()),
    ],
    ids=str,
)
def test_d5_errors_are_stored_by_name_and_kept_as_they_were_given(given: Any, stored: tuple[str, ...]) -> None:
    (planned,) = compiled(step(clean=given))

    assert planned.clean == stored
    assert len(step(clean=given).clean) == len(stored)


def test_steps_without_a_way_back_name_clean_errors_too() -> None:
    pivot, retriable = compiled(Pivot(act, clean=(TooHeavy,), name="p"), Retriable(act, clean=CardDeclined, name="r"))

    assert (pivot.clean, retriable.clean) == ((f"{__name__}.TooHeavy",), (f"{__name__}.CardDeclined",))


@pytest.mark.parametrize("named", [stripe.CardError, requests.HTTPError], ids=lambda named: named.__name__)
def test_d5_what_a_service_refuses_by_may_be_named(named: type[BaseException]) -> None:
    assert step(clean=(named,)).clean == (named,)


#: What code raises that may have acted, or a base of what it raises then.
TOO_WIDE: dict[str, Any] = {
    "the root": Exception,
    "the root of all": BaseException,
    "a slip": ValueError,
    "another slip": KeyError,
    "a base of lost connections": OSError,
    "a lost connection": ConnectionError,
    "a timeout": TimeoutError,
    "a builtin by another name": socket.timeout,
    "a builtin by its name": "builtins.ValueError",
}


@pytest.mark.parametrize("named", TOO_WIDE.values(), ids=TOO_WIDE)
def test_d5_what_may_have_acted_is_refused_with_the_reason_and_the_cure(named: Any) -> None:
    name = named if isinstance(named, str) else qualified(named)

    with pytest.raises(DefinitionError) as refused:
        step(clean=(CardDeclined, named))

    told = str(refused.value)
    assert told.startswith(f"step 'act': clean=… contains {name}, which may be raised after the action took effect")
    assert "raise PermanentError" in told


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (3, r"step 'act': clean=3 must be a tuple of exception classes"),
        ((3,), r"step 'act': clean=… contains 3, which is not an exception class"),
        ((CardDeclined("no"),), r"contains CardDeclined\('no'\), which is not an exception class"),
        ((int,), r"contains <class 'int'>, which is not an exception class"),
        (None, r"clean=None must be a tuple of exception classes"),
        ("CardError", r"contains 'CardError': an error by name is written with its module, as in 'stripe.CardError'"),
        (("stripe.CardError ",), r"contains 'stripe.CardError ': an error by name"),
        (("",), r"contains '': an error by name"),
    ],
)
def test_d5_what_is_not_an_exception_class_is_refused(given: Any, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        step(clean=given)


def test_d5_an_error_by_name_imports_nothing() -> None:
    step(clean="antigravity.Weightless")

    assert "antigravity" not in sys.modules


# -- records=


def test_d12_names_that_are_recorded_are_stored_in_order_and_fill_the_undo() -> None:
    (planned,) = compiled(step(records=["charge_id", "bank"]))

    assert planned.records == ("bank", "charge_id")


def test_d12_a_recorded_name_needs_a_default_in_the_undo_all_the_same() -> None:
    with pytest.raises(DefinitionError, match=r"requires 'charge_id', which only its action's result gives.*a default"):
        Saga("bare", steps=[Step(act, compensation=demanding_undo, records=("charge_id",))], input=["order_id"])


@pytest.mark.parametrize("given", ["charge_id", ("charge id",), (1,), None, {"charge_id": 1}, (3 for _ in "x")])
def test_d12_what_is_not_a_tuple_of_names_is_refused(given: Any) -> None:
    with pytest.raises(
        DefinitionError, match=r"step 'act': records=.* must be a tuple of names, as in \('charge_id',\)"
    ):
        step(records=given)


# -- if_in_doubt=


def test_d13_what_becomes_of_doubt_is_stored_where_it_is_not_the_default() -> None:
    usual, careful = compiled(step(name="usual"), step(name="careful", if_in_doubt="person"))

    assert (usual.if_in_doubt, careful.if_in_doubt) == (IfInDoubt.UNDO, IfInDoubt.PERSON)
    assert "if_in_doubt" not in usual.to_json()


def test_d13_a_person_may_be_asked_about_a_step_that_has_no_undo() -> None:
    assert compiled(step(compensation=None, if_in_doubt="person"))[0].if_in_doubt is IfInDoubt.PERSON


@pytest.mark.parametrize("given", ["ask", "", None, True])
def test_d13_anything_else_is_refused(given: Any) -> None:
    with pytest.raises(DefinitionError, match=r"step 'act': if_in_doubt=.*undo.*person"):
        step(if_in_doubt=given)


@pytest.mark.parametrize("option", [{"records": ("charge_id",)}, {"if_in_doubt": "person"}])
def test_past_its_way_back_a_step_takes_neither(option: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match=r"Pivot takes no .*from the pivot on a saga only goes forward"):
        Pivot(act, **option)
