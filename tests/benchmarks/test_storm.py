"""The storm's arithmetic, and that its machinery runs: no figure of it is asserted."""

import os
import signal
from pathlib import Path

import pytest

from tests.benchmarks.applications.statements import Counter, sent
from tests.benchmarks.storm.__main__ import arguments, chosen, measure
from tests.benchmarks.storm.drain import Settings
from tests.benchmarks.storm.figures import Drained, Outage, longest_gap, storm_table


def test_the_time_of_an_outage_does_not_count() -> None:
    outage = Outage(began=10.0, ended=15.0)
    assert [outage.without(moment) for moment in (9.0, 10.0, 12.0, 15.0, 20.0)] == [9.0, 10.0, 10.0, 10.0, 15.0]


def test_the_longest_gap_includes_the_beginning_and_the_end() -> None:
    assert longest_gap([5.0, 6.0, 8.0], 1.0, 9.0) == 4.0
    assert longest_gap([2.0, 3.0], 1.0, 9.0) == 6.0
    assert longest_gap([], 1.0, 9.0) == 8.0
    # Those that ended before, or later, are no part of it.
    assert longest_gap([0.5, 9.5], 1.0, 9.0) == 8.0


def drained(name: str, ended: int, seconds: float) -> Drained:
    return Drained(
        name=name,
        wanted=100,
        ended=ended,
        seconds=seconds,
        gap=1.0,
        step_gap=0.5,
        messages_a_step=1.0,
        transactions=1200.0,
        statements=1100.0,
        fsyncs=400.0,
        statuses={"completed": ended},
    )


def test_a_kind_is_compared_with_the_plain_drain_and_one_that_did_not_end_says_so() -> None:
    table = storm_table("Storm", [drained("plain", 100, 2.0), drained("flushed", 30, 60.0)])
    plain, flushed = table.rows
    assert (plain["sagas/s"], plain["× plain"], plain["transactions"]) == (50.0, 1.0, 12.0)
    assert plain["statements"] == 11.0
    assert (flushed["ended"], flushed["sagas/s"], flushed["× plain"]) == ("30 of 100", 0.5, 0.01)


def test_each_kind_is_compared_with_the_last_plain_drain_before_it() -> None:
    rounds = [drained("plain", 100, 1.0), drained("flushed", 100, 2.0), drained("plain", 100, 4.0)]
    table = storm_table("Storm", [*rounds, drained("sleepers", 100, 4.0)])
    assert [row["× plain"] for row in table.rows] == [1.0, 0.5, 1.0, 1.0]


def test_the_plain_drain_is_always_the_first() -> None:
    assert [kind.name for kind in chosen(["flushed"])] == ["plain", "flushed"]
    both = chosen(["flushed", "sleepers"], again=True)
    assert [kind.name for kind in both] == ["plain", "flushed", "plain", "sleepers"]
    assert arguments(["--kinds", "leader-frozen"]).kinds == ["leader frozen"]
    assert [kind.name for kind in chosen(None)][:2] == ["plain", "flushed"]


def test_statements_are_counted_in_each_process_and_outlive_it(tmp_path: Path) -> None:
    counter = Counter(tmp_path)
    for _ in range(3):
        counter.note()
    child = os.fork()
    if child == 0:
        counter.note()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)

    assert sent(tmp_path) == 4


def test_an_unknown_kind_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["--kinds", "flood"])
    assert "there is no kind 'flood'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.faults
def test_a_tiny_storm_ends_and_says_how() -> None:
    _, restarted = chosen(["postgres restarted"])
    (row,) = measure([restarted], Settings(sagas=4, workers=1, processes=1, starters=1, limit=300)).rows
    assert (row["kind"], row["ended"]) == ("postgres restarted", "4 of 4")
