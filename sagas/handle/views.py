"""An instance and its steps as they are shown: values, made from one consistent look at the rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, wraps
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Row

from sagas.handle.holding import Place, delays, held_up
from sagas.handle.showing import Show
from sagas.model import (
    FINAL,
    ChildState,
    ErrorInfo,
    ExecutionStatus,
    HistoryEvent,
    InstanceEvidence,
    InstanceState,
    Plan,
    PlanStep,
    SagaStatus,
    Secrecy,
    StepKind,
    StepStatus,
    UndoOutcome,
    called,
    payload,
    waits_for_a_person,
    waits_uncalled,
)
from sagas.model.choreography.as_plan import RunPlan
from sagas.model.history import notes_of, place_of
from sagas.model.inputs import unwrapped
from sagas.store import legible, stored_step_of

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class CompensationView:
    """The state of a step's compensation, in its latest round."""

    name: str
    status: StepStatus
    attempts: int
    round: int
    error: ErrorInfo | None
    outcome: UndoOutcome | None = None  # how far it got, once it has ended


@dataclass(frozen=True, kw_only=True, slots=True)
class StepView:
    """The state of a step.

    ``status`` includes its undoing: `compensating`, `compensated`, or `failed` for good; ``worker`` claimed it last.
    Secrets read ``•••`` in ``result`` and ``records``; `SagaHandle.data` has those of the results.
    """

    name: str
    status: StepStatus
    position: int = 0
    lane: int = 0  # steps of one position and different lanes run in parallel
    attempts: int = 0
    losses: int = 0
    in_doubt: bool = False
    result: Any = None
    error: ErrorInfo | None = None
    compensation: CompensationView | None = None
    worker: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    records: tuple[Any, ...] = ()  # what its action recorded for its compensation, oldest first
    waits: str | None = None  # of a delivery: why it waits, if it does
    nothing_to_undo: bool = False  # the step declares it: the saga may turn back past it, and nothing runs for it

    @property
    def doubt(self) -> str | None:
        """How an action in doubt is described; None for any other."""
        if not self.in_doubt:
            return None
        return "in doubt, nothing to undo" if self.nothing_to_undo else "in doubt"

    @property
    def called(self) -> str:
        """The name of the execution that ran last: of the step, or of its compensation."""
        return called(self.name, undo=self.compensation is not None)

    @property
    def last_error(self) -> ErrorInfo | None:
        """The error of that execution."""
        return self.compensation.error if self.compensation else self.error

    @property
    def compensation_status(self) -> StepStatus | None:
        """The status of its compensation; None if none was dispatched."""
        return self.compensation.status if self.compensation else None


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryEntry:
    """One line of an instance's history. ``event`` is a `HistoryEvent`, unless another release wrote it."""

    at: datetime
    event: str
    step: str | None
    detail: Mapping[str, Any]


def _legible(read: Callable[["InstanceView"], T]) -> Callable[["InstanceView"], T]:
    """Make a property raise RowDamaged if it cannot be read (see `legible`)."""

    @wraps(read)
    def guarded(seen: "InstanceView") -> T:
        with legible(seen.id):
            return read(seen)

    return guarded


