"""Who is compared with whom."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from celery import Celery

from tests.benchmarks.applications import ours as our_module
from tests.benchmarks.applications.choreographies import BESIDE, CHAIN, FAN, LONGER
from tests.benchmarks.applications.noted_times import BEGAN, BENCH, GO, TIMES
from tests.benchmarks.bench_servers import Run
from tests.benchmarks.processes import Program
from tests.benchmarks.starting import Application

BARE = "tests.benchmarks.applications.bare"
OURS = "tests.benchmarks.applications.ours"
CELERY_SAGA = "tests.benchmarks.applications.celery_saga_shop"
DBOS = "tests.benchmarks.applications.dbos_shop"
#: Of each contender, whatever they run in.
PROCESSES = 2


def add_consumer(run: Run) -> float:
    """Tell a Celery worker to take what waits in the second queue too. Returns when."""
    with Celery(broker=run.servers.broker_url, set_as_current=False) as remote:
        began = time.time()
        answered = remote.control.add_consumer(BENCH, reply=True, limit=1, timeout=30)
    assert answered, "no worker answered"
    return began


def register_queue(run: Run) -> None:
    """Tell processes of DBOS to look for that queue. They do within a second, so that the first step says when."""
    with run.broker(TIMES) as noted_times:
        noted_times.delete(BEGAN)
        noted_times.rpush(GO, *range(PROCESSES))


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One line of the table.

    Attributes:
        shape: what its application starts; see there.
        against: the name of the contender that its ratios are to; its own name for those that are the measure.
        executors: its processes, not started yet.
        release: tells its executors to take what waits in the second queue. Returns when; None where the first step
            says it.
    """

    name: str
    application: Application
    length: int = 3
    shape: str = "chain"
    against: str = "bare chain, late acks"
    executors: Callable[[Run, Application], list[Program]] = field(repr=False)
    release: Callable[[Run], float | None] = add_consumer

    def what(self, queue: str) -> str:
        return f"{self.shape} {queue} {self.length}"


def worker_of(*arguments: str) -> Callable[[Run, Application], list[Program]]:
    def executors(run: Run, application: Application) -> list[Program]:
        options = arguments or ("-c", str(PROCESSES))
        given = dict(application.environment)
        return [run.worker(application.module, "worker", *options, python=application.python, **given)]

    return executors


def own_processes(run: Run, application: Application) -> list[Program]:
    """As many processes as a pool has, each the module itself."""
    return [
        run.program(f"executor{number}", ["-m", application.module], python=application.python)
        for number in range(PROCESSES)
    ]


def bare(name: str, length: int = 3, shape: str = "chain", acks: str = "late", against: str = "") -> Contender:
    application = Application(module=BARE, environment=(("SAGAS_BENCH_ACKS", acks),))
    return Contender(
        name=name,
        application=application,
        length=length,
        shape=shape,
        against=against or name,
        executors=worker_of(),
    )


def ours(name: str, *pool: str, length: int = 3, shape: str = "chain", continuation: str = "") -> Contender:
    application = Application(module=OURS, environment=(("SAGAS_BENCH_CONTINUATION", continuation),))
    suffix = "" if length == 3 else f", {length} steps"
    return Contender(
        name=name + suffix,
        application=application,
        length=length,
        shape=shape,
        against=f"bare chain, late acks{suffix}",
        executors=worker_of(*(pool or ("-c", str(PROCESSES)))),
    )


def deliveries() -> list[Contender]:
    """Choreographed runs, and the saga whose steps their deliveries are compared with: ``length`` is how many."""
    step = ours("sagas", length=CHAIN)
    shapes = {
        f"a run of {CHAIN} events in a chain": ("events", CHAIN),
        f"a run of {LONGER} events, {BESIDE} handlers each": ("heard", LONGER * BESIDE),
        f"a run of one event for {FAN} handlers": ("fan", FAN),
    }
    runs = [replace(step, name=name, shape=shape, length=length) for name, (shape, length) in shapes.items()]
    return [replace(one, against=step.name) for one in (step, *runs)]


def contenders(peers: str | None, longer: Sequence[int] = (10, 50)) -> list[Contender]:
    """All of them.

    Args:
        peers: the Python in whose environment the other libraries are; without one they are left out.
        longer: numbers of steps beside three, for the bare chain and for sagas.
    """
    late = "bare chain, late acks"
    threads = ("-P", "threads", "-c", str(PROCESSES))
    found = [
        bare("bare chain, early acks", acks="early", against=late),
        bare(late),
        bare("chain with a row by hand", shape="rows", against=late),
        ours("sagas"),
        ours("sagas, threads", *threads),
        ours("sagas, undoing 3", shape="back"),
    ]
    if our_module.CAN_CONTINUE_INLINE:
        found += [ours("sagas, inline", continuation="inline")]
        found += [ours("sagas, inline, threads", *threads, continuation="inline")]
    if peers is not None:
        celery_saga = Contender(
            name="celery-saga", application=Application(module=CELERY_SAGA, python=peers), executors=worker_of()
        )
        found += [
            celery_saga,
            replace(celery_saga, name="celery-saga, undoing 3", shape="back"),
            Contender(
                name="DBOS",
                application=Application(module=DBOS, python=peers),
                executors=own_processes,
                release=register_queue,
            ),
        ]
    for length in longer:
        found += [bare(f"{late}, {length} steps", length), ours("sagas", length=length)]
        if our_module.CAN_CONTINUE_INLINE:
            found += [ours("sagas, inline", length=length, continuation="inline")]
    return found
