"""What follows from how often workers report and the sweep looks."""

from datetime import timedelta

import pytest

from sagas.store import Timing

PAIRS = [(0.1, 0.1), (2.0, 2.0), (0.5, 60.0), (60.0, 0.5), (3600.0, 3600.0)]


@pytest.mark.parametrize(("heartbeat", "sweep_every"), PAIRS)
def test_b2_the_death_of_the_worker_that_made_the_passes_is_no_outage(heartbeat: float, sweep_every: float) -> None:
    timing = Timing(heartbeat=heartbeat, sweep_every=sweep_every)

    # A worker that has begun a pass dies; another one begins the next.
    assert timing.lease + timedelta(seconds=timing.budget + timing.pause) < timing.outage


@pytest.mark.parametrize(("heartbeat", "sweep_every"), PAIRS)
def test_b1_the_lease_of_a_sender_outlasts_its_own_pause(heartbeat: float, sweep_every: float) -> None:
    timing = Timing(heartbeat=heartbeat, sweep_every=sweep_every)

    assert timing.hold <= timing.lease
    assert timing.hold >= min(timing.lease, timedelta(seconds=2 * sweep_every))
