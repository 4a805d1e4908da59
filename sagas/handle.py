"""A handle on one instance: read it, wait for it, stop it, retry it. Every read is fresh."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from sagas.engine import Engine
from sagas.errors import InstanceNotFound, TransitionRefused, WaitTimeout
from sagas.model import (
    FINAL,
    ErrorInfo,
    Event,
    PlanStep,
    RetryRequested,
    SagaStatus,
    StepStatus,
    Stop,
    StopKind,
    StopRequested,
    payload,
)
from sagas.store import error_from


@dataclass(frozen=True, kw_only=True, slots=True)
class CompensationView:
    """How the undoing of a step stands; the latest round of it."""

    name: str
    status: StepStatus
    attempts: int
    round: int
    error: ErrorInfo | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StepView:
    """How a step stands. ``status`` tells its undoing too: `compensating`, `compensated`, or `failed` for good;
    ``worker`` is the one that claimed it last.
    """

    name: str
    status: StepStatus
    attempts: int
    losses: int
    in_doubt: bool
    result: Any
    error: ErrorInfo | None
    compensation: CompensationView | None
    worker: str | None
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def compensation_status(self) -> StepStatus | None:
        """The status of its compensation; None when none was dispatched."""
        return self.compensation.status if self.compensation else None


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryEntry:
    """One line of an instance's history."""

    at: datetime
    event: str
    step: str | None
    detail: Mapping[str, Any]


class SagaHandle:
    """A handle on one instance, returned by ``Saga.start``, ``Sagas.get`` and ``Sagas.find``.

    It holds the id alone; every property asks the database.
    """

    def __init__(self, engine: Engine, instance_id: UUID) -> None:
        self._engine = engine
        self.id = instance_id

    def __repr__(self) -> str:
        return f"<SagaHandle {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SagaHandle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    # -- reading

    @property
    def saga(self) -> str:
        """The saga's name."""
        return str(self._row().saga)

    @property
    def version(self) -> int:
        """The version that it was started with."""
        return int(self._row().version)

    @property
    def key(self) -> str | None:
        """The business key that it was started with."""
        key = self._row().key
        return None if key is None else str(key)

    @property
    def status(self) -> SagaStatus:
        """Where it stands now."""
        row = self._row()
        status = SagaStatus(row.status)
        if status is SagaStatus.PENDING and any(step.first_claimed_at for step in self._step_rows()):
            return SagaStatus.RUNNING  # claimed and not completed: a claim leaves the instance's row alone
        return status

    @property
    def data(self) -> dict[str, Any]:
        """The input, plus what the completed steps returned so far."""
        data: dict[str, Any] = payload.restore(self._row().data)
        for row in self._step_rows():
            result = payload.restore(row.result) if row.round == 0 else None
            if isinstance(result, Mapping):
                data.update(result)
        return data

    @property
    def error(self) -> ErrorInfo | None:
        """Why it turned back or failed: the first error that decided it; None while it goes forward."""
        return error_from(self._row().error)

    @property
    def steps(self) -> list[StepView]:
        """Every step of its plan, in order, also those that never ran."""
        row = self._row()
        plan = self._engine.store.instances.plan(row.plan_hash, row.plan)
        rows = self._step_rows()
        ended = SagaStatus(row.status) in FINAL or row.status == SagaStatus.COMPENSATING
        return [_step_view(step, rows, ended=ended) for step in plan.steps]

    def history(self) -> list[HistoryEntry]:
        """Everything that happened, the oldest first: from the rows, and from the append-only events."""
        row = self._row()
        entries = [HistoryEntry(at=row.created_at, event="started", step=None, detail={"key": row.key})]
        for event in self._engine.store.instances.read_events(self.id):
            entries.append(HistoryEntry(at=event.at, event=event.event, step=event.step, detail=event.detail))
        for step in self._step_rows():
            entries += _step_history(step)
        if row.finished_at is not None:
            entries.append(HistoryEntry(at=row.finished_at, event=row.status, step=None, detail={}))
        return sorted(entries, key=lambda entry: entry.at)

    def timeline(self) -> str:
        """The instance as text for people: what it is, how each step stands, what happened when."""
        row, error = self._row(), self.error
        lines = [f"{row.saga} v{row.version}  {self.id}  key={row.key or '-'}  {self.status.value.upper()}"]
        if error is not None:
            lines.append(f"  because of {error}" + (f" (in {error.step})" if error.step else ""))
        lines += [f"  {_step_line(step)}" for step in self.steps]
        lines += [f"  {_history_line(entry, row.created_at)}" for entry in self.history()]
        return "\n".join(lines)

    # -- waiting

    def wait(self, timeout: float | None = None) -> SagaStatus:
        """Block until it ends: `completed`, `compensated`, or `failed` (a person must look).

        Args:
            timeout: seconds; None waits for ever.

        Raises:
            WaitTimeout: it had not ended by then. The saga itself goes on.
        """
        gives_up_at = None if timeout is None else time.monotonic() + timeout
        pause = 0.02
        while True:
            status = SagaStatus(self._row().status)
            if status in FINAL:
                return status
            if gives_up_at is not None and time.monotonic() + pause > gives_up_at:
                raise WaitTimeout(f"saga {self.id} is still {status.value} after {timeout:g} s; it goes on without you")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)

    # -- acting

    def cancel(self, reason: str, *, by: str = "application") -> None:
        """Stop forward work, then undo what was done or is in doubt.

        While the pivot runs the wish is only recorded, and counts if the pivot says a clean no.

        Raises:
            TransitionRefused: it is past its pivot, completed, or failed.
        """
        stop = Stop(kind=StopKind.CANCELLED, reason=_reason(reason, "cancel"))
        self._apply(
            StopRequested(stop=stop, by=by),
            "cannot be cancelled: only a saga that is pending or running and not past its pivot can",
        )

    def retry(self, reason: str, *, by: str = "operator") -> None:
        """Let a `failed` instance go on: only what is missing runs again, with fresh budgets.

        Raises:
            TransitionRefused: it is not `failed`.
        """
        self._apply(
            RetryRequested(reason=_reason(reason, "retry"), by=by),
            "cannot be retried: only a failed saga can",
        )

    def _apply(self, event: Event, refusal: str) -> None:
        outcome = self._engine.loop.handle(self.id, event, patience=0, brief=True)
        if outcome is None:
            raise self._not_found()
        if not outcome.decision.accepted:
            raise TransitionRefused(f"saga {self.id} is {outcome.decision.state.status.value} and {refusal}")

    def _row(self) -> Row[Any]:
        row = self._engine.store.instances.read(self.id)
        if row is None:
            raise self._not_found()
        return row

    def _step_rows(self) -> list[Row[Any]]:
        return list(self._engine.store.instances.read_steps(self.id))

    def _not_found(self) -> InstanceNotFound:
        return InstanceNotFound(
            f"no saga instance {self.id} in schema {self._engine.store.schema!r}: it was rolled back, purged or is not "
            "committed yet"
        )


