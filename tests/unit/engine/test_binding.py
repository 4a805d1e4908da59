"""Parameters are filled by name: the action's own result first, then the data."""

from collections.abc import Mapping
from typing import Any, TypedDict

import pytest

from sagas import BindingError
from sagas.engine import bind, required
from sagas.model import Inputs, Source

DATA = {"order_id": "42", "total": 9}


def call(function: Any, data: dict[str, Any] | None = None, own: Any = None) -> dict[str, Any]:
    return bind(function, DATA if data is None else data, own, "task pay")


def test_parameters_are_filled_by_name_and_the_rest_of_the_data_stays_away() -> None:
    def pay(order_id: str, *, total: int) -> None: ...

    assert call(pay) == DATA
    assert call(lambda total: total) == {"total": 9}
    assert call(lambda: None) == {}


def test_a_default_counts_where_the_data_has_nothing_and_only_there() -> None:
    def pay(total: int = 1, currency: str = "EUR") -> None: ...

    assert call(pay) == {"total": 9}


def test_none_in_the_data_is_a_value() -> None:
    def pay(total: int = 1) -> None: ...

    assert call(pay, {"total": None}) == {"total": None}


def test_a_parameter_named_data_gets_the_whole_mapping_unless_the_data_has_that_name() -> None:
    def pay(data: dict[str, Any]) -> None: ...

    assert call(pay) == {"data": DATA}
    assert call(pay, {"data": 1, "total": 2}) == {"data": 1}
    assert call(pay)["data"] is not DATA


def test_keywords_take_everything() -> None:
    def pay(order_id: str, **rest: Any) -> None: ...

    assert call(pay) == DATA


def test_h11_a_compensation_gets_its_actions_own_result_before_the_data() -> None:
    def release(reservation_id: str, order_id: str) -> None: ...

    data = {"reservation_id": "another step's", "order_id": "42"}
    assert call(release, data, {"reservation_id": "mine"}) == {"reservation_id": "mine", "order_id": "42"}


@pytest.mark.parametrize("own", [None, "text", 7, ["reservation_id"]])
def test_a_result_that_is_no_mapping_gives_no_names(own: Any) -> None:
    def release(reservation_id: str | None = None) -> None: ...

    assert call(release, own=own) == {}


def test_a_missing_parameter_is_named_with_what_there_is_and_the_cure() -> None:
    def pay(card: str) -> None: ...

    with pytest.raises(BindingError, match=r"task pay requires 'card', and the saga's data has only order_id, total"):
        call(pay)
    with pytest.raises(BindingError, match="has only nothing: give it a default"):
        call(pay, {})


def test_a_positional_only_parameter_is_refused() -> None:
    def pay(total: int, /) -> None: ...

    with pytest.raises(BindingError, match="'total' is positional-only; sagas fill parameters by name"):
        call(pay)


def test_required_names_are_those_without_default() -> None:
    def pay(a: int, b: int = 1, *args: int, c: int, data: dict[str, Any], **rest: Any) -> None: ...

    assert required(pay) == {"a", "c"}


class Order(TypedDict):
    order_id: str


def alone(data): ...  # type: ignore[no-untyped-def]
def beside_a_default(data: Any, currency: str = "EUR") -> None: ...
def beside_everything(data: Any, **rest: Any) -> None: ...
def annotated(order_id: str, data: dict[str, Any]) -> None: ...
def annotated_as_optional(order_id: str, data: Mapping[str, Any] | None = None) -> None: ...
def annotated_by_its_keys(order_id: str, data: Order) -> None: ...
def beside_another(order_id, data): ...  # type: ignore[no-untyped-def]
def of_another_type(order_id: str, data: str) -> None: ...
def of_any_type(order_id: str, data: Any) -> None: ...


@pytest.mark.parametrize(
    "function", [alone, beside_a_default, beside_everything, annotated, annotated_as_optional, annotated_by_its_keys]
)
def test_data_is_the_whole_mapping_if_it_stands_alone_or_is_annotated_as_one(function: Any) -> None:
    assert call(function)["data"] == DATA
    assert call(function, {**DATA, "data": 1})["data"] == 1
    assert "data" not in required(function)


@pytest.mark.parametrize("function", [beside_another, of_another_type, of_any_type])
def test_data_beside_other_parameters_is_a_name_like_theirs(function: Any) -> None:
    """A payload that was forgotten is not replaced by all that the saga knows."""
    assert call(function, {**DATA, "data": "payload"})["data"] == "payload"
    assert required(function) == {"order_id", "data"}
    with pytest.raises(BindingError, match="requires 'data', and the saga's data has only order_id, total"):
        call(function)


def test_data_beside_other_parameters_has_its_default_where_there_is_none() -> None:
    def send(order_id: str, data: str = "nothing") -> None: ...

    assert call(send) == {"order_id": "42"}


# -- inputs=


def mapped(**sources: Any) -> Inputs:
    """Names, and constants in tuples."""
    return tuple(
        (name, Source.constant(*given) if isinstance(given, tuple) else Source(name=given))
        for name, given in sorted(sources.items())
    )


def move(account: str, amount: int = 0, sign: int = 1) -> None: ...


TRANSFER = {"source": "a", "target": "b", "account": "another", "amount": 5, "sign": 7}


def test_d27_a_mapped_parameter_is_filled_from_its_source_and_never_by_its_own_name() -> None:
    bound = bind(move, TRANSFER, None, "task move", mapped(account="source", sign=(-1,)))

    assert bound == {"account": "a", "amount": 5, "sign": -1}
    # A source that is missing leaves the default, or nothing at all.
    assert bind(move, TRANSFER, None, "task move", mapped(sign="direction")) == {"account": "another", "amount": 5}
    with pytest.raises(BindingError, match=r"task move requires 'from' for its parameter 'account', and the saga's"):
        bind(move, TRANSFER, None, "task move", mapped(account="from"))


def test_any_keywords_get_the_mapped_ones_and_the_rest_but_not_what_they_hide() -> None:
    def move(account: str = "default", **rest: Any) -> None: ...

    bound = bind(move, TRANSFER, None, "task move", mapped(account="missing", sign=(-1,), extra="target"))

    assert bound == {"source": "a", "target": "b", "amount": 5, "sign": -1, "extra": "b"}


def test_a_parameter_named_data_can_be_mapped_too() -> None:
    def tell(data: Any = None) -> None: ...

    assert bind(tell, TRANSFER, None, "task tell", mapped(data="source")) == {"data": "a"}
    assert bind(tell, TRANSFER, None, "task tell", mapped(data="missing")) == {}


def test_d27_a_compensation_gets_what_its_action_got_whatever_that_returned() -> None:
    own = {"source": "returned", "account": "returned", "entry": 1}

    def back(account: str, entry: int) -> None: ...

    inputs = mapped(account="source", sign=(-1,))
    assert bind(back, TRANSFER, own, "task back", inputs, inherited=True) == {"account": "a", "entry": 1}
    assert bind(back, TRANSFER, own, "task back", mapped(account="source")) == {"account": "returned", "entry": 1}


def test_a_parameter_that_a_deploy_has_renamed_is_missed() -> None:
    def move(account_id: str = "default") -> None: ...

    with pytest.raises(BindingError, match="task move has no parameter 'account', which inputs= fills: keep the name"):
        bind(move, TRANSFER, None, "task move", mapped(account="source"))
