import pytest

from sagas import Inline


def test_the_bounds_that_a_message_carries_are_those_that_were_set() -> None:
    assert Inline.parse(str(Inline(seconds=2.5, steps=3))) == Inline(seconds=2.5, steps=3)


@pytest.mark.parametrize("header", [None, "", "5", "5 x", "nan 3", "-1 3", "5 1", "5 3 1", 7, b"5 3"])
def test_a_message_without_bounds_or_with_mangled_ones_runs_its_own_step_alone(header: object) -> None:
    assert Inline.parse(header) is None


@pytest.mark.parametrize("seconds", [0, -1, 601, float("nan"), float("inf"), "5", None, True])
def test_seconds_are_a_number_above_0(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds="):
        Inline(seconds=seconds)


@pytest.mark.parametrize("steps", [1, 0, 2.5, 101, "3", None, True])
def test_steps_are_a_whole_number_from_2_on(steps: int) -> None:
    with pytest.raises(ValueError, match="steps="):
        Inline(steps=steps)
