"""How often a polling loop looks, and when its time is over."""

import pytest

from sagas.handle import pace
from sagas.handle.pace import Pace


class Clock:
    """Time that passes only as pauses do."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def pauses(self, paced: Pace, most: int = 100) -> list[float]:
        """Those of a loop that does nothing else."""
        pauses: list[float] = []
        while len(pauses) < most and (pause := paced.next()) is not None:
            self.now += pause
            pauses.append(pause)
        return pauses


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    return clock


def test_the_last_look_is_at_the_end_of_the_time(clock: Clock) -> None:
    assert clock.pauses(Pace(1.25, 0.5)) == [0.5, 0.5, 0.25]


def test_a_time_of_nothing_allows_one_look(clock: Clock) -> None:
    assert clock.pauses(Pace(0, 0.5)) == []


def test_without_a_timeout_it_goes_on_for_ever(clock: Clock) -> None:
    assert clock.pauses(Pace(None, 0.5)) == [0.5] * 100


def test_pauses_grow_up_to_the_longest(clock: Clock) -> None:
    assert clock.pauses(Pace(None, 1, longest=3), most=5) == [1, 1.5, 2.25, 3, 3]


def test_a_wait_looks_often_at_first_and_twice_a_second_later(clock: Clock) -> None:
    pauses = clock.pauses(Pace.of_wait(None))

    assert (pauses[0], pauses[-1]) == (0.02, 0.5)


def test_the_time_that_looks_take_counts(clock: Clock) -> None:
    paced = Pace(2, 0.5)
    clock.now += 1.75

    assert clock.pauses(paced) == [0.25]