class InstanceView:
    """The facts of an instance as one look found it. Everything read off it is consistent.

    Attributes:
        id, saga, version, key: the instance's identity.
        started_at, finished_at: when it was inserted, and when it ended, by the database's clock.
    """

    def __init__(
        self,
        row: Row[Any],
        plan: Plan,
        step_rows: Sequence[Row[Any]],
        event_rows: Sequence[Row[Any]],
        secrecy: Secrecy | None = None,
        lock_rows: Sequence[Row[Any]] = (),
        failed_below: Mapping[UUID, Sequence[UUID]] = MappingProxyType({}),
        paused: Mapping[str, datetime] = MappingProxyType({}),
    ) -> None:
        self._row, self._plan, self._step_rows, self._event_rows = row, plan, step_rows, event_rows
        self._secrecy = secrecy or Secrecy()
        self._failed_below, self._paused = failed_below, paused
        #: The child sagas, at any depth, that wait for a person, and this instance with them.
        self.waits_below: list[UUID] = sorted({failed for ids in failed_below.values() for failed in ids})
        #: The resources that it holds, including a place under ``max_concurrent``.
        self.holds: list[str] = [row.resource for row in lock_rows if row.granted_at is not None]
        #: The resources that it waits for, and the instances that hold them.
        self.waits_for: dict[str, list[UUID]] = {
            row.resource: list(row.holders or ()) for row in lock_rows if row.granted_at is None
        }
        self.id: UUID = row.id
        self.saga: str = row.saga
        self.version: int = row.version
        self.key: str | None = row.key
        self.started_at: datetime = row.created_at
        self.finished_at: datetime | None = row.finished_at
        #: The idempotency key of the step or delivery that began it; None if a caller did.
        self.caused_by: str | None = row.caused_by
        #: The names of its caller's headers that its messages carry.
        self.headers: list[str] = sorted(
            {name for part in ("top", "nested", "secret") for name in (row.headers or {}).get(part) or ()}
        )

    @property
    def plan(self) -> Plan:
        """The plan that it was started with, whatever today's code says."""
        return self._plan

    @property
    def status(self) -> SagaStatus:
        """The status."""
        status = SagaStatus(self._row.status)
        if status is SagaStatus.PENDING and any(step.first_claimed_at for step in self._step_rows):
            return SagaStatus.RUNNING  # claimed and not completed: a claim does not touch the instance's row
        return status

    @cached_property
    @_legible
    def error(self) -> ErrorInfo | None:
        """Why it turned back or failed: the first error that decided it; None while it goes forward."""
        return self._show.error(self._row.error)

    @cached_property
    def data(self) -> dict[str, Any]:
        """The input, plus the results of the steps completed so far: for the application, including secrets.

        Raises:
            SecretUnreadable: no key in this process decrypts one of them.
        """
        opened: dict[str, Any] = self._secrecy.open(self._stored_data)
        return opened

    @cached_property
    def shown_data(self) -> dict[str, Any]:
        """The same data for people to see: secrets read ``•••``."""
        hidden: dict[str, Any] = self._show.value(self._stored_data)
        return hidden

    @cached_property
    def _show(self) -> Show:
        # Stored texts were redacted by what was known to be secret then.
        if not self._secrecy.is_wanted:
            return Show(self._secrecy, str, str)
        stored = (self._stored_data, *self._stored_records)
        redact = self._secrecy.redactor(*stored)
        # A secret that cannot be read here may be in any text of the data.
        can_tell = self._secrecy.knows(*stored)
        return Show(self._secrecy, redact, redact if can_tell else lambda _: payload.HIDDEN)

    @cached_property
    @_legible
    def _stored_data(self) -> dict[str, Any]:
        data = payload.restore(self._row.data)
        if not isinstance(data, dict):
            raise TypeError(f"the data of a saga is a mapping, not a {type(data).__qualname__}")
        for row in self._step_rows:
            result = payload.restore(row.result) if row.round == 0 else None
            if isinstance(result, Mapping):
                data.update(result)
        return data

    @cached_property
    @_legible
    def _stored_records(self) -> list[Any]:
        return [record for row in self._step_rows for record in payload.restore(row.records or [])]

    @cached_property
    @_legible
    def steps(self) -> list[StepView]:
        """Every step of its plan, in order, including those that never ran."""
        ended = SagaStatus(self._row.status) in FINAL or self._row.status == SagaStatus.COMPENSATING
        waits = delays(self._step_rows, self._paused)
        return [_step_view(step, self._step_rows, self._show, waits, ended=ended) for step in self._steps]

    @cached_property
    def _steps(self) -> Sequence[PlanStep]:
        return self._plan.executed((row.position, row.branch) for row in self._step_rows)

    @cached_property
    @_legible
    def needs_a_person(self) -> list[StepView]:
        """The steps for which it waits for a person: it cannot pass them, or their compensation failed.

        While it moves by itself these are the steps whose child sagas wait for a person (see ``waits_below``).
        """
        views = {(step.position, step.branch): view for step, view in zip(self._steps, self.steps, strict=True)}
        if isinstance(self._plan, RunPlan):
            return [views[row.position, row.branch] for row in self._step_rows if row.dead_at is not None]
        waiting = waits_for_a_person(self._plan, self._state)
        return [views[it.address.position, it.address.branch] for it in waiting]

    @cached_property
    @_legible
    def can_be_cancelled(self) -> bool:
        """Whether a cancel would have an effect: it goes forward, or is `failed` only because steps cannot be called.

        A saga that goes forward may still pass its pivot first.
        """
        if isinstance(self._plan, RunPlan):
            has_ended = self._row.ended_by is not None or self.status is SagaStatus.COMPLETED
            return not has_ended and self._row.turned_at is None
        return self.status.is_forward or waits_uncalled(self._plan, self._state)

    @cached_property
    def _state(self) -> InstanceState:
        steps = tuple(map(stored_step_of, self._step_rows))
        children = tuple(ChildState(id=child, status=SagaStatus.FAILED) for child in self._failed_below)
        return InstanceState(id=self.id, status=self.status, steps=steps, evidence=InstanceEvidence(children=children))

    def output_of(self, step: str | None) -> str | None:
        """Return the single name under which a step keeps its result; by default, the step that waits for a person."""
        names = [step] if step is not None else [view.name for view in self.needs_a_person]
        outputs = [one.output for one in self._plan.steps if one.name in names]
        return outputs[0] if len(outputs) == 1 else None

    @cached_property
    @_legible
    def history(self) -> list[HistoryEntry]:
        """Everything that happened, oldest first: from the rows and from the append-only events."""
        entries = [HistoryEntry(at=self.started_at, event=HistoryEvent.STARTED, step=None, detail={"key": self.key})]
        for event in self._event_rows:
            detail = self._show.detail(event.detail)
            entries.append(HistoryEntry(at=event.at, event=event.event, step=event.step, detail=detail))
        for row in self._step_rows:
            notes = notes_of(stored_step_of(row, worker=row.hostname))
            entries += [HistoryEntry(at=it.at, event=it.event, step=it.step, detail=it.detail) for it in notes if it.at]
        if self.finished_at is not None:
            entries.append(HistoryEntry(at=self.finished_at, event=self._row.status, step=None, detail={}))
        return sorted(entries, key=lambda entry: place_of(entry.event, entry.at))

    @cached_property
    @_legible
    def headline(self) -> list[str]:
        """Why it waits for a deploy or a person, what its deliveries wait for, and why it turned back."""
        lines = [
            f"waits for a deploy: {called(it.name, undo=it.round > 0)} cannot be called: {self._show.error(it.error)}"
            for it in self._step_rows
            if it.status == ExecutionStatus.PENDING and it.parked_since is not None
        ]
        if self._row.quiet_at is not None and self._row.quiet_from is not None:
            lines.append("quiet: nothing is open, and no end has come")
        needs = [f"needs a person: {_waits(view, self.waits_below)}" for view in self.needs_a_person]
        lines += [*needs, *held_up(self._step_rows)]
        is_stuck = bool(self.needs_a_person) and not any(view.compensation for view in self.needs_a_person)
        if self.error is not None and not is_stuck:  # otherwise it has the same error
            cause = f"{self.error} (in step {self.error.step})" if self.error.step else str(self.error)
            lines.append(f"turned back because of {cause}")
        return lines

    def progress(self) -> dict[str, Any]:
        """Return what a page may show to a customer who waits: ready for JSON, without data, results or errors."""
        return {
            "id": str(self.id),
            "saga": self.saga,
            "key": self.key,
            "status": self.status.value,
            "ended": self.status.is_final,
            "started_at": self.started_at.isoformat(),
            "finished_at": self.finished_at.isoformat() if self.finished_at else None,
            "steps": [{"name": step.name, "status": step.status.value} for step in self.steps],
        }


