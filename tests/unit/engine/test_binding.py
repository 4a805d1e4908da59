"""Parameters are filled by name: the action's own result first, then the data."""

from typing import Any

import pytest

from sagas import BindingError
from sagas.engine import bind, required

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
