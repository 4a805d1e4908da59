"""What has named fields is stored as a dict of these, whichever library has made it."""

from collections import namedtuple
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from types import SimpleNamespace
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import msgspec
import pydantic
import pytest

from sagas.errors import PayloadError
from sagas.model.payload import dumps, loads
from sagas.model.records import names_of, unfolded
from sagas.model.secrecy import Secrecy
from tests.unit.model.test_payload import same

T = TypeVar("T")


class Colour(StrEnum):
    RED = "red"


class Place(NamedTuple):
    row: int
    seat: str = "A"


@dataclass
class Held:
    kind: ClassVar[str] = "hold"
    hold_id: str
    total: Decimal = Decimal("9.90")
    place: Place | None = None


@dataclass
class Begun:
    begun_id: int
    ended_id: int = field(init=False)


@dataclass(frozen=True, slots=True)
class Slotted(Generic[T]):
    hold_id: T


class Offer(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    offer_id: str = pydantic.Field(alias="offerId")
    until: date = date(2026, 7, 1)
    colour: Colour = Colour.RED
    held: list[Held] = []
    internal: str = pydantic.Field("hidden", exclude=True)

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def is_open(self) -> bool:
        return True


class Ids(pydantic.RootModel[list[int]]):
    pass


class Sent(msgspec.Struct, rename="camel"):
    sent_id: str
    copies: list[Place] = []
    note: str | msgspec.UnsetType = msgspec.UNSET


class Described:
    """As attrs describes its classes."""

    __attrs_attrs__ = (SimpleNamespace(name="described_id"),)

    def __init__(self) -> None:
        self.described_id = 1
        self.other = 2


OFFER = {"offer_id": "o", "until": date(2026, 7, 1), "colour": "red", "held": [], "is_open": True}
RECORDS = [
    pytest.param(Held("h"), {"hold_id": "h", "total": Decimal("9.90"), "place": None}, id="dataclass"),
    pytest.param(Begun(1), {"begun_id": 1}, id="dataclass with a field that is not set"),
    pytest.param(Slotted("h"), {"hold_id": "h"}, id="dataclass with slots"),
    pytest.param(Place(3), {"row": 3, "seat": "A"}, id="NamedTuple"),
    pytest.param(namedtuple("Old", "a b")(1, (2,)), {"a": 1, "b": [2]}, id="namedtuple"),
    pytest.param(Offer(offerId="o"), OFFER, id="pydantic"),
    pytest.param(Offer(offerId="o", extra=1), {**OFFER, "extra": 1}, id="pydantic with more"),
    pytest.param(Ids([1, 2]), [1, 2], id="pydantic root"),
    pytest.param(Sent("s"), {"sent_id": "s", "copies": []}, id="msgspec"),
    pytest.param(Described(), {"described_id": 1}, id="attrs"),
    pytest.param(
        Held("h", place=Place(1)),
        {"hold_id": "h", "total": Decimal("9.90"), "place": {"row": 1, "seat": "A"}},
        id="nested in a dataclass",
    ),
    pytest.param(
        Offer(offerId="o", held=[Held("h")]),
        {**OFFER, "held": [{"hold_id": "h", "total": Decimal("9.90"), "place": None}]},
        id="nested in pydantic",
    ),
    pytest.param(
        Sent("s", [Place(1)], "n"), {"sent_id": "s", "copies": [{"row": 1, "seat": "A"}], "note": "n"}, id="…"
    ),
]


@pytest.mark.parametrize(("record", "fields"), RECORDS)
def test_a_record_comes_back_as_its_fields_wherever_it_stands(record: Any, fields: Any) -> None:
    assert same(loads(dumps(record, "data")), fields)
    assert same(loads(dumps({"list": [record]}, "data")), {"list": [fields]})


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Held, {"hold_id", "total", "place"}),
        (Place, {"row", "seat"}),
        (Offer, {"offer_id", "until", "colour", "held", "is_open"}),
        (Sent, {"sent_id", "copies", "note"}),
        (Described, {"described_id"}),
        (Ids, None),
        (dict, None),
        (tuple, None),
        (object, None),
    ],
)
def test_a_class_tells_the_names_that_its_records_have(kind: type, names: set[str] | None) -> None:
    assert names_of(kind) == names


@pytest.mark.parametrize("value", [{"a": 1}, [1], (1,), "text", None, object(), Held, Offer])
def test_everything_else_is_left_as_it_is(value: Any) -> None:
    assert unfolded(value) is value


def test_a_field_that_cannot_be_stored_is_named_by_its_path() -> None:
    with pytest.raises(PayloadError, match=r"data\['held'\]\['place'\] is a builtins.object"):
        dumps({"held": Held("h", place=object())}, "data")  # type: ignore[arg-type]


class Broken(pydantic.BaseModel):
    card: str

    @pydantic.model_serializer
    def dump(self) -> dict[str, Any]:
        raise KeyError(f"no {self.card}")


def test_a_model_that_cannot_be_dumped_is_refused_without_its_text() -> None:
    with pytest.raises(PayloadError, match="data is a Broken that cannot be dumped: ") as refused:
        dumps(Broken(card="4111 1111"), "data")
    assert "4111" not in str(refused.value)


def test_a_record_that_contains_itself_is_refused() -> None:
    held = Held("h")
    held.place = held  # type: ignore[assignment]
    with pytest.raises(PayloadError, match="nested too deeply, or contains itself"):
        dumps(held, "data")


# -- secrets


@dataclass
class Payment:
    card: str
    total: int


@pytest.mark.parametrize(
    "paid",
    [
        Payment("4111 1111", 9),
        pydantic.create_model("Paid", card=str, total=int)(card="4111 1111", total=9),
        msgspec.defstruct("Paid", [("card", str), ("total", int)])("4111 1111", 9),
    ],
)
def test_a_records_secrets_are_sealed_hidden_and_taken_out_of_texts(paid: Any) -> None:
    from cryptography.fernet import Fernet

    secrecy = Secrecy(["card"], Fernet(Fernet.generate_key()))
    stored = secrecy.dumps(paid, "data")

    assert "4111" not in stored
    assert secrecy.open(loads(stored)) == {"card": "4111 1111", "total": 9}
    assert secrecy.hide(paid) == {"card": "•••", "total": 9}
    assert secrecy.redactor(paid)("paid with 4111 1111") == "paid with •••"


def test_a_record_that_is_a_secret_hides_each_of_its_fields() -> None:
    secrecy = Secrecy(["payment"])

    assert secrecy.redactor({"payment": Payment("4111 1111", 9)})("paid with 4111 1111") == "paid with •••"


def test_a_record_that_cannot_be_dumped_still_tells_which_text_to_hide() -> None:
    assert Secrecy(["card"]).redactor(Broken(card="4111 1111"))("'no 4111 1111'") == "'no •••'"
