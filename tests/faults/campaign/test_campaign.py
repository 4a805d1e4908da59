"""One short campaign with every quick fault: nothing lost, nothing done twice, nothing stuck.

The long ones are for a person: `python -m tests.faults.campaign --help`.
"""

import random

import pytest

from tests.faults.campaign.books import Counts
from tests.faults.campaign.campaign import run
from tests.faults.campaign.catalogue import chosen
from tests.faults.campaign.settings import Settings

QUICK = Settings(
    minutes=2.0,
    sagas=120,
    in_flight=30,
    gap=1.2,
    pace=0.6,
    approval=8.0,
    timeout=15.0,
    faults=("quick",),
    deal=True,
    heartbeat=1.0,
    sweep_every=1.0,
    patience=120.0,
)


@pytest.mark.slow
def test_nothing_is_lost_or_done_twice_or_stuck_whatever_goes_wrong(
    dice: random.Random, request: pytest.FixtureRequest
) -> None:
    # Given
    seed = request.config.getoption("seed", default=None)
    faults = chosen(QUICK)
    settings = QUICK.but(
        seed=dice.randrange(1_000_000) if seed is None else seed,
        strikes=len(faults),
        backlog=dice.choice((0, QUICK.sagas // 2)),
        continuation=dice.choice(("chain", "inline")),
    )

    # When
    report = run(settings)

    # Then
    print(report.to_markdown())
    assert {counts: report.count(counts) for counts in Counts} == dict.fromkeys(Counts, 0)
    assert report.unbalanced == []
    assert report.settled_after is not None
    assert report.starts_returned >= settings.sagas
    # All of them on a machine that has the time; the sagas of a slow one may have ended before the last.
    assert len(set(report.strikes)) >= len(faults) // 2
    assert set(report.strikes) <= {fault.name for fault in faults}
