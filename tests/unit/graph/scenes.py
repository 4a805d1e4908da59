"""The plans and instances whose pictures are golden files, each by the name of its file."""

from sagas.handle import StepView
from sagas.model import Plan, StepStatus
from tests.unit.graph.samples import (
    Look,
    child,
    error,
    everything,
    look,
    order,
    pivot,
    plan,
    retriable,
    sleep,
    step,
    trip,
    undo,
    wide,
)

BACK = ("compensated", undo("completed"))
GIFT = plan(step(0), step(1, when="gift"), step(2), step(3))
NO_FUNDS = error("no funds")
REFUSED = StepView(
    name="charge",
    status=StepStatus.FAILED,
    attempts=2,
    losses=1,
    in_doubt=True,
    error=NO_FUNDS,
    compensation=undo("running"),
)
CLOSED = StepView(
    name="charge",
    status=StepStatus.FAILED,
    attempts=2,
    error=NO_FUNDS,
    compensation=undo("failed", attempts=6, error=error("the bank is closed " * 20, type="TimeoutError")),
)

PLANS: dict[str, Plan] = {
    "one-step": plan(step(0)),
    "order": order(),
    "nothing-to-undo": plan(pivot(0), retriable(1, when="gift", predicate="tasks.is_big")),
    "lanes": trip(),
    "lanes-undone-at-once": trip(undo_at_once=True),
    "one-lane-with-an-undo": plan(step(0), step(1), step(1, branch=1, lane=1, compensation=None), step(2)),
    "lanes-first-and-last": plan(*(step(place, branch=lane, lane=lane) for place in (0, 1) for lane in (0, 1))),
    "lanes-past-the-pivot": plan(step(0), pivot(1), retriable(2, when="x"), retriable(2, branch=1, lane=1)),
    "many-lanes": wide(12, undo_at_once=True),
    "steps-undone-at-once": plan(step(0), step(1), step(2, branch=0), step(2, branch=1), undo_at_once=True),
    "undos-past-what-has-none": plan(step(0), sleep(1), child(2), step(3, compensation=None), step(4), pivot(5)),
    "everything": everything(),
    "names-that-are-alike": plan(*(step(place, f"{'reserve_' * 10}{place}") for place in range(3))),
}
LOOKS: dict[str, Look] = {
    "not-begun": look(order(), "pending"),
    "begun": look(order(), "running", "completed", key=None),
    "asleep": look(plan(step(0), sleep(1), step(2)), "running", "completed"),
    "completed": look(order(), "completed", *["completed"] * 4),
    "turns-back": look(order(), "compensating", "completed", REFUSED, "skipped", "skipped", error=NO_FUNDS),
    "turned-back-midway": look(order(), "compensating", ("compensating", undo("pending")), BACK, "failed"),
    "turned-back": look(order(), "compensated", BACK, BACK, "failed", error=error("")),
    "undo-failed": look(order(), "failed", BACK, CLOSED, "skipped", error=NO_FUNDS),
    "stopped": look(order(), "failed", *["completed"] * 3, "failed", error=error("lost", step="confirm")),
    "condition-false": look(GIFT, "running", "completed", "skipped", "running"),
    "condition-false-at-the-end": look(plan(*GIFT.steps[:2]), "completed", "completed", "skipped"),
    "condition-false-undone": look(GIFT, "compensated", BACK, "skipped", BACK, "failed"),
    "lanes-begun": look(trip(), "running", "completed", "completed", "pending", "running", "pending"),
    "lanes-but-one-done": look(trip(), "running", *["completed"] * 3, "running", "completed"),
    "lanes-joined": look(trip(), "running", *["completed"] * 4, "failed"),
    "lanes-completed": look(trip(), "completed", *["completed"] * 6),
    "lanes-turn-back": look(trip(), "compensating", "completed", "failed", "skipped", "completed", "completed"),
    "lanes-undone-midway": look(
        trip(), "compensating", ("compensating", undo("running")), "skipped", "skipped", BACK, "completed", "failed"
    ),
    "every-status": look(
        plan(*(step(place, status.value) for place, status in enumerate(StepStatus))), "running", *StepStatus
    ),
}
SCENES: dict[str, Plan | Look] = {**PLANS, **LOOKS}
#: Those of which the SVG is a golden file too. What the others show besides, their Mermaid shows.
DRAWN = ("order", "lanes", "everything", "turns-back", "undo-failed", "every-status")
