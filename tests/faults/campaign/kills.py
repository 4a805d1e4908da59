"""Processes killed, frozen and asked to leave."""

import os
import signal
from typing import TYPE_CHECKING

from tests.faults.campaign.fault_environment import FaultEnvironment
from tests.faults.campaign.faults import Course, NotNow, awake, fault
from tests.faults.campaign.processes import Kept

if TYPE_CHECKING:
    from tests.faults.campaign.fault_runner import Strike
    from tests.faults.campaign.recoveries import Recoveries


@fault("SIGKILL of a pool child", "kills", weight=30, quick=True)
def kill_child(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    children = [child for kept in awake(environment, environment.workers[:-1]) for child in kept.children()]
    if not children:
        raise NotNow
    os.kill(environment.dice.choice(children), signal.SIGKILL)
    yield from ()


@fault("SIGKILL of a whole worker", "kills", weight=12, quick=True)
def kill_worker(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    victim = environment.dice.choice(awake(environment, environment.workers))
    assert victim.pid is not None
    strike.detail = victim.name
    held = recoveries.before_killing(victim.pid)
    victim.kill()
    recoveries.killed(held)
    yield from ()


def kill_the_busiest(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    """A whole worker that holds something, while the others are up and awake."""
    workers = awake(environment, environment.workers, older_than=4)
    if len(workers) < len(environment.workers):
        raise NotNow
    held = {victim.name: recoveries.before_killing(victim.pid) for victim in workers if victim.pid}
    victim = max(workers, key=lambda kept: len(held.get(kept.name, [])))
    if not held.get(victim.name):
        raise NotNow
    victim.kill()
    recoveries.killed(held[victim.name])
    strike.detail = f"{victim.name}, which ran {len(held[victim.name])}"
    yield from ()


@fault("SIGKILL of a worker's parent alone", "kills", weight=3, quick=True)
def kill_parent(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    victim = environment.dice.choice(awake(environment, environment.workers[:-1]))
    strike.detail = victim.name
    victim.signal(signal.SIGKILL, whole=False)
    yield from ()


@fault("SIGKILL of beat", "kills", weight=1, quick=True)
def kill_beat(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    environment.dice.choice(awake(environment, environment.beats)).kill()
    yield from ()


@fault("SIGKILL of the starter", "kills", weight=3, quick=True)
def kill_starter(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    if not environment.starter.pid or environment.starter.age < 3:
        raise NotNow
    environment.starter.kill()
    yield from ()


@fault("SIGKILL of all workers at once", "kills", weight=1, quick=True)
def kill_all(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    for victim in awake(environment, environment.workers):
        victim.kill()
    yield from ()


# -- frozen, and awake again


@fault("SIGSTOP of a whole worker for longer than its lease", "freezes", weight=3, quick=True)
def freeze_worker(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    yield from frozen(
        environment, strike, environment.dice.choice(awake(environment, environment.workers, older_than=3))
    )


@fault("SIGSTOP of a worker's parent alone for longer than its lease", "freezes", weight=1.5)
def freeze_parent(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    yield from frozen(
        environment,
        strike,
        environment.dice.choice(awake(environment, environment.workers[:-1], older_than=3)),
        whole=False,
    )


@fault("SIGSTOP of a pool child for longer than a lease", "freezes", weight=1.5)
def freeze_child(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    children = [
        child for kept in awake(environment, environment.workers[:-1], older_than=3) for child in kept.children()
    ]
    if not children:
        raise NotNow
    victim = environment.dice.choice(children)
    signal_if_there(victim, signal.SIGSTOP)
    try:
        yield asleep(environment)
    finally:
        signal_if_there(victim, signal.SIGCONT)


@fault("SIGSTOP of all workers, awake together", "freezes", subject="everybody", weight=0.5)
def freeze_all(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    sleepers = awake(environment, environment.workers)
    for sleeper in sleepers:
        sleeper.freeze()
    try:
        yield asleep(environment)
    finally:
        for sleeper in sleepers:
            sleeper.thaw()


def frozen(environment: FaultEnvironment, strike: "Strike", sleeper: Kept, *, whole: bool = True) -> Course:
    strike.detail = sleeper.name
    sleeper.freeze(whole=whole)
    try:
        yield asleep(environment)
    finally:
        sleeper.thaw()


def asleep(environment: FaultEnvironment) -> float:
    """Longer than it takes to be declared dead: silent for over a heartbeat, and for a lease more."""
    return environment.settings.heartbeat * environment.dice.uniform(4.5, 7.0)


def signal_if_there(pid: int, signum: signal.Signals) -> None:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        pass


# -- asked to leave


@fault("SIGTERM of a worker (redeploy)", "deploys", weight=3, quick=True)
def redeploy(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    victim = environment.dice.choice(awake(environment, environment.workers))
    strike.detail = victim.name
    yield from leave(victim, grace=12.0)


@fault("SIGTERM, and SIGKILL a second later", "deploys", weight=3, quick=True)
def redeploy_in_haste(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    victim = environment.dice.choice(awake(environment, environment.workers))
    strike.detail = victim.name
    yield from leave(victim, grace=1.0)


def leave(victim: Kept, *, grace: float) -> Course:
    """SIGTERM; SIGKILL if it is still the same process after its grace."""
    leaving = victim.pid
    victim.signal(signal.SIGTERM, whole=False)
    yield grace
    if leaving is not None and victim.pid == leaving:
        victim.kill()
