"""That the comparison's machinery runs, and that each is compared within its round: no figure of it is asserted."""

from dataclasses import replace

import pytest

from tests.benchmarks.bench_servers import BenchServers
from tests.benchmarks.contenders import Contender, contenders
from tests.benchmarks.meters import Counters
from tests.benchmarks.rounds import Amount, Figures, play, throughput_table
from tests.benchmarks.throughput import Measured

BARE, SAGAS = "bare chain, late acks", "sagas"
ONE = Measured(
    ended=10,
    rate=100.0,
    worker_cpu=0.005,
    postgres_cpu=0.006,
    drain_wal=5_000.0,
    transactions=12.0,
    statements=None,
    fsyncs=4.0,
    wal_bytes=6_500.0,
    starts=300.0,
    start_cpu=0.0018,
    memory_before=60e6,
    memory=62e6,
)


def test_each_contender_has_a_name_of_its_own() -> None:
    names = [contender.name for contender in contenders("python")]

    assert len(set(names)) == len(names)


def named(*names: str) -> list[Contender]:
    return [contender for contender in contenders(None) if contender.name in names]


def test_ratios_are_to_the_bare_chain_of_as_many_steps() -> None:
    against = {contender.name: contender.against for contender in contenders(None)}
    assert against[SAGAS] == BARE
    assert against["sagas, 10 steps"] == f"{BARE}, 10 steps"
    assert set(against.values()) <= set(against)


def test_peers_are_compared_where_they_are_installed() -> None:
    assert {"celery-saga", "DBOS"} <= {contender.name for contender in contenders("python")}
    assert not {"celery-saga", "DBOS"} & {contender.name for contender in contenders(None)}


def test_a_table_has_medians_and_the_ratios_of_each_round() -> None:
    rounds = [(100.0, 40.0), (10.0, 4.0), (100.0, 60.0)]
    figures: Figures = {
        BARE: [replace(ONE, rate=bare) for bare, _ in rounds],
        SAGAS: [replace(ONE, rate=ours, worker_cpu=0.01) for _, ours in rounds],
    }
    bare, ours = throughput_table("Rates", named(BARE, SAGAS), figures).rows
    assert (bare["sagas/s"], bare["× bare"]) == (100.0, 1.0)
    assert (ours["sagas/s"], ours["× bare"], ours["× its CPU"]) == (40.0, 0.4, 2.0)
    assert (ours["worker, ms"], ours["WAL, KB"], ours["statements"]) == (10.0, 6.5, None)


def test_a_drain_that_did_not_end_has_no_rate_and_a_failed_one_nothing() -> None:
    figures: Figures = {BARE: [ONE, ONE], SAGAS: [replace(ONE, ended=7, rate=None), None]}
    _, ours = throughput_table("Rates", named(BARE, SAGAS), figures).rows
    assert (ours["sagas/s"], ours["× bare"], ours["× its CPU"]) == (None, None, 1.0)


def test_counters_are_differences_and_what_is_not_counted_stays_so() -> None:
    before = Counters(transactions=10.0, fsyncs=1.0, wal_bytes=100.0, statements=None)
    after = Counters(transactions=25.0, fsyncs=3.0, wal_bytes=400.0, statements=5.0)
    assert after.since(before) == Counters(transactions=15.0, fsyncs=2.0, wal_bytes=300.0, statements=None)


@pytest.mark.slow
@pytest.mark.faults
def test_a_tiny_round_measures_all_that_the_table_shows() -> None:
    one = named(SAGAS)
    with BenchServers() as bench_servers:
        figures = play(bench_servers, one, Amount(pairs=1, sagas=4, warm=0, limit=300))
    (row,) = throughput_table("Rates", one, figures).rows
    assert [name for name, value in row.items() if value is None] in ([], ["statements"])
