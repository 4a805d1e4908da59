"""Test every undo in one line: each step of a saga fails before its effect and after it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from sagas.definition import Saga
from sagas.engine import current_step
from sagas.engine.task import FencedTask
from sagas.errors import NotInAStep, PermanentError
from sagas.extension import Sagas
from sagas.handle import SagaHandle
from sagas.model import IfInDoubt, Plan, PlanStep, SagaStatus, StepKind, StepStatus
from sagas.testing.inline import Inline, inline

#: A step: the name of its saga, which may be a child's, and its own name.
Where = tuple[str, str]


class Fault(StrEnum):
    """The fault that is injected at a step."""

    BEFORE = "failed before its effect"  # in doubt, and nothing was done
    AFTER = "failed after its effect"  # in doubt, and without a result
    NO = "said no"  # clean: the steps before it are undone with their results


class FailedOnPurpose(NotInAStep):
    """Raised by `fail_everywhere`: in doubt, and not tried again, whatever the step's policy says."""


class SaidNoOnPurpose(PermanentError):
    """Raised by `fail_everywhere` at a pivot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One run of a saga with faults."""

    faults: Mapping[Where, Fault]
    step: PlanStep  # the first one that fails

    def __str__(self) -> str:
        return ", ".join(f"{name} {fault}" for (_, name), fault in self.faults.items())


def fail_everywhere(
    sagas: Sagas,
    saga: Saga,
    data: Any,
    *,
    signals: Mapping[str, Any] | None = None,
    inside: Callable[[], AbstractContextManager[Inline]] | None = None,
) -> list[SagaHandle]:
    """Let every step of a saga fail before its effect, and after it, and run the undos of what may have happened::

        def test_every_undo_copes_with_an_action_that_never_happened():
            fail_everywhere(sagas, order, {"order_id": "42", "total": Decimal("9.90")})

    A body that fails is in doubt, so its own compensation runs: before its effect for nothing at all, after it without
    a result. The saga runs from its start for each of them, as in `inline`. A pivot, whose doubt is for a person to
    resolve, says no instead; steps past it have no undo. A step that ``if_in_doubt="person"`` leaves to a person is
    answered according to the fault: it did not happen, or it is to be undone now.

    Args:
        data: the input of each run; or a function that makes one, if two runs cannot have the same.
        signals: the signals that the saga waits for, by name, with their data.
        inside: the block in which sagas run, as ``self.run_sagas`` in a `SagaTestCase`; ``inline(sagas)`` by default.

    Returns:
        The instances, all of them `compensated`, so that a test can check what they left behind. A step that this input
        skips, by its condition, is not among them.

    Raises:
        AssertionError: not everything was undone; the message says after which failures, and why.
    """
    blocks = inside or partial(inline, sagas)
    runs, complaints = [], []
    for trial in _trials(saga.plan(sagas.engine)):
        try:
            with _failing(sagas, trial.faults) as struck:
                with blocks() as caught:
                    run = sagas.start(saga, data() if callable(data) else data)
                    for name, sent in (signals or {}).items():
                        run.signal(name, sent)
                if struck:
                    _answer(run, trial, blocks)
            complaint = _complaint(run, [sagas.get(id) for id in caught.instances], was_struck=bool(struck))
        except AssertionError as error:  # a run that would not end
            complaint = str(error)
        if complaint:
            complaints.append(f"- {trial}: {complaint}")
        elif struck:
            runs.append(run)
    if complaints:
        raise AssertionError(
            f"saga {saga.name!r} is not undone after {len(complaints)} of its failures. An undo must be safe for an "
            "action that never happened, and do without its result: name what it undoes by current_step.action_key, "
            "and give what only the result fills a default\n" + "\n".join(complaints)
        )
    return runs


def _trials(plan: Plan) -> Iterator[Trial]:
    turning = [step for step in plan.steps if step.is_task and not step.best_effort and step.kind in _MAY_FAIL]
    for step in plan.steps:
        if step.child is not None and step.kind is StepKind.COMPENSATABLE:
            yield from _trials(step.child)
        elif not step.is_task:
            continue
        elif step.kind is StepKind.PIVOT:
            yield Trial(faults={(plan.saga, step.name): Fault.NO}, step=step)
        elif step.kind is StepKind.COMPENSATABLE:
            # The failure of a best-effort step turns nothing back by itself.
            after = [other for other in turning if other.position > step.position] if step.best_effort else [None]
            for fault in (Fault.BEFORE, Fault.AFTER) if after else ():
                faults = {(plan.saga, step.name): fault}
                if after[0] is not None:
                    faults[plan.saga, after[0].name] = Fault.NO
                yield Trial(faults=faults, step=step)


_MAY_FAIL = (StepKind.COMPENSATABLE, StepKind.PIVOT)


@contextmanager
def _failing(sagas: Sagas, faults: Mapping[Where, Fault]) -> Iterator[list[Where]]:
    """Make the bodies of these steps fail in the block. Yields the list of those that have."""
    struck: list[Where] = []
    call = FencedTask.call_body

    def call_body(self: FencedTask, **arguments: Any) -> Any:
        where = current_step.saga, current_step.name
        is_action = current_step.idempotency_key == current_step.action_key
        if self.sagas_engine is not sagas.engine or where not in faults or not is_action:
            return call(self, **arguments)
        fault = faults[where]
        if fault is Fault.AFTER:
            call(self, **arguments)
        struck.append(where)
        raise SaidNoOnPurpose(f"{where[1]} {fault}") if fault is Fault.NO else FailedOnPurpose(f"{where[1]} {fault}")

    FencedTask.call_body = call_body  # type: ignore[method-assign]
    try:
        yield struck
    finally:
        FencedTask.call_body = call  # type: ignore[method-assign]


def _answer(run: SagaHandle, trial: Trial, blocks: Callable[[], AbstractContextManager[Inline]]) -> None:
    """Answer for a step that only a person can resolve, according to what was done to it."""
    if run.status is not SagaStatus.FAILED or trial.step.if_in_doubt is not IfInDoubt.PERSON:
        return
    with blocks():
        if Fault.AFTER in trial.faults.values() and trial.step.is_undoable:
            run.retry(f"{trial}: undo it now")
        else:
            run.resolve(f"{trial}: there is nothing to undo", step=trial.step.name, happened=False)


def _complaint(run: SagaHandle, all_of_it: list[SagaHandle], *, was_struck: bool) -> str:
    """Return what is not undone of a run and its children, in a line; empty if everything is."""
    if run.status is SagaStatus.COMPENSATED or (run.status is SagaStatus.COMPLETED and not was_struck):
        return ""
    failed = [
        f"{undo.name}, which undoes {step.name}, failed: {undo.error}"
        for one in all_of_it
        for step in one.steps
        if (undo := step.compensation) is not None and undo.status is StepStatus.FAILED
    ]
    return "; ".join(failed) or f"it is {run.status} (pass what it waits for in signals=)\n{run.timeline()}"