def _step_view(
    step: PlanStep, rows: Sequence[Row[Any]], show: Show, waits: Mapping[Place, str], *, ended: bool
) -> StepView:
    own = [row for row in rows if (row.position, row.branch) == (step.position, step.branch)]
    action = next((row for row in own if row.round == 0), None)
    undo = max((row for row in own if row.round > 0), key=lambda row: row.round, default=None)
    if action is None:
        status = StepStatus.SKIPPED if ended else StepStatus.PENDING
        return StepView(name=step.name, status=status, position=step.position, lane=step.lane)
    compensation = None
    if undo is not None:
        compensation = CompensationView(
            name=(step.compensation or f"undo of {step.name}").rpartition(".")[2],
            status=StepStatus(undo.status),
            attempts=undo.attempts,
            round=undo.round,
            error=show.error(undo.error),
            outcome=_outcome(undo),
        )
    return StepView(
        name=step.name,
        status=_combined(StepStatus(action.status), compensation),
        position=step.position,
        lane=step.lane,
        attempts=action.attempts,
        losses=action.losses,
        in_doubt=action.doubt,
        result=unwrapped(show.value(payload.restore(action.result)), step.output),
        error=show.error(action.error),
        compensation=compensation,
        worker=action.hostname,
        started_at=action.first_claimed_at,
        finished_at=action.finished_at,
        records=tuple(show.value(record) for record in payload.restore(action.records or [])),
        waits=waits.get((step.position, step.branch)),
        nothing_to_undo=undo is None and step.kind is StepKind.COMPENSATABLE and not step.is_undoable,
    )


def _outcome(undo: Row[Any]) -> UndoOutcome | None:
    outcome = undo.result.get("outcome") if isinstance(undo.result, Mapping) else undo.result
    if outcome in ("full", "partial", "manual"):
        return UndoOutcome(outcome)
    return UndoOutcome.FULL if undo.status == ExecutionStatus.COMPLETED else None


def _combined(action: StepStatus, compensation: CompensationView | None) -> StepStatus:
    if compensation is None:
        return action
    if compensation.status in (StepStatus.COMPLETED, StepStatus.SKIPPED):
        return StepStatus.COMPENSATED
    if compensation.status is StepStatus.FAILED:
        return StepStatus.FAILED
    return StepStatus.COMPENSATING


def _waits(view: StepView, waiting_children: Sequence[UUID]) -> str:
    """Return what it waits for a person to do at a step, and why."""
    why = (
        f"its child saga waits for a person: {', '.join(map(str, waiting_children))}"
        if waiting_children
        else view.last_error
    )
    return f"{view.called}: {why or 'it waits for an answer'}"
