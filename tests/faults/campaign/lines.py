"""Cables that are cut, swallow everything, lose the answers, or are slow; of one process or of everybody."""

from typing import TYPE_CHECKING

from tests.faults.campaign.fault_environment import FaultEnvironment
from tests.faults.campaign.faults import Course, fault
from tests.faults.campaign.network import Condition

if TYPE_CHECKING:
    from tests.faults.campaign.fault_runner import Strike
    from tests.faults.campaign.recoveries import Recoveries

WHAT_HAPPENS = {
    Condition.CUT: "cut",
    Condition.HOLE: "silent",
    Condition.MUTE: "without answers",
    Condition.SLOW: "slow",
}


def make(end: str, condition: Condition) -> None:
    @fault(f"cable to the {end} {WHAT_HAPPENS[condition]}", "cables", subject=f"cable {end}", weight=0.6)
    def spoil(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
        cables = environment.cables_to(end)
        if environment.dice.random() < 0.6:
            cables = [environment.dice.choice(cables)]
        strike.detail = cables[0].name if len(cables) == 1 else "everybody's"
        try:
            for cable in cables:
                cable.set(condition, environment.dice.choice([0.02, 0.1, 0.3]))
            yield environment.settings.heartbeat * environment.dice.choice([0.5, 2.0, 5.5])
        finally:
            for cable in cables:
                cable.set(Condition.GOOD)


for _end in ("broker", "database"):
    for _condition in WHAT_HAPPENS:
        make(_end, _condition)


@fault("all connections to the broker reset", "cables", weight=1, quick=True)
def reset_broker(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    for cable in environment.cables_to("broker"):
        cable.reset()
    yield from ()


@fault("all connections to the database reset", "cables", weight=1, quick=True)
def reset_database(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    for cable in environment.cables_to("database"):
        cable.reset()
    yield from ()
