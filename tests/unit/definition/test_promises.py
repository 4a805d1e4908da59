"""What a return annotation promises to later steps: names, and those of them that may be missing."""

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, NotRequired, Optional, TypedDict

import msgspec
import pydantic
import pytest
from celery import shared_task

from sagas import DefinitionError, Saga, Step
from sagas.definition.keys import Promise, declared_keys, declared_return, promised


class Reservation(TypedDict):
    reservation_id: str
    note: NotRequired[str]


class Perhaps(TypedDict, total=False):
    reservation_id: str


@dataclass
class Held:
    hold_id: str
    reservation_id: str | None = None


class Seat(NamedTuple):
    row: int


class Offer(pydantic.BaseModel):
    offer_id: str


class Sent(msgspec.Struct):
    sent_id: str


def names(*certain: str, perhaps: tuple[str, ...] = ()) -> Promise:
    return Promise(frozenset((*certain, *perhaps)), frozenset(perhaps))


@pytest.mark.parametrize(
    ("annotation", "promise"),
    [
        (None, names()),
        (Held, names("hold_id", "reservation_id")),
        (Seat, names("row")),
        (Offer, names("offer_id")),
        (Sent, names("sent_id")),
        (Reservation, names("reservation_id", perhaps=("note",))),
        (Perhaps, names(perhaps=("reservation_id",))),
        (Seat | None, names(perhaps=("row",))),
        (Optional[Offer], names(perhaps=("offer_id",))),  # noqa: UP045
        (Held | Reservation, names("reservation_id", perhaps=("hold_id", "note"))),
        (Held | dict, None),
        (dict[str, Any], None),
        (Any, None),
        (str, None),
        (list[Held], None),
    ],
)
def test_a_type_promises_its_fields(annotation: Any, promise: Promise | None) -> None:
    assert promised(annotation) == promise


def test_an_annotation_may_be_a_text_or_have_more_to_say() -> None:
    def hold() -> "Annotated[Held | None, 'held']": ...

    hold.__globals__.update(Held=Held, Annotated=Annotated)
    assert declared_return(hold) == names(perhaps=("hold_id", "reservation_id"))


def test_what_says_nothing_or_cannot_be_resolved_promises_nothing() -> None:
    def hold(): ...  # type: ignore[no-untyped-def]
    def held() -> "Unknown": ...  # type: ignore[name-defined]  # noqa: F821

    assert declared_return(hold) is declared_return(held) is declared_return(None) is None


@pytest.mark.parametrize("declared", [Held, Seat, Offer, Sent, Reservation])
def test_the_input_may_be_declared_by_any_of_them(declared: Any) -> None:
    promise = promised(declared)
    assert promise is not None
    assert declared_keys(declared) == promise.names


@shared_task
def look_for_a_seat() -> Seat | None: ...


@shared_task
def take(row: int) -> None: ...


@shared_task
def take_if_there_is_one(row: int | None = None) -> None: ...


def test_a_step_cannot_count_on_what_another_one_may_leave_out() -> None:
    look = Step(look_for_a_seat, compensation=None)
    with pytest.raises(DefinitionError, match=r"requires 'row'.*give the parameter a default.*may leave it out, too"):
        Saga("seats", steps=[look, Step(take, compensation=None)], input=[])

    Saga("seats", steps=[look, Step(take_if_there_is_one, compensation=None)], input=[])
