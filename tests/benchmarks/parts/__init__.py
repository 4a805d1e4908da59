"""The parts of the benchmark: each measures one thing and returns its table."""

from collections.abc import Callable

from tests.benchmarks.parts.backlog import backlog, memory
from tests.benchmarks.parts.deliveries import deliveries
from tests.benchmarks.parts.drains import throughput
from tests.benchmarks.parts.idle import idle
from tests.benchmarks.parts.latency import latency
from tests.benchmarks.parts.messages import messages
from tests.benchmarks.parts.plan import LONG, QUICK, USUAL, Plan, Size
from tests.benchmarks.parts.processes import processes
from tests.benchmarks.parts.sweep import sweep
from tests.benchmarks.table import Table

__all__ = ["PARTS", "Plan", "Size", "USUAL", "LONG", "QUICK"]

PARTS: dict[str, Callable[[Plan], Table]] = {
    "throughput": throughput,
    "deliveries": deliveries,
    "processes": processes,
    "latency": latency,
    "messages": messages,
    "idle": idle,
    "sweep": sweep,
    "memory": memory,
    "backlog": backlog,
}
