"""Every point at which a process can die, and the cases that are made of them.

A point is ``<name>:<moment>``: its name is that of a statement, of the commit of what began with one, of a message
published or acknowledged, or of a part of an execution. Names come from the library's source (see `statements`), so
one that is new has to be passed by some workload, or to be explained here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.faults.boundaries.detours import DETOURS
from tests.faults.boundaries.planned_faults import How
from tests.faults.boundaries.runs import LOOKS, RUN_DETOURS, RUNS
from tests.faults.boundaries.statements import built, named
from tests.faults.boundaries.workloads import LOOP, ON_THE_WAY, SWEPT, Workload

WORKLOADS: tuple[Workload, ...] = (*ON_THE_WAY, *RUNS, *DETOURS, *RUN_DETOURS)

#: What is no statement: an execution's parts, what is published (by Celery's chain or by the loop), what is acked.
OTHERS = frozenset(
    {
        "task",
        "body",
        "effect",
        "publish action by chain",
        "publish action by loop",
        "publish compensation by chain",
        "publish compensation by loop",
        "publish callback by chain",
        "publish action by filler",
        "publish compensation by filler",
        "ack of action",
        "ack of compensation",
        "ack of callback",
        # The application's own transaction, which a start joins or a step completes in.
        "INSERT ledger",
        "SAVEPOINT",
        "RELEASE SAVEPOINT",
    }
)

#: Points that no workload passes, each with its reason.
EXPLAINED: dict[str, str] = {
    "FAILED_BELOW": "a read, of what lists the sagas that wait for a person",
    "CAME_TOO_LATE": "a read, of one who sent a signal and asks what came of it",
    "COUNT_DOUBTS": "a read, of `doubtful`",
    "COUNT_IN_FLIGHT": "a read, after which a start is refused: nothing has been written by then",
    "GIVE_LEASE_BACK": "of one whom the broker refuses, or who sweeps by hand: its lease is over in a moment anyhow",
    "FORGET_OLD_WORKERS": "one statement, after which others are forgotten too; the next pass does it",
    "GO_ON": "one statement, of a pass that takes long; the next one says the same",
    "HAS_WRITTEN": "a read, of contrib alone: it tells Flask whether a transaction of the application's is open",
    "HASTEN": "of `sagas.testing` alone: one statement, by which steps are due that are due anyhow",
    **dict.fromkeys(
        (
            *("DELETE saga_instance", "DELETE saga_inbox", "DELETE saga_lock", "UPDATE saga_lock"),
            *("DELETE saga_handler", "DELETE saga_alarm"),
        ),
        "of a framework's test cases alone: one transaction, after which nothing is left",
    ),
    "HEADERS": "a read, where a process publishes for a saga of which it has seen no row",
    "INTRODUCE_WORKER": "of a worker that begins, for its neighbours to read; the next one says it anew",
    **dict.fromkeys(
        ("LOCK_DUE", "WAKE_PLAIN"),
        "of a process that knows the plan already: one transaction for a batch, which its death leaves as it was",
    ),
    "LOCKS_OF": "a read, of handles",
    "OF_OTHER_RELEASES": "a read, of `check`",
    "PARKED": "a read, of `check`",
    "PULSE": "one statement, of pools of greenlets alone: the next one makes up for it",
    "LOAD_FIRST": "a read, of a run that a step starts after more events have come for it than one look numbers",
    "UNHEARD": "a read, of `check` and `show`",
    **dict.fromkeys(("CORRELATED", "CORRELATION_OF"), "a read, of handles: which instances belong together"),
    **dict.fromkeys(
        (
            "COUNT_DEAD",
            "COUNT_UNDELIVERED",
            "DEAD",
            "HAS_LETTERS",
            "IS_A_SAGA",
            "IS_STARTED_SO",
            "IS_THE_SAME",
            "REGISTERED",
            "SAMPLES",
            "STANDING",
            "UNDELIVERED",
        ),
        "a read, of choreographies: of those who publish, look at letters or check stored events",
    ),
    **dict.fromkeys(("PAUSED", "SINCE", "STANDING"), "a read, of those who are told how choreographies stand"),
    **dict.fromkeys(
        ("NOTE_DEATH", "RAISE_ALARM", "RESUME", "TAKE_ALARMS", "TAKE_PROBE"),
        "one statement after the commit that it is about: the next letter or success says it anew; letters stay listed",
    ),
    "DEPTH": "a read, within the transaction of a completion that publishes",
    "EXPORT": "within the transaction that numbers the events, of runs with a bridge (`tests/integration/bridges`)",
    **dict.fromkeys(
        ("LOCK_STREAM", "IMPORT", "NEXT", "TAKE", "MISSING"),
        "one transaction, before a message is confirmed: it comes again (see `tests/integration/bridges`)",
    ),
    **dict.fromkeys(
        ("DUE", "SENT", "SKIPPED", "RECEIVED"),
        "of a bridge's process: what is sent and not known to be received is sent again, and is taken once",
    ),
    **dict.fromkeys(
        ("SETTLE_REFUSAL", "CLOSED", "DROPPED", "ENTRIES", "HOW_BRIDGES_STAND", "OPENED", "SEND_AGAIN"),
        "of those who look at bridges: one statement, whose loss a person sees",
    ),
    **dict.fromkeys(
        ("HURRY", "HURRY_ONE", "IS_PAUSED"), "one statement: what it did not reach begins when its pause is over"
    ),
    "REGISTER_GRAPH": "one statement, of a worker that begins; each that begins does it",
    "UNPARK": "one statement, of a worker that begins: what it leaves waits a little longer",
    "WHERE_HOME_IS": "a read, of workers that begin and of beat",
    "WORKERS_ALIVE": "a read, of `check` and of workers that begin",
    **dict.fromkeys(
        (
            "CUT_OFF",
            "PICK_PURGEABLE",
            "LOCK_CHILDREN",
            "LOOK_AT_MEMBERS",
            "PURGE",
            "KEEP_KEYS",
            "FORGET_ABANDONED_MAIL",
            "FORGET_IMPORTS",
        ),
        "of a purge alone: one transaction for whole families of what has ended; the next purge goes on",
    ),
    "SELECT saga_event": "a read, of histories",
    "ack of sweep": "acknowledged before it runs, so its loss is that of a sweep, which the next one makes up for",
    "publish sweep by chain": "beat's; the next one is sent a moment later",
}


def names() -> frozenset[str]:
    """Everything that has a name, without the commits: they are called by what they began with."""
    return frozenset(named().values()) | built() | OTHERS


def passed(workload: Workload) -> frozenset[str]:
    return workload.points | workload.without_saga | {fault.point for fault in workload.first}


def name_at(point: str) -> str:
    """The name in ``<site> | <name>:<moment>``."""
    return point.partition(" | ")[2].rpartition(":")[0]


def site_of(point: str) -> str:
    return point.partition(" | ")[0]


def in_words(point: str) -> str:
    return point.replace(" | ", "-").replace(" ", "_")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A workload whose process dies at the n-th passage of a point."""

    workload: Workload
    point: str
    nth: int = 1
    how: How = How.PROCESS
    then: str = ""  # and once more at this one, if somebody comes there

    @property
    def is_without_saga(self) -> bool:
        return self.point in self.workload.without_saga

    @property
    def ends_worker(self) -> bool:
        """It needs a worker for itself."""
        return self.how is How.GROUP or site_of(self.point) in IN_PARENT

    @property
    def stands_for_later(self) -> bool:
        """The first of its point, also for the passages that are no cases of their own."""
        usual = How.GROUP if site_of(self.point) in IN_PARENT else How.PROCESS
        return not self.then and self.how is usual and self.nth == self.workload.nths_of(self.point)[0]

    def __str__(self) -> str:
        how = {How.GROUP: "-worker", How.PROCESS: "", How.REFUSED: "-refused"}[self.how]
        number = f"-{self.nth}" if self.nth > 1 else ""
        then = f"-then-{in_words(self.then)}" if self.then else ""
        return f"{self.workload.name}-{in_words(self.point)}{number}{how}{then}"


