"""Plans to draw, and instances of them as a look found them."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sagas.graph.shape import Shape, shape_of
from sagas.handle import CompensationView, StepView
from sagas.model import ErrorInfo, OnTimeout, Plan, PlanStep, SagaStatus, StepKind, StepRole, StepStatus

#: What would break out of Mermaid, of SVG, of HTML, or of the direction of reading.
HOSTILE = (
    '"]; click s0_0 "javascript:alert(1)"\n%%{init: {"theme": "x"}}%%\nend',
    '</text><script>alert(1)</script><g onload="alert(1)">',
    "&amp; &lt; #quot; #35; ]]> <![CDATA[ <!-- -->",
    "`**bold** _em_ [a](javascript:alert(1))` $$x$$ $$$",
    "1. list", "- list", "fa:fa-car", "style a:#b;", "end", "-->", "|", ":::failed", "%% comment", "---",
    "\x00\x1b[31m\ud800\u202e\u200b\ufffe", "", " ", "漢字" * 40, "M" * 500,
)  # fmt: skip


def step(position: int, name: str | None = None, /, **options: Any) -> PlanStep:
    """A compensatable step, as `tasks.<name>` and `tasks.undo_<name>`."""
    name = name or f"step{position}"
    given = {"position": position, "name": name, "task": f"tasks.{name}", "compensation": f"tasks.undo_{name}"}
    return PlanStep(**(given | options))


def pivot(position: int, name: str | None = None, /, **options: Any) -> PlanStep:
    return step(position, name, **({"kind": StepKind.PIVOT, "compensation": None} | options))


def retriable(position: int, name: str | None = None, /, **options: Any) -> PlanStep:
    return step(position, name, **({"kind": StepKind.RETRIABLE, "compensation": None} | options))


def sleep(position: int, seconds: float = 90.0, **options: Any) -> PlanStep:
    return step(
        position,
        "sleep",
        **({"task": None, "compensation": None, "role": StepRole.SLEEP, "seconds": seconds} | options),
    )


def wait(position: int, **options: Any) -> PlanStep:
    given = {"task": None, "compensation": None, "role": StepRole.WAIT, "signal": "approved"}
    return step(position, "approval", **(given | options))


def child(position: int, **options: Any) -> PlanStep:
    given = {"task": None, "compensation": None, "role": StepRole.CHILD, "child": plan(step(0), saga="insurance")}
    return step(position, "insure", **(given | options))


def plan(*steps: PlanStep, saga: str = "order", **options: Any) -> Plan:
    return Plan(saga=saga, version=1, steps=steps, **options)


def order() -> Plan:
    """A straight one, with a pivot and what follows it."""
    return plan(step(0, "reserve"), step(1, "charge"), pivot(2, "ship"), retriable(3, "confirm"))


def trip(**undo: Any) -> Plan:
    """A step, three lanes of which one has two steps and one has nothing to undo, and a step."""
    return plan(
        step(0, "pay"),
        step(1, "flight", branch=0, lane=0, **undo),
        step(1, "seat", branch=1, lane=0, **undo),
        step(1, "hotel", branch=2, lane=1, **undo),
        step(1, "car", branch=3, lane=2, compensation=None, best_effort=True, **undo),
        step(2, "tell"),
    )


def everything() -> Plan:
    """Whatever can be drawn, once."""
    return plan(
        *trip().steps[:5],
        sleep(2, 5400.0),
        wait(3, seconds=86400.0, on_timeout=OnTimeout.CONTINUE),
        child(4, child_input=("order_id", "total")),
        step(5, "charge", when="total", predicate="tasks.is_due", queue="gold", compensation_deadline=60.0),
        pivot(6, "ship"),
        retriable(7, "confirm"),
    )


def wide(lanes: int, **options: Any) -> Plan:
    beside = (step(1, f"store_{lane:02}", branch=lane, lane=lane, **options) for lane in range(lanes))
    return plan(step(0, "prepare"), *beside, pivot(2, "ship"))


def named(name: str) -> Plan:
    """Everything that a plan takes from outside is this text."""
    texts = {"task": name, "compensation": name, "when": name, "predicate": name, "queue": name}
    inner = plan(step(0), saga=name)
    return plan(
        step(0, name or " ", **texts),
        wait(1, branch=0, lane=0, signal=name),
        child(1, branch=1, lane=1, child=inner, child_input=(name,)),
        step(1, name or " ", branch=2, lane=2, compensation=name),
        pivot(2, name or " "),
        saga=name,
    )


def error(message: str = "declined", step: str | None = "charge", type: str = "shop.Declined") -> ErrorInfo:
    return ErrorInfo(type=type, message=message, traceback="Traceback …", step=step)


def undo(status: str, **options: Any) -> CompensationView:
    given = {"name": "undo", "status": StepStatus(status), "attempts": 1, "round": 1, "error": None}
    return CompensationView(**(given | options))


@dataclass
class Look:
    """What a `Snapshot` shows."""

    plan: Plan
    status: SagaStatus
    steps: list[StepView]
    error: ErrorInfo | None = None
    key: str | None = "order-42"
    id: UUID = field(default=UUID("01890a5d-ac96-774b-bcce-b302099a8057"))

    @property
    def shape(self) -> Shape:
        return shape_of(self.plan, self)  # type: ignore[arg-type]


def look(plan: Plan, status: str, *steps: str | tuple[str, CompensationView] | StepView, **options: Any) -> Look:
    """One look: a step is its status, or that with its undoing, or a whole view; what is not given is pending."""
    views = []
    for planned, given in zip(plan.steps, [*steps, *["pending"] * (len(plan.steps) - len(steps))], strict=True):
        if isinstance(given, StepView):
            views.append(given)
            continue
        own, undoing = given if isinstance(given, tuple) else (given, None)
        attempts = 0 if own in ("pending", "skipped") else 1
        views.append(StepView(name=planned.name, status=StepStatus(own), attempts=attempts, compensation=undoing))
    return Look(plan, SagaStatus(status), views, **options)


def failing(name: str) -> Look:
    """An instance in which whatever can say something says this."""
    said = error(name, step=name, type=name)
    undone = undo("failed", error=said)
    view = StepView(name=name, status=StepStatus.FAILED, attempts=1, error=said, compensation=undone)
    return look(named(name), "failed", view, error=said, key=name)
