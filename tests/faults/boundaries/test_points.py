"""The list of points is whole: what the library's source names is passed by a workload, or explained."""

from tests.faults.boundaries.conftest import BegunTrials
from tests.faults.boundaries.points import EXPLAINED, WORKLOADS, name_at, names, passed, site_of
from tests.faults.boundaries.runs import RUNS
from tests.faults.boundaries.workloads import MAYBE, ON_THE_WAY, Workload


def test_every_statement_of_the_library_is_passed_by_a_workload_or_explained() -> None:
    on_the_map = {name_at(point) for workload in WORKLOADS for point in passed(workload)}
    statements = {name.removeprefix("commit of ") for name in on_the_map}

    assert names() - on_the_map - EXPLAINED.keys() == set()
    assert statements - names() == set()
    assert EXPLAINED.keys() & on_the_map == set()


def test_a_healthy_saga_passes_what_the_map_says(begun_trials: BegunTrials, workload: Workload) -> None:
    found = set(begun_trials.rehearsed(workload).passages)
    expected = passed(workload) - workload.without_saga

    assert expected - found == set()
    # On a busy machine the sweep may take a saga for stuck, and then further points are passed for nothing.
    if workload in (*ON_THE_WAY, *RUNS) and not any(site_of(point) == "sweep" for point in found - expected):
        assert {point for point in found - expected - workload.sometimes if name_at(point) != MAYBE} == set()


def test_nothing_is_passed_that_has_no_name(begun_trials: BegunTrials) -> None:
    known = names() | {"ack of sweep"}

    for ended in begun_trials.ended():
        assert {name_at(point).removeprefix("commit of ") for point in ended.passages} - known == set()