#: The parent of a pool dies as its container does, with all children; here it dies alone, and its orphans run on.
ALONE = ("straight-parent-ack_of_action:before", "heartbeat-heartbeat-HEARTBEAT:before")
IN_PARENT = ("parent", "heartbeat", "timer", "filler")
IN_CHILD = ("action", "compensation", "callback", "sweep")
#: Of these every point is a case by default. Of the others only one of those that are alike: between two of its marks
#: (a commit, a publish, an effect, an ack) the world looks the same wherever a process dies.
WHOLE = ("straight", "compensated", "unsent", "run", "run-cancelled", "run-published")
IN_A_TRANSACTION = frozenset({*LOOP[:-1], *SWEPT[:-1], *LOOKS})
BETWEEN_MARKS = frozenset(
    {
        "task:before",
        "task:after",
        "body:before",
        "body:after",
        "effect:before",
        "RECORDS_OF:before",
        "RECORDS_OF:after",
        "COMPLETE:before",
        "ack of action:before",
    }
)
#: Whose worker dies as a whole at points of the child too, with ``--every-boundary``, and which die at two points.
CORE = ("straight", "compensated", "branches", "a-branch-fails", "branches-undone")


def cases(*, every: bool) -> Iterator[Case]:
    """What is run by default, or everything."""
    for workload in WORKLOADS:
        points = sorted(workload.points | workload.without_saga if every else few(workload))
        for index, point in enumerate(points):
            in_parent = site_of(point) in IN_PARENT
            for nth in workload.nths_of(point):
                case = Case(workload=workload, point=point, nth=nth, how=How.GROUP if in_parent else How.PROCESS)
                yield case
                alone = replace(case, how=How.PROCESS)
                if in_parent and (every or str(alone) in ALONE):
                    yield alone
                if every and not in_parent:
                    yield replace(case, then=point)
                if every and site_of(point) in IN_CHILD and workload.name in CORE:
                    yield replace(case, how=How.GROUP)
                    other = points[(index + len(points) // 2) % len(points)]
                    if site_of(other) in IN_CHILD:
                        yield replace(case, then=other)


def few(workload: Workload) -> frozenset[str]:
    """Those that no other one stands for."""
    if workload.few:
        return workload.few
    mine = (workload.points | workload.without_saga) - workload.besides
    if workload.name in WHOLE:
        return mine
    marks = frozenset(
        point
        for point in mine
        if name_at(point) not in IN_A_TRANSACTION and point.partition(" | ")[2] not in BETWEEN_MARKS
    )
    # A death before one is the death after another, which came before it.
    return frozenset(point for point in marks if point.removesuffix(":before") + ":after" not in marks)
