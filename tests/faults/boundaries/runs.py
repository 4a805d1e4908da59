"""Choreographed runs and the points that they pass: published, numbered, delivered, undone, given up, answered."""

from functools import partial

from tests.faults.boundaries import run_stories
from tests.faults.boundaries.planned_faults import PlannedFault
from tests.faults.boundaries.run_stories import MANY
from tests.faults.boundaries.workloads import COMPENSATED, LOOP, SWEPT, Workload, at
from tests.support.choreographed import ring
from tests.support.publishing import announcing
from tests.support.started_on_events import depot
from tests.support.strict import strict

#: A delivery, from its message to its end.
DELIVERED = ("task", "CLAIM_DELIVERY", "body", "effect")
#: What a look at a run reads and writes beside its deliveries, in the transaction of the loop.
LOOKS = ("LOAD_ARRIVED", "LOAD_DONE", "LOAD_FIRST", "NUMBER", "RECORD", "SAVE_RUN")
LOOK = (*LOOP, "LOAD_ARRIVED", "SAVE_RUN")
#: A delivery that ends in the loop, with events.
ENDS = (*LOOK, "LOAD_DONE", "RECORD")

ACTS = at("action", *DELIVERED, "COMPLETE_DELIVERY", "publish action by loop") | at("parent", "ack of action")
FAILS = at("action", "publish callback by chain") | at("parent", "ack of callback")
#: The callback finds that what was given up is recorded already.
ASKS = at("callback", "task", "LOCK_INSTANCE", "LOAD_ARRIVED", "SAVE_RUN", "commit of LOCK_INSTANCE")
UNDOES = at("compensation", *DELIVERED, *ENDS) | at("parent", "ack of compensation")
#: With a business key, under which events may have come before.
STARTS = at("start", "START_RUN", "HAS_EARLY", "publish action by loop")
PUBLISHES = at("publisher", "PUBLISH", *LOOK, "NUMBER", "publish action by loop")
ANSWERS = at("operator", *LOOK)
IN_A_TRANSACTION = ("INSERT ledger", "WHERE_AM_I", "SAVEPOINT", "RELEASE SAVEPOINT", "commit of INSERT ledger")

#: Of a run that is shipped, of one whose payment is declined, and of one that turns back while it rests.
SHIPPED = ("Ordered", "Reserved", "Charged", "Shipped")
DECLINED = ("Ordered", "Reserved", "Declined", "Refused", "Cancelled")
TURNED = ("Ordered", "Reserved", "Cancelled")
NOTED = ("Ordered", "Reserved", "Noted", "Shipped")

a_run = partial(Workload, saga=ring)
begins = partial(Workload, saga=depot, data={"number": "{id}"})
resting = partial(a_run, script={"charge": "say:nothing"})

#: Their maps are whole.
RUNS: tuple[Workload, ...] = (
    a_run(name="run", points=ACTS, events=SHIPPED),
    a_run(
        name="run-declined",
        script={"charge": "say:declined"},
        ends=COMPENSATED,
        points=ACTS
        | UNDOES
        | at("action", *ENDS, "publish compensation by loop")
        | at("compensation", "publish compensation by loop"),
        # If `mail` has dealt with what came before.
        sometimes=at("compensation", "publish action by loop"),
        besides=ACTS,
        events=DECLINED,
    ),
    a_run(
        name="run-tried-again",
        script={"charge": ["flaky"]},
        points=ACTS | at("action", *LOOK, "LOAD_DONE"),
        besides=ACTS,
        tries=2,
        events=SHIPPED,
    ),
    a_run(
        name="run-in-its-own-transaction",
        script={"charge": "write:x"},
        points=ACTS | at("action", "INSERT ledger", "commit of INSERT ledger"),
        besides=ACTS,
        ledger=["x"],
        events=SHIPPED,
    ),
)

