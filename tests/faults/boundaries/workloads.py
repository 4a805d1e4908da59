"""Sagas of every shape, and the points that each passes on its way: the map that `points` makes cases of.

A healthy run has to pass exactly what its workload says (`test_points`), so nothing here can go stale unseen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sagas import Choreography, Saga, SagaStatus
from tests.faults.boundaries import stories
from tests.faults.boundaries.planned_faults import PlannedFault
from tests.faults.boundaries.stories import Story
from tests.support import scripted, shapes

COMPLETED, COMPENSATED = SagaStatus.COMPLETED, SagaStatus.COMPENSATED
MOMENTS = ("before", "after")

#: An execution, from its message to its end.
RUN = ("task", "CLAIM", "body", "effect")
#: The loop: lock, load, decide, save.
LOOP = ("LOCK_INSTANCE", "SAVE", "commit of LOCK_INSTANCE")
SWEPT = ("LOCK_INSTANCE_IF_FREE", "LOAD", "SAVE", "commit of LOCK_INSTANCE_IF_FREE")
#: What reading a handle takes.
LOOK = ("SELECT saga_instance", "SET TRANSACTION", "SELECT saga_step", "commit of SET TRANSACTION")
#: A process reads a plan that it has not met.
MAYBE = "SELECT saga_instance"


def at(site: str, *names: str) -> frozenset[str]:
    """Both moments of all of these."""
    return frozenset(f"{site} | {name}:{moment}" for name in names for moment in MOMENTS)


@dataclass(frozen=True, kw_only=True, eq=False)
class Workload:
    """One kind of saga, and how it goes if nobody dies.

    Args:
        story: what is done to it, from its start to its end.
        points: what it passes on its way, for sure.
        besides: points that are cases of others already; here they are only with ``--every-boundary``.
        sometimes: what it may pass too, as its processes happen to meet.
        first: what happens to it before its process can die at a point: the way to points that lie off the way.
        nths: which passages are cases, of the points that it passes `often`; of the others it is the first.
        without_saga: points of the sweep itself or of a heartbeat, which belong to no saga.
        in_order: its undos run one after the other.
        exact: what is lost with a process can be told by the points that it passed.
        never_twice: a step that must not be run twice: if its process dies over it, the saga turns back.
        ledger: what its steps write in transactions of their own, each exactly once.
        tries: how often a step of it is tried at most, if nobody dies.
        needs_a_person: it fails on its way.
        sweep_fails: the sweep notes that it could not look at it.
        few: of points that are like others, those that are cases by default.
        alone: it makes a line, in which the messages of others that run beside it would wait, too.
        events: of a choreographed run, the types of its events by their numbers: each is there once.
    """

    name: str
    saga: Saga | Choreography
    script: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    ends: SagaStatus = COMPLETED
    story: Story = stories.run_through
    points: frozenset[str] = frozenset()
    besides: frozenset[str] = frozenset()
    sometimes: frozenset[str] = frozenset()
    first: Sequence[PlannedFault] = ()
    nths: Sequence[int] = (1,)
    often: frozenset[str] = frozenset()
    without_saga: frozenset[str] = frozenset()
    in_order: bool = True
    exact: bool = True
    never_twice: str | None = None
    ledger: Sequence[str] | None = None
    tries: int = 1
    needs_a_person: bool = False
    sweep_fails: bool = False
    few: frozenset[str] = frozenset()
    alone: bool = False
    events: Sequence[str] = ()

    @property
    def input(self) -> dict[str, Any]:
        return {"script": dict(self.script), **self.data}

    def nths_of(self, point: str) -> Sequence[int]:
        return self.nths if point in self.often else (1,)


ACKS = at("parent", "ack of action")
ACTIONS = at("action", *RUN, "COMPLETE", "publish action by chain") | ACKS
SAYS_NO = at("action", *LOOP, "publish callback by chain") | at("parent", "ack of callback")
TURNS_BACK = at("callback", "task", *LOOP, "publish compensation by loop")
UNDOES = at("compensation", *RUN, "RECORDS_OF", *LOOP) | at("parent", "ack of compensation")
UNDOES_NEXT = at("compensation", "publish compensation by chain")

straight = Workload(name="straight", saga=scripted.three, points=ACTIONS)
compensated = Workload(
    name="compensated",
    saga=scripted.three,
    script={"c": "no"},
    ends=COMPENSATED,
    points=ACTIONS | SAYS_NO | TURNS_BACK | UNDOES | UNDOES_NEXT,
    besides=straight.points,
)
#: One message runs all of it: the second claim comes without one.
AT_ONCE = at("action", *RUN, "COMPLETE") | ACKS
inline = Workload(name="inline", saga=shapes.inline, points=AT_ONCE, nths=(1, 2), often=at("action", *RUN, "COMPLETE"))
inline_compensated = Workload(
    name="inline-compensated",
    saga=shapes.inline,
    script={"c": "no"},
    ends=COMPENSATED,
    points=AT_ONCE | SAYS_NO | TURNS_BACK | UNDOES | UNDOES_NEXT,
    besides=AT_ONCE | TURNS_BACK | UNDOES | UNDOES_NEXT,
)
#: The eighth completion is the join.
branches = Workload(
    name="branches",
    saga=shapes.eight,
    points=at("action", *RUN, "COMPLETE", "publish action by loop") | ACKS,
    nths=(1, 8),
    often=at("action", *RUN, "COMPLETE") | ACKS,
)
a_branch_fails = Workload(
    name="a-branch-fails",
    saga=shapes.eight,
    script={"b3": "sleep:0.1,no"},
    ends=COMPENSATED,
    points=at("action", "task", "CLAIM", "body", *LOOP)
    | at("action", "publish callback by chain", "publish compensation by loop")
    | at("parent", "ack of action", "ack of callback")
    | at("callback", "task", "LOCK_INSTANCE", "commit of LOCK_INSTANCE")
    | at("action", "effect", "COMPLETE")
    | UNDOES
    | UNDOES_NEXT,
    # Of its worker's death too: what a silent worker holds is waited for, to the end of its time.
    besides=at("action", "effect", "COMPLETE")
    | at("parent", "ack of action", "ack of callback")
    | UNDOES
    | UNDOES_NEXT,
    # The message of a branch that was never begun finds it voided.
    sometimes=at("callback", "SAVE")
    | at("action", "SELECT saga_step")
    | at("compensation", "publish compensation by loop"),
)
branches_undone = Workload(
    name="branches-undone",
    saga=shapes.beside,
    script={"e": "no"},
    ends=COMPENSATED,
    points=at("action", *RUN, "COMPLETE", "publish action by loop")
    | at("parent", "ack of action")
    | SAYS_NO
    | TURNS_BACK
    | UNDOES
    | UNDOES_NEXT,
    besides=compensated.points | branches.points,
)
undone_together = Workload(
    name="undone-together",
    saga=shapes.independent,
    script={"c": "no"},
    ends=COMPENSATED,
    points=ACTIONS | SAYS_NO | TURNS_BACK | UNDOES,
    besides=ACTIONS | SAYS_NO | at("parent", "ack of compensation"),
    nths=(1, 2),
    often=UNDOES,
    in_order=False,
)
tried_again = Workload(
    name="tried-again",
    saga=scripted.three,
    script={"b": ["flaky"]},
    points=ACTIONS | at("action", *LOOP, "publish action by loop"),
    besides=ACTIONS,
    tries=2,
)
undo_tried_again = Workload(
    name="undo-tried-again",
    saga=scripted.three,
    script={"c": "no", "undo b": ["flaky"]},
    ends=COMPENSATED,
    points=compensated.points | at("compensation", "publish compensation by loop"),
    besides=compensated.points,
    tries=2,
)
windows = Workload(
    name="windows",
    saga=scripted.ten,
    points=ACTIONS | at("action", "publish action by loop"),
    besides=ACTIONS,
)
undo_windows = Workload(
    name="undo-windows",
    saga=scripted.ten,
    script={"s9": "no"},
    ends=COMPENSATED,
    points=compensated.points
    | at("action", "publish action by loop")
    | at("compensation", "publish compensation by loop"),
    besides=compensated.points | windows.points,
)
pivot = Workload(name="pivot", saga=scripted.pivoted, points=ACTIONS, besides=ACKS, nths=(2,), often=ACTIONS)
own_transaction = Workload(
    name="own-transaction",
    saga=scripted.three,
    script={"b": "write:x"},
    points=ACTIONS | at("action", "INSERT ledger", "commit of INSERT ledger"),
    besides=ACTIONS,
    ledger=["x"],
)
#: Its process may die between what it did and what it hands over to its undo.
recording = Workload(
    name="recording",
    saga=scripted.three,
    script={"b": "record:ch-1", "c": "no"},
    ends=COMPENSATED,
    points=compensated.points | at("action", "ADD_RECORD"),
    besides=compensated.points,
)
#: Dying in its second step, which is not to be run twice.
careful = Workload(
    name="careful",
    saga=scripted.careful,
    points=ACTIONS,
    besides=ACKS,
    nths=(2,),
    often=ACTIONS,
    never_twice="b",
)
#: The last completion of two lanes, the fifth, is the join.
lanes = Workload(
    name="lanes",
    saga=shapes.lanes,
    points=at("action", *RUN, "COMPLETE", "publish action by chain", "publish action by loop")
    | at("parent", "ack of action"),
    besides=ACTIONS - at("action", "COMPLETE", "publish action by chain"),
    nths=(5,),
    often=at("action", "COMPLETE"),
)
clash = Workload(
    name="clash",
    saga=shapes.clashing,
    data={"gifts": {"a": {"given": 1}, "b": {"given": 2}}},
    ends=COMPENSATED,
    # The completion of one of the two records nothing.
    exact=False,
    points=at("action", *RUN, "COMPLETE", "OWN_TOKEN", *LOOP)
    | at("action", "publish compensation by loop", "publish callback by chain")
    | at("callback", "task", "LOCK_INSTANCE", "commit of LOCK_INSTANCE")
    | at("parent", "ack of action", "ack of callback")
    | UNDOES
    | UNDOES_NEXT,
    besides=compensated.points | a_branch_fails.points,
    sometimes=at("callback", "SAVE"),
)
hurt_by_nobody = Workload(
    name="best-effort",
    saga=shapes.noted,
    script={"n": "no"},
    points=ACTIONS | SAYS_NO | at("callback", "task", *LOOP, "publish action by loop"),
    besides=compensated.points,
)
not_wanted = Workload(
    name="not-wanted",
    saga=shapes.optional,
    points=at("action", *RUN, "COMPLETE", "publish action by chain", "publish action by loop")
    | at("parent", "ack of action"),
    besides=ACTIONS,
)
sleeping = Workload(
    name="sleeping",
    saga=shapes.sleepy,
    points=at("action", *RUN, "COMPLETE", *LOOP)
    | at("parent", "ack of action")
    | at("sweep", *SWEPT, "publish action by loop"),
    besides=ACTIONS,
    without_saga=at("sweep", "TAKE_DUE"),
)
a_child = Workload(
    name="a-child",
    saga=shapes.parent,
    points=at("action", *RUN, "COMPLETE", *LOOP, "DATA_AND_RESULTS", "INSERT saga_instance")
    | at("action", "MARK_READ", "publish action by loop")
    | at("parent", "ack of action"),
    besides=ACTIONS,
)
a_child_undone = Workload(
    name="a-child-undone",
    saga=shapes.parent,
    script={"b": "no"},
    ends=COMPENSATED,
    points=a_child.points
    | SAYS_NO
    | at("callback", "task", *LOOP, "PUT_INTO_INBOX")
    | UNDOES
    | at("compensation", "MARK_READ", "publish compensation by loop"),
    besides=a_child.points | SAYS_NO,
)
#: Their maps are whole: what they pass besides is a mistake of the map.
ON_THE_WAY: tuple[Workload, ...] = (
    straight,
    compensated,
    inline,
    inline_compensated,
    branches,
    a_branch_fails,
    branches_undone,
    undone_together,
    tried_again,
    undo_tried_again,
    windows,
    undo_windows,
    pivot,
    own_transaction,
    recording,
    careful,
    lanes,
    clash,
    hurt_by_nobody,
    not_wanted,
    sleeping,
    a_child,
    a_child_undone,
)
