"""The working copy of a run, which `decide_run` changes and turns into a decision."""

from datetime import datetime, timedelta
from typing import Any

from sagas.model.choreography.plan import ChoreographyPlan, HandlerPlan
from sagas.model.choreography.state import Delivery, Numbered, Recorded, RunDecision, RunState
from sagas.model.executions import LONGEST_SILENCE, PARKED_AFTER, Executions
from sagas.model.history import overwritten
from sagas.model.state import Address, ExecutionStatus, SagaStatus, StepState


class RunDraft(Executions[ChoreographyPlan]):
    """A run being moved on. Methods change one delivery; `decide_run` says which and when."""

    before: RunState

    def __init__(
        self,
        plan: ChoreographyPlan,
        state: RunState,
        now: datetime,
        lease: timedelta,
        parked_after: timedelta = PARKED_AFTER,
    ) -> None:
        super().__init__(plan, state, now, lease, parked_after)
        self.count = state.numbered
        self.closed = dict(state.closed)
        self.ended_by = state.ended_by
        self.turned_at = state.turned_at
        self.came = state.came
        self.quiet_from = state.quiet_from
        self.quiet_at = state.quiet_at
        self.numbered: list[Numbered] = []
        self.published: list[Recorded] = []
        self.consumed: set[int] = set()
        self.refusal: str | None = None
        self.answered: int | None = None

    # -- reading

    def handler(self, step: StepState) -> HandlerPlan:
        return self.plan.handlers[step.address.branch]

    def is_closed(self, step: StepState) -> bool:
        return self.handler(step).name in self.closed

    def is_wanted(self, action: StepState) -> bool:
        """Return whether an action that has not happened may still begin: its handler alone decides that."""
        return not self.is_closed(action)

    def delivery(self, address: Address) -> Delivery:
        row = self.steps[address]
        assert isinstance(row, Delivery)
        return row

    def is_dead(self, step: StepState) -> bool:
        return self.delivery(step.address).dead_at is not None

    def is_late(self, step: StepState) -> bool:
        """Return whether its event came after the end: whatever becomes of it, the run stays as it has ended."""
        return self.delivery(step.address).evidence.is_late

    @property
    def has_ended(self) -> bool:
        """Whether the run had ended for good when it was loaded: what happens to it now does not open it again."""
        return self.before.status in (SagaStatus.COMPLETED, SagaStatus.COMPENSATED)

    @property
    def has_gone_back(self) -> bool:
        """Whether the run turned back, or an event undid a handler."""
        return self.turned_at is not None or bool(self.closed)

    @property
    def takes_events(self) -> bool:
        """Whether events still have deliveries."""
        return self.ended_by is None and self.turned_at is None and not self.has_ended

    @property
    def waits_for_numbers(self) -> bool:
        """Whether events remain without a number when this decision is over."""
        return self.before.evidence.has_more

    # -- writing

    def row_at(self, address: Address) -> Delivery:
        """Return a new round of an action's undo."""
        action = self.delivery(address.action)
        return Delivery(address=address, name=action.name, event=action.event, edits=action.edits, dispatches=0)

    def close(self, step: StepState, status: ExecutionStatus, **changes: Any) -> StepState:
        return super().close(step, status, **{"dead_at": None, **changes})

    def put_back(self, step: StepState, **changes: Any) -> StepState:
        return super().put_back(step, **{"dead_at": None, **changes})

    # -- the outcome

    def began_at(self) -> datetime | None:
        """Return the moment of the first look at the run, which stores the deadline; None: it has no event yet."""
        return self.now if self.count else None

    def decision(self) -> RunDecision:
        steps = tuple(self.steps[address] for address in sorted(self.steps))
        live = [step for step in steps if step.is_live]
        state = self.moved(
            steps,
            pending=len(live),
            due_at=self.next_look(live),
            numbered=self.count,
            closed=self.closed,
            ended_by=self.ended_by,
            turned_at=self.turned_at,
            came=self.came,
            quiet_from=self.quiet_from,
            quiet_at=self.quiet_at,
        )
        return RunDecision(
            state=state,
            sends=tuple(self.sends),
            notes=(*overwritten(self.before, state), *self.notes),
            consumed=frozenset(self.consumed),
            numbered=tuple(self.numbered),
            published=tuple(self.published),
            needs_whole=bool(self.closed) and not self.before.evidence.is_whole,
            accepted=self.accepted,
            refusal=self.refusal,
            answered=self.answered,
        )

    def next_look(self, live: list[StepState]) -> datetime | None:
        """Return the moment by which something should have happened; None: the run has ended, or needs a person."""
        looks = [self.when_to_look(step) for step in live]
        if self.status in (SagaStatus.COMPLETED, SagaStatus.COMPENSATED):  # only what came late can be open
            return min(looks, default=None)
        deadline = self.deadline()
        if deadline and self.takes_events and deadline > self.now:
            looks.append(deadline)
        if self.status is SagaStatus.FAILED:  # only its deadline can move it
            return min(looks, default=None)
        if self.waits_for_numbers:
            looks.append(self.now)
        if self.quiet_from and self.quiet_from > self.now:
            looks.append(self.quiet_from)
        return min(looks, default=self.now + LONGEST_SILENCE)