RUN_DETOURS: tuple[Workload, ...] = (
    a_run(name="run-start", story=run_stories.started_elsewhere, points=STARTS, events=SHIPPED),
    a_run(
        name="run-start-in-a-transaction",
        story=run_stories.started_in_a_transaction,
        points=STARTS | at("start", *IN_A_TRANSACTION, "LIMIT_LOCK_WAIT", "RESTORE_LOCK_WAIT"),
        besides=STARTS - at("start", "START_RUN"),
        events=SHIPPED,
    ),
    a_run(
        name="run-expected",
        script={"reserve": "wait:begun", "charge": "say:nothing"},
        story=run_stories.expected_early,
        points=STARTS | at("start", *LOOK, "NUMBER"),
        besides=STARTS,
        events=("Ordered", *("Noted",) * MANY, "Reserved", "Shipped"),
    ),
    resting(
        name="run-expected-too-long",
        story=run_stories.expected_too_long,
        points=at("operator", "DELIVER_EARLY"),
        without_saga=at("sweep", "BURY_EARLY"),
        events=NOTED,
    ),
    resting(name="run-published", story=run_stories.published_elsewhere, points=PUBLISHES, events=NOTED),
    resting(
        name="run-published-in-a-transaction",
        story=run_stories.published_in_a_transaction,
        points=PUBLISHES | at("publisher", *IN_A_TRANSACTION),
        besides=PUBLISHES - at("publisher", "PUBLISH"),
        events=NOTED,
    ),
    # Its publisher died before it looked.
    resting(
        name="run-swept",
        story=run_stories.published_and_swept,
        first=(PlannedFault(point="publisher | PUBLISH:after"),),
        points=at("sweep", *SWEPT, "LOAD_ARRIVED", "SAVE_RUN", "NUMBER", "publish action by loop"),
        without_saga=at("sweep", "PICK_UNSEEN"),
        events=NOTED,
    ),
    resting(
        name="run-cancelled",
        story=run_stories.cancelled,
        ends=COMPENSATED,
        points=ANSWERS
        | at("operator", "LOAD_DONE", "RECORD", "publish compensation by loop", "publish action by loop"),
        events=TURNED,
    ),
    resting(
        name="run-overdue",
        story=run_stories.overdue,
        ends=COMPENSATED,
        points=at("sweep", *SWEPT, "LOAD_ARRIVED", "LOAD_DONE", "SAVE_RUN", "RECORD", "publish compensation by loop"),
        events=TURNED,
    ),
    a_run(
        name="run-replayed",
        script={"charge": ["no", "ok"]},
        story=run_stories.replayed,
        points=FAILS | ASKS | ANSWERS | at("operator", "publish action by loop"),
        tries=2,
        needs_a_person=True,
        events=SHIPPED,
    ),
    a_run(
        name="run-undo-replayed",
        script={"charge": ["say:declined"], "release": "broken:mended"},
        ends=COMPENSATED,
        story=run_stories.replayed,
        points=ANSWERS | at("operator", "publish compensation by loop"),
        tries=5,  # four by itself, and the operator's
        needs_a_person=True,
        events=DECLINED,
    ),
    a_run(
        name="run-edited",
        script={"charge": "no"},
        story=run_stories.edited,
        points=ANSWERS | at("operator", "STORED", "publish action by loop"),
        few=at("operator", "commit of LOCK_INSTANCE") | {"operator | STORED:after"},
        tries=2,
        needs_a_person=True,
        events=SHIPPED,
    ),
    Workload(
        name="run-given-up",
        saga=strict,
        script={"deliver": "no"},
        ends=COMPENSATED,
        points=ACTS
        | FAILS
        | at("action", *ENDS, "publish compensation by loop")
        | at("compensation", *DELIVERED, *LOOK, "LOAD_DONE"),
        few=at("action", "commit of LOCK_INSTANCE", "publish compensation by loop"),
        events=TURNED,
    ),
    begins(
        name="run-begins-a-saga",
        story=run_stories.begins_a_saga,
        points=at("action", "task", "CLAIM_DELIVERY", "SAVEPOINT", "LIMIT_LOCK_WAIT", "body"),
        # What comes between them is about the saga that is started.
        few=frozenset({"action | LIMIT_LOCK_WAIT:after", "action | body:after"}),
        events=("Arrived", "Left"),
    ),
    begins(
        name="run-turns-from-its-saga",
        story=run_stories.turns_from_its_saga,
        script={"unload": "wait:yard"},
        ends=COMPENSATED,
        points=at("compensation", "task", "CLAIM_DELIVERY", "BEGUN_BY", "body", *LOOK, "LOAD_DONE"),
        few=frozenset({"compensation | BEGUN_BY:after", "compensation | body:after"}),
        events=("Arrived", "Closed"),
    ),
    a_run(
        name="run-let-go",
        script={"mail Shipped": "no"},
        story=run_stories.let_go,
        points=ANSWERS,
        needs_a_person=True,
        events=SHIPPED,
    ),
    a_run(
        name="run-too-late",
        story=run_stories.too_late,
        points=at("operator", "LOCK_INSTANCE", "ACKNOWLEDGE", "commit of LOCK_INSTANCE"),
        events=(*SHIPPED, "Noted"),
    ),
    a_run(
        name="run-late-delivered",
        story=run_stories.delivered_late,
        points=ACTS
        | at("action", *LOOK, "LOAD_DONE")
        | at("operator", *LOOK, "LOAD_LATE", "ANSWER_LATE", "publish action by loop"),
        besides=ACTS,
        events=(*SHIPPED, "Noted"),
    ),
    Workload(
        name="announcing",
        saga=announcing,
        script={"run": "{id}", "announce publishes": ["start"]},
        story=run_stories.announced,
        points=at(
            "action", "SAVEPOINT", "START_RUN", "CORRELATE", "COMPLETE", "RELEASE SAVEPOINT", "commit of SAVEPOINT"
        ),
    ),
    # Its process dies over the same delivery until the losses are used up; a person has it tried once more.
    a_run(
        name="run-poisoned",
        story=run_stories.replayed,
        first=tuple(
            PlannedFault(point="action | effect:after", nth=2 if turn == 0 else 1, turn=turn) for turn in range(4)
        ),
        points=at("operator", "publish action by loop"),
        besides=at("operator", "publish action by loop"),
        # The answer of a person begins the count of its losses anew.
        exact=False,
        tries=5,
        needs_a_person=True,
        events=SHIPPED,
    ),
)
