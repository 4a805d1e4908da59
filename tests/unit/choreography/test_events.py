"""A class becomes a type of event, and what it publishes comes back as it was."""

import json
from dataclasses import FrozenInstanceError, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas import PayloadError
from sagas.choreography import event
from sagas.choreography.events import event_type, type_of
from sagas.model import Secrecy, payload
from tests.unit.choreography.samples import (
    OPEN,
    Everything,
    Modelled,
    Money,
    Positional,
    PydanticMoney,
    Size,
    Structured,
    everything,
    read,
    stored,
)

# -- coming back


@pytest.mark.parametrize(
    "value",
    [
        everything(),
        everything(later="now", made=[1], size=None, either=None),
        Modelled(order_id="42", total=Decimal("9.90"), theTags=["a"], money=PydanticMoney(theAmount=Decimal(1))),
        Structured(order_id="42", total_sum=Decimal("9.90"), at=datetime(2026, 1, 1, tzinfo=UTC)),
        Positional("42", Decimal("9.90")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_event_comes_back_as_it_was(value: Any) -> None:
    came_back = read(type(value), stored(value))

    assert came_back == value
    assert type(came_back) is type(value)
    if isinstance(value, Everything):
        assert [type(part) for part in vars(came_back).values()] == [type(part) for part in vars(value).values()]


def test_a_field_that_is_made_of_others_is_stored_and_made_anew() -> None:
    @event
    @dataclass(frozen=True)
    class Counted:
        parts: list[int]
        total: int = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "total", sum(self.parts))

    assert stored(Counted([1, 2])) == {"parts": [1, 2], "total": 3}
    assert read(Counted, {"parts": [1, 2], "total": 7}) == Counted([1, 2])


@given(data=st.data())
def test_whatever_fits_comes_back_as_it_was(data: st.DataObject) -> None:
    text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
    money = st.builds(Money, amount=st.decimals(allow_nan=False, allow_infinity=False), currency=text)
    fields = {
        "order_id": text,
        "count": st.integers(),
        "weight": st.floats(allow_nan=False, allow_infinity=False),
        "total": st.decimals(allow_nan=False, allow_infinity=False),
        "at": st.datetimes(timezones=st.just(UTC)),
        "id": st.uuids(),
        "size": st.sampled_from([*Size, None]),
        "kind": st.sampled_from(["a", "b", 3]),
        "money": money,
        "moneys": st.lists(money),
        "by_name": st.dictionaries(text, money),
        "either": st.none() | st.integers() | text,
        "anything": st.recursive(st.none() | text | st.integers() | st.booleans(), st.lists),
    }
    value = everything(**{name: data.draw(strategy, label=name) for name, strategy in fields.items()})

    assert read(Everything, stored(value)) == value


def test_a_plain_class_becomes_a_frozen_dataclass_with_keywords_only() -> None:
    with pytest.raises(TypeError):
        Everything("42")  # type: ignore[call-arg, misc]
    with pytest.raises(FrozenInstanceError):
        everything().count = 4  # type: ignore[misc]


def test_a_dataclass_stays_what_it_says() -> None:
    order = Positional("42", Decimal(1))
    order.order_id = "43"  # type: ignore[misc]

    assert stored(order)["order_id"] == "43"


def test_a_type_has_the_name_and_the_version_that_it_is_given() -> None:
    written = type_of(Modelled(order_id="1", total=Decimal(1)), "test").write(
        Modelled(order_id="1", total=Decimal(1)), OPEN
    )

    assert (written.type, written.version) == ("order.paid", 3)
    assert event_type(Everything, "test").type == "Everything"
    assert event_type(Everything, "test").version == 1


def test_what_is_stored_has_the_fields_own_names_and_not_their_aliases() -> None:
    assert stored(Modelled(order_id="1", total=Decimal(1))).keys() == {"order_id", "total", "tags", "money", "shown"}
    assert "total_sum" in stored(Structured(order_id="1", total_sum=Decimal(1), at=datetime.now(UTC)))


def test_a_field_with_a_default_may_be_missing() -> None:
    fields = stored(everything())
    del fields["later"], fields["made"]

    assert read(Everything, fields) == everything(id=fields["id"])


def test_a_subclass_of_an_event_is_not_that_event() -> None:
    class Special(Positional):
        pass

    with pytest.raises(PayloadError, match=r"publish: a .*Special is not an event: put @event over its class"):
        type_of(Special("1", Decimal(1)), "publish")


def test_secret_fields_are_encrypted_as_those_of_sagas_are() -> None:
    class Reverse:
        def encrypt(self, data: bytes) -> bytes:
            return data[::-1].hex().encode()

        def decrypt(self, token: bytes) -> bytes:
            return bytes.fromhex(token.decode())[::-1]

    secrecy = Secrecy(["order_id"], Reverse())
    order = Positional("4711-secret", Decimal(1))

    text = type_of(order, "test").write(order, secrecy).text

    assert "4711" not in text
    assert read(Positional, secrecy.open(payload.loads(text))) == order


# -- describing


def test_the_plan_of_an_event_tells_its_fields() -> None:
    plan = event_type(Everything, "test").plan
    told = {field.name: field.type for field in plan.fields}

    assert told["order_id"] == "str"
    assert told["colour"] == "Colour('red', 2)"
    assert told["size"] == "Size('s', 'l') | None"
    assert told["moneys"] == "list[Money{amount: Decimal, currency?: str}]"
    assert told["pair"] == "tuple[int, str]"
    assert told["many"] == "tuple[int, ...]"
    assert told["line"] == "Line{sku: str, quantity: int}"
    assert told["anything"] == "Any"
    assert told["plain"] == "dict"
    assert [field.name for field in plan.fields if not field.required] == ["later", "made"]
    assert json.loads(json.dumps(plan.to_json())) == plan.to_json()


def test_models_tell_their_fields_too() -> None:
    modelled, structured = event_type(Modelled, "test").plan, event_type(Structured, "test").plan

    assert [(field.name, field.type, field.required) for field in modelled.fields] == [
        ("order_id", "str", True),
        ("total", "Decimal", True),
        ("tags", "list[str]", False),
        ("money", "PydanticMoney{amount: Decimal} | None", False),
    ]
    assert [(field.name, field.required) for field in structured.fields] == [
        ("order_id", True),
        ("total_sum", True),
        ("at", True),
        ("size", False),
    ]
