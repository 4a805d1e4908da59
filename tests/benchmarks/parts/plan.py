"""What is asked of the parts, and how much of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.bench_servers import BenchServers
from tests.benchmarks.contenders import Contender
from tests.benchmarks.rounds import Amount


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of everything but the rounds.

    Attributes:
        latencies: sagas that are started one after the other.
        memory: sagas that one worker runs.
        stuck: sagas that a pass of the sweep has to move.
        ended: rows of ended ones beside them.
        idle_seconds: for how long nothing is done.
        backlogs: a short and a long queue.
        processes: of a worker, from few to many.
    """

    latencies: int = 200
    memory: int = 2_000
    stuck: int = 1_000
    ended: int = 100_000
    idle_seconds: float = 30.0
    backlogs: tuple[int, int] = (500, 10_000)
    processes: tuple[int, ...] = (1, 2, 4, 8)


USUAL = Size()
LONG = Size(memory=100_000, ended=10_000_000)
QUICK = Size(latencies=10, memory=60, stuck=20, ended=1_000, idle_seconds=5.0, backlogs=(20, 60), processes=(1, 2))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was asked for, and the servers for it."""

    bench_servers: BenchServers
    contenders: Sequence[Contender]
    amount: Amount
    size: Size

    def of_three_steps(self) -> list[Contender]:
        """Those that go forward through three steps."""
        return [one for one in self.contenders if one.length == 3 and one.shape != "back"]

    def chains(self) -> list[Contender]:
        """The bare chain with late acks, and sagas in a prefork worker, by message and inline."""
        names = ("bare chain, late acks", "sagas", "sagas, inline")
        return [one for one in self.contenders if one.name in names]
