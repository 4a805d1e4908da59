"""Workloads off a healthy saga's way: starts and operators that die, and what the sweep and the worker's parent do.

Their maps have what is theirs alone.

Each point of the sweep belongs to a saga that it has to find, or to nobody, when it only looks around.
"""

from sagas import SagaStatus
from tests.faults.boundaries import stories
from tests.faults.boundaries.planned_faults import How, PlannedFault
from tests.faults.boundaries.workloads import COMPENSATED, LOOK, LOOP, SWEPT, Workload, at
from tests.support import scripted, shapes

STARTS = at("start", "REGISTER_PLAN", "START", "publish action by loop")
OPERATORS_CHANGE = at("operator", "SELECT saga_instance", *LOOP)
#: What every pass begins with; and what it does to send what waits.
LOOKS_AROUND = ("LOOK_AROUND", "PICK_LOST")
FILLS = ("TAKE_LEASE", "PUT_LOST_BACK", "LOOK_AT_QUEUES", "FILL")
#: Its first message does not get out.
REFUSED = PlannedFault(point="start | publish action by loop:before", how=How.REFUSED)

FROM_OUTSIDE: tuple[Workload, ...] = (
    Workload(name="start", saga=scripted.three, story=stories.start_elsewhere, points=STARTS),
    Workload(
        name="start-in-a-transaction",
        saga=scripted.three,
        story=stories.start_in_a_transaction,
        points=STARTS
        | at("start", "INSERT ledger", "WHERE_AM_I", "SAVEPOINT", "RELEASE SAVEPOINT")
        # It looks whether the commit that was announced has come.
        | at("start", "commit of INSERT ledger", "SELECT saga_instance"),
    ),
    Workload(
        name="start-with-a-key-in-a-transaction",
        saga=scripted.three,
        story=stories.start_in_a_transaction_with_a_key,
        points=STARTS
        | at("start", "INSERT ledger", "WHERE_AM_I", "SAVEPOINT", "RELEASE SAVEPOINT")
        | at("start", "commit of INSERT ledger", "SELECT saga_instance", "LIMIT_LOCK_WAIT", "RESTORE_LOCK_WAIT"),
        besides=STARTS
        | at("start", "INSERT ledger", "WHERE_AM_I", "SAVEPOINT", "RELEASE SAVEPOINT")
        | at("start", "commit of INSERT ledger", "SELECT saga_instance"),
    ),
    Workload(
        name="start-anew",
        saga=scripted.three,
        story=stories.start_anew,
        points=STARTS | at("start", "RETIRE_ENDED", "commit of RETIRE_ENDED"),
    ),
    Workload(name="start-twice", saga=scripted.three, story=stories.start_twice, points=at("start", "FIND_CURRENT")),
    Workload(
        name="start-with-a-lock",
        saga=shapes.refusing,
        data={"account": "{id}"},
        story=stories.start_elsewhere,
        points=at(
            "start",
            "REGISTER_PLAN",
            "FIND_LOCKED",
            "START",
            *LOOP,
            "SERIALISE_RESOURCES",
            "GRANT",
            "AWAITS_LOCK",
            "WAKE_NEXT",
        )
        | at("start", "publish action by loop"),
    ),
    Workload(
        name="start-unsent",
        alone=True,
        saga=scripted.three,
        story=stories.start_elsewhere,
        first=(REFUSED,),
        points=at("start", "PUT_BACK"),
    ),
    Workload(
        name="signal",
        saga=shapes.approved,
        story=stories.signalled,
        points=at("operator", *LOOK, "PUT_INTO_INBOX", *LOOP) | at("operator", "MARK_READ", "publish action by loop"),
    ),
    Workload(
        name="cancel",
        saga=shapes.approved,
        ends=COMPENSATED,
        story=stories.cancelled,
        points=OPERATORS_CHANGE | at("operator", "publish compensation by loop"),
    ),
    Workload(
        name="operators-retry",
        saga=scripted.three,
        script={"c": "no", "undo b": "broken:mended"},
        ends=COMPENSATED,
        story=stories.retried_by_operator,
        points=OPERATORS_CHANGE | at("operator", "publish compensation by loop"),
        in_order=False,
        tries=5,  # four by itself, and the operator's
        needs_a_person=True,
    ),
    Workload(
        name="retried-under-a-limit",
        saga=shapes.limited_forward,
        script={"r": "broken:mended"},
        story=stories.retried_by_operator,
        points=OPERATORS_CHANGE
        | at("operator", "SERIALISE_RESOURCES", "TAKE_PLACE", "GRANT", "AWAITS_LOCK", "publish action by loop"),
        besides=OPERATORS_CHANGE | at("operator", "SERIALISE_RESOURCES", "GRANT", "AWAITS_LOCK"),
        tries=3,
        needs_a_person=True,
    ),
)

