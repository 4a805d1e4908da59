"""The texts beside a step: what it does, when, and how it went. Words only; nothing is escaped here."""

from collections.abc import Iterator

from sagas.handle import CompensationView, StepView
from sagas.model import OnTimeout, PlanStep, StepKind, StepRole, UndoOutcome

LONGEST = 300
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def clean(text: object, longest: int = LONGEST) -> str:
    """Return one line of visible text: an error may hold anything, even signs that turn the reading direction."""
    line = " ".join(str(text)[: 4 * longest].split())
    line = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def duration(seconds: float) -> str:
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.4g} {unit}"
    return f"{seconds:.4g} s"


def tail(task: str) -> str:
    """Return the last part of a task's name."""
    return clean(task.rpartition(".")[2] or task)


def step_description(step: PlanStep) -> str | None:
    """Return what a reader cannot guess from the step's name; None for a task of the same name."""
    match step.role:
        case StepRole.SLEEP:
            return "sleeps" if step.seconds is None else f"sleeps {duration(step.seconds)}"
        case StepRole.WAIT:
            waits = f"waits for signal {clean(step.signal)}"
            if step.seconds is None:
                return waits
            then = "goes on" if step.on_timeout is OnTimeout.CONTINUE else "turns back"
            return f"{waits}, {duration(step.seconds)}, then {then}"
        case StepRole.CHILD:
            return _child_description(step)
    return None if step.task is None or tail(step.task) == clean(step.name) else clean(step.task)


def _child_description(step: PlanStep) -> str:
    if step.child is None:
        return "another saga"
    given = "" if step.child_input is None else f", given {', '.join(map(clean, step.child_input)) or 'nothing'}"
    return f"saga {clean(step.child.saga)} v{step.child.version}{given}"


def condition(step: PlanStep) -> str | None:
    """Return what must hold, or the step is skipped."""
    return " and ".join(f"if {clean(name)}" for name in (step.when, step.predicate) if name) or None


def traits(step: PlanStep) -> tuple[str, ...]:
    """Return the policies of a step that differ from the defaults."""
    return tuple(_traits(step))


def _traits(step: PlanStep) -> Iterator[str]:
    if step.kind is not StepKind.COMPENSATABLE:
        yield step.kind.value
    elif step.is_task and not step.is_undoable:
        yield "nothing to undo"
    if step.best_effort:
        yield "best effort"
    if not step.idempotent:
        yield "runs once"
    if step.cancels_siblings:
        yield "stops the others"
    if step.queue is not None:
        yield f"queue {clean(step.queue)}"


def undo_traits(step: PlanStep) -> tuple[str, ...]:
    """Return the policies of its compensation that differ from the defaults."""
    if step.compensation_deadline is None:
        return ()
    return (f"given up after {duration(step.compensation_deadline)}",)


def outcome_facts(view: StepView) -> tuple[str, ...]:
    facts = [_counted(view.attempts)] if view.attempts else []
    if view.losses:
        facts.append(f"{view.losses} lost with its process")
    facts += [view.doubt] if view.doubt else []
    return tuple(facts)


def undo_facts(view: CompensationView) -> tuple[str, ...]:
    facts = [_counted(view.attempts)] if view.attempts else []
    if view.round > 1:
        facts.append(f"round {view.round}")
    if view.outcome not in (None, UndoOutcome.FULL):
        facts.append(view.outcome.value)
    return tuple(facts)


def _counted(attempts: int) -> str:
    return f"{attempts} attempt{'' if attempts == 1 else 's'}"