def _reason(reason: str, verb: str) -> str:
    if not isinstance(reason, str) or not reason.strip():
        raise ValueError(f"{verb}() needs a reason: it is kept in the history for whoever asks why")
    return reason.strip()


def _step_line(step: StepView) -> str:
    facts = [f"{step.attempts} attempt{'' if step.attempts == 1 else 's'}"]
    if step.losses:
        facts.append(f"{step.losses} lost with its process")
    if step.in_doubt:
        facts.append("in doubt")
    if step.compensation is not None:
        facts.append(f"{step.compensation.name} {step.compensation.status.value}")
    return f"{step.status.value:<12} {step.name:<24} {', '.join(facts)}"


def _history_line(entry: HistoryEntry, began: datetime) -> str:
    hidden = ("traceback", "step", "key")
    shown = " ".join(
        f"{name}={value}" for name, value in entry.detail.items() if value is not None and name not in hidden
    )
    return f"{(entry.at - began).total_seconds():+9.3f} s  {entry.event:<24} {entry.step or '':<20} {shown}"[
        :160
    ].rstrip()


def _step_view(step: PlanStep, rows: list[Row[Any]], *, ended: bool) -> StepView:
    own = [row for row in rows if (row.position, row.branch) == (step.position, step.branch)]
    action = next((row for row in own if row.round == 0), None)
    undo = max((row for row in own if row.round > 0), key=lambda row: row.round, default=None)
    compensation = None
    if undo is not None and step.compensation is not None:
        compensation = CompensationView(
            name=step.compensation.rpartition(".")[2],
            status=StepStatus(undo.status),
            attempts=undo.attempts,
            round=undo.round,
            error=error_from(undo.error),
        )
    if action is None:
        unborn = StepStatus.SKIPPED if ended else StepStatus.PENDING
        return StepView(
            name=step.name,
            status=unborn,
            attempts=0,
            losses=0,
            in_doubt=False,
            result=None,
            error=None,
            compensation=None,
            worker=None,
            started_at=None,
            finished_at=None,
        )
    return StepView(
        name=step.name,
        status=_combined(StepStatus(action.status), compensation),
        attempts=action.attempts,
        losses=action.losses,
        in_doubt=action.doubt,
        result=payload.restore(action.result),
        error=error_from(action.error),
        compensation=compensation,
        worker=action.hostname,
        started_at=action.first_claimed_at,
        finished_at=action.finished_at,
    )


def _combined(action: StepStatus, compensation: CompensationView | None) -> StepStatus:
    if compensation is None:
        return action
    if compensation.status is StepStatus.COMPLETED:
        return StepStatus.COMPENSATED
    if compensation.status is StepStatus.FAILED:
        return StepStatus.FAILED
    return StepStatus.COMPENSATING


def _step_history(row: Row[Any]) -> list[HistoryEntry]:
    what = "step" if row.round == 0 else "compensation"
    detail = {"attempts": row.attempts, "worker": row.hostname}
    if row.round > 1:
        detail["round"] = row.round
    entries = []
    if row.first_claimed_at is not None:
        entries.append(HistoryEntry(at=row.first_claimed_at, event=f"{what}_started", step=row.name, detail=detail))
    if row.finished_at is not None:
        entries.append(HistoryEntry(at=row.finished_at, event=f"{what}_{row.status}", step=row.name, detail=detail))
    return entries