IN_LINE: tuple[Workload, ...] = (
    Workload(
        name="undone-with-a-lock",
        saga=shapes.locking,
        script={"b": "no"},
        data={"account": "{id}"},
        ends=COMPENSATED,
        points=at("callback", "MARK_ENDED")
        | at("compensation", "MARK_ENDED", "SERIALISE_RESOURCES", "RELEASE", "WAKE_NEXT")
        | at("compensation", "commit of SERIALISE_RESOURCES"),
    ),
    Workload(
        name="first-in-line",
        saga=shapes.locking,
        story=stories.first_in_line,
        points=at("action", "SERIALISE_RESOURCES", "RELEASE", "WAKE_NEXT", "commit of SERIALISE_RESOURCES"),
    ),
    Workload(
        name="next-in-line",
        saga=shapes.locking,
        story=stories.next_in_line,
        points=at("action", *LOOP, "SERIALISE_RESOURCES", "GRANT", "AWAITS_LOCK", "WAKE_NEXT", "MARK_READ")
        | at("action", "publish action by loop"),
    ),
    Workload(
        name="ended-and-died",
        saga=shapes.locking,
        story=stories.first_in_line,
        first=(PlannedFault(point="action | SERIALISE_RESOURCES:before"),),
        points=at("sweep", "SERIALISE_RESOURCES", "RELEASE", "WAKE_NEXT", "commit of SERIALISE_RESOURCES"),
        without_saga=at("sweep", "PICK_ENDED_HOLDERS"),
    ),
)

BESIDE_OTHERS: tuple[Workload, ...] = (
    # The second look of a parent at itself is the one that its child asks for.
    Workload(
        name="a-child-reports",
        saga=shapes.parent,
        points=at("action", *LOOP),
        nths=(2,),
        often=at("action", *LOOP),
    ),
    Workload(
        name="siblings-stopped",
        saga=shapes.cancelling,
        script={"a": "sleep:0.5,no", "b": "sleep:3"},
        ends=COMPENSATED,
        points=at("action", "STOP_RUNNING"),
    ),
)

#: Deaths that do not end: the losses have a budget.
POISON = "action | effect:after"
POISON_OF_AN_UNDO = "compensation | effect:after"
AGAIN_AND_AGAIN: tuple[Workload, ...] = (
    Workload(
        name="poison",
        saga=scripted.three,
        ends=COMPENSATED,
        first=(PlannedFault(point=POISON, nth=2), *(PlannedFault(point=POISON, turn=turn) for turn in (1, 2, 3))),
    ),
    Workload(
        name="poisoned-undo",
        saga=scripted.three,
        script={"c": "no"},
        ends=SagaStatus.FAILED,
        first=tuple(PlannedFault(point=POISON_OF_AN_UNDO, turn=turn) for turn in range(4)),
        needs_a_person=True,
    ),
    Workload(
        name="undo-in-its-own-transaction",
        saga=scripted.three,
        script={"c": "no", "undo b": "write:y"},
        ends=COMPENSATED,
        points=at("compensation", "INSERT ledger", "commit of INSERT ledger"),
    ),
)

