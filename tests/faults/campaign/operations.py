"""What people and machines do to a running system: releases, spoilt rows, wrong clocks, lost heartbeats."""

from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.campaign.fault_environment import FaultEnvironment
from tests.faults.campaign.faults import Course, NotNow, awake, fault
from tests.faults.campaign.kills import leave

if TYPE_CHECKING:
    from tests.faults.campaign.fault_runner import Strike
    from tests.faults.campaign.recoveries import Recoveries

SPOIL = """
WITH victim AS (
    SELECT id FROM sagas.saga_instance
    WHERE status IN ('pending', 'running', 'compensating') AND saga IN ('transfer', 'purchase', 'basket', 'approval')
    ORDER BY random() LIMIT 1 FOR UPDATE
), left_out AS (INSERT INTO bank.excluded SELECT id, %s FROM victim ON CONFLICT DO NOTHING)
UPDATE sagas.saga_instance SET {change} WHERE id = (SELECT id FROM victim) RETURNING id::text
"""
SPOILT = {
    "a plan that is none": "plan = '[]'",
    "an empty plan": "plan = '{}'",
    "a task that nobody knows": """plan = jsonb_set(plan, '{steps,1,task}', '"nobody.knows"')""",
    "data that is a list": "data = '[1]'",
    "a status that its steps contradict": "status = 'compensating', pending = 0",
    "too much pending": "pending = pending + 5",
    "a plan from the future": """plan = jsonb_set(plan, '{steps,0,kind}', '"quantum"')""",
}


@fault("new version deployed, one worker after the other", "deploys", subject="version", weight=1.0)
def deploy(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    """Old and new run side by side; the old ones get messages of tasks that they do not know."""
    environment.release += 1
    strike.detail = f"release {environment.release}"
    processes = [*environment.workers, *environment.beats, environment.starter]
    environment.dice.shuffle(processes)
    for kept in processes:
        kept.environment["CAMPAIGN_RELEASE"] = str(environment.release)
    left = list(processes)
    try:
        while left:
            kept = left.pop()
            if kept.pid and not kept.frozen:
                yield from leave(kept, grace=2.0)
    finally:
        for kept in left:
            kept.kill()


@fault("poison row", "poison", weight=1.0, quick=True)
def spoil_row(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    what = environment.deal(SPOILT)
    found = environment.ask(SPOIL.replace("{change}", SPOILT[what].replace("%", "%%")), what)
    if not found:
        raise NotNow
    strike.detail = f"{what}: {found[0][0]}"
    yield from ()


@fault("all heartbeats an hour old at once", "operations", weight=1.0, quick=True)
def age_heartbeats(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    aged = "UPDATE sagas.saga_worker SET heartbeat_at = heartbeat_at - interval '1 hour' WHERE dead_at IS NULL"
    if environment.ask(aged) is None:
        raise NotNow
    yield from ()


@fault("all heartbeats suspected at once", "operations", weight=0.5)
def suspect_all(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    suspected = """
        UPDATE sagas.saga_worker SET heartbeat_at = heartbeat_at - interval '1 hour',
               suspected_at = clock_timestamp() - interval '1 hour' WHERE dead_at IS NULL"""
    if environment.ask(suspected) is None:
        raise NotNow
    yield from ()


def faketime() -> Path | None:
    """The library of Debian's package `faketime`, if it is there."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


@fault("a worker's clock an hour wrong", "clocks", subject="clock", weight=0.7)
def wrong_clock(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    library = faketime()
    if library is None:
        raise NotNow
    victim = environment.dice.choice(
        awake(environment, [*environment.workers, *environment.beats, environment.starter])
    )
    shift = environment.dice.choice(["+1h", "-1h"])
    strike.detail = f"{victim.name} {shift}"
    victim.preload = {"LD_PRELOAD": str(library), "FAKETIME": shift, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    try:
        yield from leave(victim, grace=3.0)
        yield 20.0
    finally:
        victim.preload = {}
        victim.kill()
