"""Upcasters raise older versions one by one; a chain that cannot work says which function or version is to blame."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from sagas import DefinitionError
from sagas.choreography import event, upcast
from sagas.choreography.events import EventType, event_type
from sagas.model.choreography.unreadable import EventUnreadable

HERE = __name__.replace(".", r"\.")


@event(version=3)
class OrderCreated:
    order_id: str
    currency: str
    total: int


@upcast(OrderCreated, from_version=2)
def split_price(old: dict[str, Any]) -> dict[str, Any]:
    total, currency = old.pop("price").split()
    return old | {"total": int(total), "currency": currency}


@upcast(OrderCreated, from_version=1)
def add_currency(old: dict[str, Any]) -> dict[str, Any]:
    return {"order_id": old["order_id"], "price": f"{old['total']} EUR"}


def versioned(version: int, *from_versions: int) -> EventType:
    """An event of a version, with upcasters that change nothing."""

    @event(version=version)
    class Shipped:
        order_id: str

    def unchanged(number: int) -> Callable[[dict[str, Any]], Mapping[str, Any]]:
        def same(old: dict[str, Any]) -> dict[str, Any]:
            return old

        same.__qualname__ = f"same{number}"
        return same

    for number, from_version in enumerate(from_versions):
        upcast(Shipped, from_version=from_version)(unchanged(number))
    return event_type(Shipped, "test")


@pytest.mark.parametrize(
    ("version", "fields"),
    [
        (1, {"order_id": "42", "total": 990}),
        (2, {"order_id": "42", "price": "990 EUR"}),
        (3, {"order_id": "42", "total": 990, "currency": "EUR"}),
    ],
)
def test_every_version_is_read_as_the_newest(version: int, fields: dict[str, Any]) -> None:
    before = dict(fields)

    read = event_type(OrderCreated, "test").read(version, fields)

    assert read == OrderCreated(order_id="42", currency="EUR", total=990)
    assert fields == before


def test_v10_a_version_that_is_newer_than_the_code_waits_for_the_newer_code() -> None:
    with pytest.raises(
        EventUnreadable, match=r"'OrderCreated' of version 4 is newer than the code .* knows version 3"
    ) as told:
        event_type(OrderCreated, "test").read(4, {})

    assert not told.value.lacks_value


def test_a_version_that_is_too_old_for_the_upcasters_is_refused_by_every_worker() -> None:
    with pytest.raises(
        EventUnreadable, match=r"version 1 cannot be read: .* begin with version 2\. Add @upcast\(…"
    ) as told:
        versioned(3, 2).read(1, {"order_id": "1"})

    assert told.value.lacks_value


def test_an_upcaster_that_raises_names_itself() -> None:
    with pytest.raises(
        EventUnreadable,
        match=f"version 2: the upcaster {HERE}.split_price raised KeyError: 'price'. Mend it, and replay",
    ) as told:
        event_type(OrderCreated, "test").read(2, {"order_id": "42"})

    assert told.value.lacks_value
    assert isinstance(told.value.__cause__, KeyError)


@pytest.mark.parametrize("given", [None, "text", [("order_id", "1")], {1: "number"}])
def test_an_upcaster_that_returns_a_wrong_value_names_itself(given: Any) -> None:
    type_ = versioned(2)

    @upcast(type_.kind, from_version=1)
    def odd(old: dict[str, Any]) -> Any:
        return given

    with pytest.raises(EventUnreadable, match=r"the upcaster .*odd returned a \w+, not a dict") as told:
        type_.read(1, {"order_id": "1"})
    assert told.value.lacks_value


def test_what_an_upcaster_leaves_out_is_named_with_the_version_that_it_came_from() -> None:
    type_ = versioned(2)
    upcast(type_.kind, from_version=1)(lambda old: {})

    with pytest.raises(
        EventUnreadable, match=r"\(raised from version 1\) does not fit its class: the field 'order_id'"
    ):
        type_.read(1, {"order_id": "1"})


@pytest.mark.parametrize(
    ("version", "from_versions"),
    [(1, ()), (3, ()), (3, (2,)), (3, (1, 2)), (3, (2, 1))],
    ids=str,
)
def test_a_chain_that_ends_at_the_events_version_has_no_problems(version: int, from_versions: tuple[int, ...]) -> None:
    type_ = versioned(version, *from_versions)

    assert [*type_.upcasters.problems()] == []
    assert type_.upcasters.oldest == version - len(from_versions)


@pytest.mark.parametrize(
    ("version", "from_versions", "told"),
    [
        (
            3,
            (1,),
            ["the chain from version 1 to 3 has a gap: add @upcast(…, from_version=2)"],
        ),
        (5, (1, 4), ["nothing upcasts version 2", "nothing upcasts version 3"]),
        (
            2,
            (1, 1),
            ["same0 and tests.unit.choreography.test_upcasting.same1 both begin with version 1: leave one out"],
        ),
        (2, (2,), ["same0 begins with version 2, and the event is of version 2: raise the event's version="]),
        (2, (3, 1, 1), ["both begin with version 1", "same0 begins with version 3"]),
    ],
    ids=str,
)
def test_a_broken_chain_tells_every_problem(version: int, from_versions: tuple[int, ...], told: list[str]) -> None:
    problems = [*versioned(version, *from_versions).upcasters.problems()]

    assert len(problems) == len(told)
    assert all(part in problem for part, problem in zip(told, problems, strict=True))
    assert all(problem.startswith("event 'Shipped': ") for problem in problems)


def test_a_module_that_is_imported_again_replaces_its_upcasters() -> None:
    type_ = versioned(2)
    for _ in range(2):

        @upcast(type_.kind, from_version=1)
        def again(old: dict[str, Any]) -> dict[str, Any]:
            return old

    assert [*type_.upcasters.problems()] == []


@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (lambda: upcast(dict, from_version=1), r"@upcast\(…\): the class builtins.dict is not an event"),
        (lambda: upcast(OrderCreated, from_version=0), "from_version=0 must be a whole number from 1 on"),
        (lambda: upcast(OrderCreated, from_version="1"), "from_version='1'"),  # type: ignore[arg-type]
        (lambda: upcast(OrderCreated, from_version=1)("f"), "is for a function, not 'f'"),  # type: ignore[type-var]
    ],
)
def test_what_cannot_be_an_upcaster_is_refused(declare: Callable[[], object], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        declare()