SWEPT_UP: tuple[Workload, ...] = (
    Workload(
        name="unsent",
        alone=True,
        saga=scripted.three,
        story=stories.unsent,
        first=(REFUSED,),
        points=at("sweep", "publish action by filler"),
        without_saga=at("sweep", "task", "IS_SWEPT", *LOOKS_AROUND, *FILLS),
    ),
    Workload(
        name="undo-unsent",
        alone=True,
        saga=scripted.three,
        script={"c": "no"},
        ends=COMPENSATED,
        first=(PlannedFault(point="callback | publish compensation by loop:before", how=How.REFUSED),),
        points=at("callback", "PUT_BACK") | at("sweep", "publish compensation by filler"),
    ),
    Workload(
        name="unsent-again",
        alone=True,
        saga=scripted.three,
        story=stories.unsent,
        first=(REFUSED, PlannedFault(point="sweep | publish action by filler:before", how=How.REFUSED, turn=1)),
        points=at("sweep", "PUT_BACK"),
    ),
    Workload(
        name="lost-on-the-way",
        alone=True,
        saga=scripted.three,
        first=(PlannedFault(point="action | publish action by chain:before"),),
        points=at("sweep", "publish action by filler"),
    ),
    Workload(
        name="sweep-fails",
        saga=shapes.sleepy,
        first=(PlannedFault(point="sweep | LOAD:before", how=How.REFUSED),),
        points=at("sweep", "BACK_OFF"),
        sweep_fails=True,
    ),
    Workload(
        name="mail-for-the-gone",
        saga=scripted.three,
        story=stories.forgotten,
        points=at("sweep", "LOCK_INSTANCE_IF_FREE", "SELECT saga_instance", "FORGET_INBOX"),
        without_saga=at("sweep", "PICK_UNSEEN"),
    ),
    Workload(
        name="fallen-silent",
        saga=scripted.three,
        story=stories.fallen_silent,
        without_saga=at("sweep", "DECLARE_DEAD_WORKERS"),
    ),
)

#: Of these the whole worker dies, at points of its parent.
PARENTS: tuple[Workload, ...] = (
    Workload(
        name="heartbeat",
        saga=scripted.three,
        script={"b": ["sleep:1"]},
        story=stories.meanwhile,
        without_saga=at("heartbeat", "CLOCK", "HEARTBEAT"),
        few=at("heartbeat", "HEARTBEAT"),
    ),
    Workload(
        name="timer",
        saga=shapes.sleepy,
        points=at("timer", *SWEPT, "publish action by loop"),
        without_saga=at("timer", *LOOKS_AROUND, "TAKE_DUE"),
        few=frozenset({"timer | LOOK_AROUND:after", "timer | commit of LOCK_INSTANCE_IF_FREE:after"}),
    ),
    Workload(
        name="filler",
        saga=scripted.three,
        story=stories.unsent,
        first=(REFUSED,),
        points=at("filler", "publish action by filler"),
        without_saga=at("filler", *FILLS),
        # It dies with its lease; and what it has marked as sent is not.
        few=frozenset({"filler | TAKE_LEASE:after", "filler | FILL:after"}),
    ),
    Workload(
        name="lost-child",
        saga=scripted.three,
        first=(PlannedFault(point="action | effect:after"),),
        points=at("parent", "publish callback by chain", "ack of action"),
    ),
    Workload(
        name="goodbye",
        saga=scripted.three,
        script={"b": ["sleep:1"]},
        story=stories.says_goodbye,
        without_saga=at("parent", "SAY_GOODBYE"),
    ),
)

DETOURS: tuple[Workload, ...] = (*FROM_OUTSIDE, *IN_LINE, *BESIDE_OTHERS, *AGAIN_AND_AGAIN, *SWEPT_UP, *PARENTS)
