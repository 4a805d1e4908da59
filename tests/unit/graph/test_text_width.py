"""What fits into a width."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas.graph.text_width import fit, fit_name, width, wrap

ROOM = 200.0


def test_wide_signs_take_more_room_than_narrow_ones() -> None:
    assert width("iiii", 12) < width("aaaa", 12) < width("AAAA", 12) < width("MMMM", 12) < width("漢字漢字", 12)
    assert width("a", 12) < width("a", 12, bold=True) < width("a", 24)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "Zs"])))
def test_what_is_cut_fits(text: str) -> None:
    assert width(fit(text, ROOM, 12), 12) <= ROOM
    assert width(fit_name(text, ROOM, 12), 12, bold=True) <= ROOM
    lines = wrap(text, ROOM, 12, 3)
    assert len(lines) <= 3
    assert all(width(line, 12) <= ROOM for line in lines)


def test_what_fits_is_left_alone() -> None:
    assert fit("reserve", ROOM, 12) == "reserve"
    assert fit_name("reserve", ROOM, 12) == "reserve"
    assert wrap("reserve the goods", ROOM, 12, 2) == ["reserve the goods"]


def test_a_long_text_loses_its_end_and_a_name_its_middle() -> None:
    text = "reserve_the_inventory_of_warehouse_01"

    assert fit(text, ROOM, 12).endswith("…")
    assert fit_name(text, ROOM, 12).endswith("use_01")
    assert fit_name(text, ROOM, 12).startswith("reserve_the")


@pytest.mark.parametrize("most", [1, 2, 3])
def test_text_is_wrapped_at_spaces(most: int) -> None:
    lines = wrap("the card was declined by the bank because it has expired a long time ago", ROOM, 12, most)

    assert len(lines) == most
    assert [line.endswith("…") for line in lines] == [False] * (most - 1) + [most < 3]
