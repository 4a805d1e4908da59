"""What does not fit names its field, when it is published and when it is read; what cannot be an event is refused."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from sagas import DefinitionError, PayloadError
from sagas.choreography import event
from sagas.choreography.events import event_type, type_of
from sagas.model.choreography.unreadable import EventUnreadable
from tests.unit.choreography.samples import (
    Everything,
    Modelled,
    Money,
    Point,
    Positional,
    Structured,
    everything,
    read,
    stored,
)

# -- publishing what does not fit


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (everything(total="9.90"), "event 'Everything' cannot be published: total is a str, not Decimal"),
        (everything(count=True), "count is a bool, not int"),
        (everything(day=datetime(2026, 1, 1)), "day is a datetime, not date"),
        (everything(kind="c"), r"kind is a str, not Literal\['a', 'b', 3\]"),
        (everything(moneys=[Money(Decimal(1)), Money("2")]), r"moneys\[1\].amount is a str, not Decimal"),
        (everything(by_name={"x": 3}), r"by_name\['x'\] is an int, not Money"),
        (everything(pair=(1,)), "pair has 1 items, not 2"),
        (everything(many=(1, "2")), r"many\[1\] is a str, not int"),
        (everything(either=1.5), r"either is a float, not int \| str \| None"),
        (everything(line={"sku": "pen"}), "the field 'line.quantity' is missing"),
        (everything(line={"sku": "pen", "quantity": 1, "color": 2}), "the field 'line.color' is unknown"),
        (everything(count="1", total=1), "total is an int, not Decimal"),
        (everything(anything={1, 2}), r"event 'Everything'\['anything'\] is a builtins.set, which cannot be stored"),
        (everything(anything="x" * 1_100_000), "event 'Everything' takes 1100.* bytes as JSON; the limit is 1048576"),
        (everything(anything=float("nan")), r"event 'Everything'\['anything'\] is nan"),
        (everything(order_id="\x00"), r"event 'Everything'\['order_id'\] contains a NUL character"),
        (
            Structured(order_id=3, total_sum=Decimal(1), at=datetime.now(UTC)),  # type: ignore[arg-type]
            "event 'Structured' cannot be published: order_id: Expected `str`, got `int`",
        ),
    ],
    ids=range(17),
)
def test_an_event_that_its_handlers_could_not_read_is_refused_when_published(value: Any, told: str) -> None:
    with pytest.raises(PayloadError, match=told):
        stored(value)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"order_id": "42"}, "publish: a dict is not an event: put @event over its class, and pass an instance"),
        (None, "publish: a NoneType is not an event"),
        ("OrderCreated", "publish: 'OrderCreated' is not an event"),
        (Positional, "the class Positional is not an event itself: make one"),
        (Money(Decimal(1)), "publish: a Money is not an event"),
    ],
)
def test_what_is_not_an_event_is_refused_when_published(value: Any, told: str) -> None:
    with pytest.raises(PayloadError, match=told):
        type_of(value, "publish")


# -- reading what does not fit


def changed(change: Callable[[dict[str, Any]], Any], value: Any = None) -> dict[str, Any]:
    fields = stored(everything() if value is None else value)
    change(fields)
    return fields


@pytest.mark.parametrize(
    ("kind", "fields", "told"),
    [
        (Positional, {"order_id": "1"}, "does not fit its class: the field 'total' is missing"),
        (Positional, {}, "the field 'order_id' is missing; the field 'total' is missing"),
        (Positional, {"order_id": "1", "total": Decimal(1), "colour": 3}, "the field 'colour' is unknown"),
        (Positional, {"order_id": 1, "total": "1"}, "order_id is an int, not str; total is a str, not Decimal"),
        (Positional, {"order_id": None, "total": Decimal(1)}, "order_id is None, not str"),
        (Modelled, {"order_id": "1"}, "the field 'total' is missing"),
        (Modelled, {"order_id": "1", "total": Decimal(1), "colour": 3}, "the field 'colour' is unknown"),
        (Modelled, {"order_id": [], "total": Decimal(1)}, "order_id: Input should be a valid string"),
        (Structured, {"order_id": "1", "total_sum": Decimal(1)}, "the field 'at' is missing"),
        (Structured, {"order_id": "1", "total_sum": [], "at": datetime.now(UTC)}, "Expected `decimal`, got `array`"),
        (Structured, {"order_id": "1", "total_sum": 1, "at": datetime.now(UTC), "x": 1}, "the field 'x' is unknown"),
        (Everything, changed(lambda fields: fields.update(colour="green")), r"colour is a str, not Colour\('red', 2\)"),
        (Everything, changed(lambda fields: fields["money"].pop("amount")), "the field 'money.amount' is missing"),
    ],
    ids=range(13),
)
def test_a_stored_event_that_does_not_fit_names_its_fields(kind: type, fields: dict[str, Any], told: str) -> None:
    with pytest.raises(EventUnreadable, match=told) as refused:
        read(kind, fields)

    assert refused.value.lacks_value


@pytest.mark.parametrize("fields", [None, [], "text", 3])
def test_what_is_not_an_object_with_fields_is_refused(fields: Any) -> None:
    with pytest.raises(
        EventUnreadable, match=r"event 'Positional' of version 1 is .+, not an object with fields"
    ) as told:
        read(Positional, fields)

    assert told.value.lacks_value


def test_a_misfit_never_tells_a_value() -> None:
    with pytest.raises(EventUnreadable) as refused:
        read(Positional, {"order_id": Decimal("4711"), "total": "4712", "kind": "4713"})

    assert "471" not in str(refused.value)


def test_a_class_that_refuses_its_own_fields_says_so() -> None:
    @event
    class Positive:
        amount: int

        def __post_init__(self) -> None:
            if self.amount < 0:
                raise ValueError("amount must not be negative")

    with pytest.raises(EventUnreadable, match="Positive refuses its fields: ValueError: amount must not be negative"):
        read(Positive, {"amount": -1})


def test_an_error_of_reading_survives_pickling() -> None:
    import pickle

    with pytest.raises(EventUnreadable) as refused:
        read(Positional, {})
    twin = pickle.loads(pickle.dumps(refused.value))

    assert (type(twin), str(twin), twin.lacks_value) == (EventUnreadable, str(refused.value), True)


# -- declaring what cannot work


def test_declaring_refuses_what_cannot_be_an_event() -> None:
    class Attributes:
        __attrs_attrs__ = ()

    @dataclass
    class Mutable:
        order_id: str

    class Inheriting(Mutable):
        total: Decimal

    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: event(Attributes), "Attributes cannot be an event: use a plain class"),
        (lambda: event(Point), "Point cannot be an event"),
        (lambda: event(Inheriting), "Inheriting does not become a frozen dataclass: .*Make it one yourself"),
        (lambda: event(version=0)(Money), "event 'Money': version=0 must be a whole number from 1 on"),
        (lambda: event(version=True)(Money), "version=True"),
        (lambda: event(version="2")(Money), "version='2'"),  # type: ignore[call-overload]
        (lambda: event(name="a b")(Money), "event 'a b': its name must be letters"),
        (lambda: event(name="")(Money), "event '': its name must be letters"),
        (lambda: event(print), "@event is for classes, not a builtin_function_or_method"),  # type: ignore[call-overload]
        (lambda: event()(3), "@event is for classes, not a int"),  # type: ignore[arg-type]
        (lambda: event_type(Money, "on(…)"), r"on\(…\): the class .*Money is not an event: put @event over it"),
        (lambda: event_type(Positional("1", Decimal(1)), "on(…)"), "pass the class Positional, not an event of it"),
        (lambda: event_type("OrderCreated", "on(…)"), "'OrderCreated' is not an event: pass a class with @event"),
    ]
    for declare, told in refused:
        with pytest.raises(DefinitionError, match=told):
            declare()


@pytest.mark.parametrize(
    ("annotation", "told"),
    [
        (set[str], r"the field 'field': set\[str\] cannot be stored"),
        (bytes, "bytes cannot be stored"),
        (Callable[[], int], "cannot be stored and come back"),
        (dict[int, str], r"dict\[int, str\] has keys that are not text"),
        (list[complex], "complex cannot be stored"),
    ],
)
def test_a_field_that_cannot_be_stored_is_refused_when_it_is_compiled(annotation: Any, told: str) -> None:
    kind = event(type("Odd", (), {"__annotations__": {"field": annotation}, "__module__": __name__}))

    with pytest.raises(DefinitionError, match=f"event 'Odd': .*{told}"):
        _ = event_type(kind, "test").plan


def test_a_type_that_is_not_defined_is_refused_when_it_is_compiled() -> None:
    kind = event(type("Odd", (), {"__annotations__": {"field": "Missing"}, "__module__": __name__}))

    with pytest.raises(DefinitionError, match=r"event 'Odd': the types of its fields cannot be found: .*'Missing'"):
        _ = event_type(kind, "test").plan
