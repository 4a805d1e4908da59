"""The working copy of an instance's executions, with the rules for a single one: steps and deliveries share them."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

from sagas.model.commands import Note, Send
from sagas.model.plan import PlanStep
from sagas.model.retry import Verdict
from sagas.model.state import Address, ErrorInfo, ExecutionStatus, Holder, InstanceState, StepState, pardoned
from sagas.model.vocabulary import HistoryEvent, Reason

#: A retry sooner than this is a Celery countdown; a later one waits in ``due_at`` and needs no message.
LONGEST_COUNTDOWN = timedelta(seconds=5)
#: The longest wait, whatever a policy or a service's Retry-After asks for.
LONGEST_DELAY = timedelta(days=7)
#: How soon to look at something that should report by itself: a child saga, a sent message, a running execution.
#: Evidence of a loss comes sooner, and on its own (see `sagas.recovery`).
LONGEST_SILENCE = timedelta(hours=1)
#: How long a step that cannot be called waits altogether, before it waits for a person.
PARKED_AFTER = timedelta(seconds=300)
#: The sweep enforces a timeout this much later than Celery's own limits, which end the process as well.
TIMEOUT_GRACE = timedelta(seconds=5)
LOST = "the process that ran it died and it was not to be run again"


class HasSteps(Protocol):
    """A plan, as far as single executions are concerned."""

    def step(self, position: int, branch: int = 0, /) -> PlanStep: ...


P = TypeVar("P", bound=HasSteps)


class Executions(Generic[P]):
    """An instance being moved on. Methods change one execution; `decide` says which and when."""

    def __init__(
        self, plan: P, state: InstanceState, now: datetime, lease: timedelta, parked_after: timedelta = PARKED_AFTER
    ) -> None:
        self.plan = plan
        self.before = state
        self.now = now
        self.lease = lease
        self.parked_after = parked_after
        self.status = state.status
        self.error = state.error
        self.stop = state.stop
        self.steps: dict[Address, StepState] = {step.address: step for step in state.steps}
        self.sends: list[Send] = []
        self.notes: list[Note] = []
        self.accepted = True

    def is_wanted(self, action: StepState) -> bool:
        """Return whether an action that has not happened may still begin."""
        return self.status.is_forward

    def void(self, action: StepState) -> None:
        """Close an unclaimed action, so that it never runs; one that may have run is given up in doubt."""
        self.sends = [send for send in self.sends if send.address != action.address]
        if not self.waits(action) and (action.doubt or action.evidence.epoch_changed):
            self.close(action, ExecutionStatus.FAILED, doubt=True, token=None)
        else:
            self.close(action, ExecutionStatus.SKIPPED, token=None)

    # -- reading

    def plan_step(self, step: StepState) -> PlanStep:
        return self.plan.step(step.address.position, step.address.branch)

    def waits(self, step: StepState) -> bool:
        """Return whether it waits for time, a signal or another saga; no worker is involved."""
        return not self.plan_step(step).is_task

    def actions(self) -> list[StepState]:
        return [step for step in self.steps.values() if step.address.is_action]

    def compensations(self) -> list[StepState]:
        return [step for step in self.steps.values() if not step.address.is_action]

    def last_round(self, action: StepState) -> StepState | None:
        place = (action.address.position, action.address.branch)
        rounds = [step for step in self.compensations() if (step.address.position, step.address.branch) == place]
        return max(rounds, key=lambda step: step.address.round, default=None)

    # -- writing

    def put(self, step: StepState, **changes: Any) -> StepState:
        changed = replace(step, **changes)
        self.steps[step.address] = changed
        return changed

    def note(self, event: HistoryEvent, step: StepState | None = None, /, **detail: Any) -> None:
        address, name = (step.address, step.name) if step else (None, None)
        self.notes.append(Note(event=event, address=address, step=name, detail=detail))

    def row_at(self, address: Address) -> StepState:
        """Return a row that was not dispatched yet."""
        return StepState(address=address, name=self.plan.step(address.position, address.branch).name, dispatches=0)

    def birth_for_a_person(self, undo: Address, question: str) -> None:
        """Add the undo of an action when a person has to say whether the action happened, or that it is undone."""
        self.close(self.ask(self.row_at(undo), question), ExecutionStatus.FAILED)

    def ask(self, undo: StepState, question: str) -> StepState:
        """Ask a person about an action: the question is the error of its undo."""
        return self.put(undo, error=ErrorInfo(type=Reason.IN_DOUBT, message=question, step=undo.name))

    def dispatch(self, step: StepState, countdown: timedelta = timedelta(0)) -> None:
        """Send it (again). If the epoch has changed since the last dispatch, a claim in between may be lost."""
        self.put(
            step,
            status=ExecutionStatus.PENDING,
            dispatches=step.dispatches + 1,
            dispatched_at=self.now + countdown,
            doubt=step.doubt or (step.evidence.epoch_changed and step.address.is_action),
            evidence=replace(step.evidence, epoch_changed=False),
        )
        self.sends.append(Send(address=step.address, countdown=countdown.total_seconds()))

    def put_back(self, step: StepState, **changes: Any) -> StepState:
        """Make it unclaimed again; this alone sends nothing."""
        return self.put(
            step,
            status=ExecutionStatus.PENDING,
            token=None,
            claimed_at=None,
            dispatched_at=None,
            dispatches=0,
            evidence=replace(step.evidence, holder=Holder.NONE),
            **{"finished_at": None, "not_before": None, "parked_since": None, **changes},
        )

    def close(self, step: StepState, status: ExecutionStatus, **changes: Any) -> StepState:
        # A step that waits for a person because it cannot be called sets this itself.
        if status is ExecutionStatus.FAILED:
            changes = {"parked_since": None, **changes}
        evidence = replace(step.evidence, holder=Holder.NONE)
        return self.put(step, status=status, finished_at=self.now, evidence=evidence, **changes)

    # -- one execution failed, was lost, or waits

    def in_doubt(self, step: StepState, verdict: Verdict) -> bool:
        """Return whether the step is in doubt. Doubt is sticky, and only for actions: an undo simply runs again."""
        return step.address.is_action and (step.doubt or not verdict.is_clean)

    def undo_is_late(self, step: StepState, delay: timedelta = timedelta(0)) -> bool:
        """Return whether an undo with a deadline would begin its next try after it, and must be given up."""
        within = self.plan_step(step).compensation_deadline
        if step.address.is_action or within is None or step.first_claimed_at is None:
            return False
        is_late = self.now + delay >= step.first_claimed_at + timedelta(seconds=within)
        if is_late:
            self.note(HistoryEvent.COMPENSATION_DEADLINE_PASSED, step, seconds=within)
        return is_late

    def may_run_again(self, step: StepState, *, clean: bool = False) -> bool:
        """Return whether it may run again: an action that is not idempotent only if nothing was done the first time."""
        if not step.address.is_action:
            return True
        return self.is_wanted(step) and (self.plan_step(step).idempotent or (clean and not step.doubt))

    def lost(self, step: StepState, *, proven: bool, error: ErrorInfo | None = None) -> None:
        """Record that its holder died. Losses have their own limit: a deploy's SIGKILL does not count as a failure."""
        within_budget = step.losses + 1 <= self.plan_step(step).max_losses
        if self.may_run_again(step) and within_budget and not self.undo_is_late(step):
            self.note(HistoryEvent.HOLDER_LOST, step, attempt=step.attempts, proven=proven)
            doubt = self.in_doubt(step, Verdict.INTERRUPTED)
            self.dispatch(self.put_back(step, losses=step.losses + 1, doubt=doubt, error=error or step.error))
        elif proven or self.now >= self.end_of(step) or not step.address.is_action:
            self.note(HistoryEvent.HOLDER_LOST, step, attempt=step.attempts, proven=proven, given_up=True)
            self.close(
                step,
                ExecutionStatus.FAILED,
                losses=step.losses + 1,
                doubt=self.in_doubt(step, Verdict.INTERRUPTED),
                error=error or step.error or ErrorInfo(type=Reason.HOLDER_LOST, message=LOST, step=step.name),
            )
        # else: a silent holder may still be acting behind a broken connection; undoing waits until its time is over.

    def end_of(self, step: StepState) -> datetime:
        """Return when its timeout is over, whatever its process does."""
        return (step.claimed_at or self.now) + timedelta(seconds=self.timeout_of(step)) + TIMEOUT_GRACE

    def timeout_of(self, step: StepState) -> float:
        """Return the seconds that one execution may take."""
        limits = step.evidence.limits
        return limits.timeout if limits else self.plan_step(step).timeout_for(step.address.round)

    def began_at(self) -> datetime | None:
        """Return when the first action began; None: none has begun."""
        return min((step.first_claimed_at for step in self.actions() if step.first_claimed_at), default=None)

    def deadline(self, *, with_running_outage: bool = True) -> datetime | None:
        """Return the deadline, counted from `began_at`.

        An open transaction, a backlog or an outage does not use it up. An outage that has not ended moves the deadline
        from moment to moment, which must not be stored.
        """
        deadline, seconds, began = self.before.deadline, self.before.deadline_seconds, self.began_at()
        if deadline is None and seconds is not None and began is not None:
            deadline = began + timedelta(seconds=seconds)
        outages = [outage for outage in self.before.evidence.outages if with_running_outage or outage.ended]
        return deadline and pardoned(deadline, outages, self.now)

    def moved(self, steps: tuple[StepState, ...], **changes: Any) -> Any:
        """Return the instance as it is now.

        Args:
            changes: the columns that only a saga has, or only a run.
        """
        # An instance that was failed and still is ended then; one whose last step was skipped ends now.
        ended = (self.before.finished_at if self.status is self.before.status else None) or self.now
        deadline = self.deadline(with_running_outage=False)
        return replace(
            self.before,
            status=self.status,
            error=self.error,
            stop=self.stop,
            steps=steps,
            deadline=deadline,
            deadline_seconds=None if deadline else self.before.deadline_seconds,
            finished_at=ended if self.status.is_final else None,
            **changes,
        )

    def when_to_look(self, step: StepState) -> datetime:
        """Return when to look next at an execution that is not done."""
        if self.waits(step):
            # A child saga reports its end: there is no need to look for it.
            return step.not_before or self.now + LONGEST_SILENCE
        if step.status is ExecutionStatus.RUNNING and step.evidence.holder is Holder.SILENT:
            # A silent holder is waited for, not watched: the declaration of its death is final.
            return self.end_of(step)
        if step.not_before and step.not_before > self.now and step.dispatched_at is None:
            return step.not_before
        # A message that is sent, or waits in its queue's line, needs no look: the line and its evidence find a loss.
        return self.now + LONGEST_SILENCE


def is_queued(step: StepState) -> bool:
    """Return whether a compensation waits for its turn, when `settle` sends it."""
    return not step.address.is_action and step.dispatched_at is None and step.not_before is None


def waits_for_an_answer(undo: StepState) -> bool:
    """Return whether a compensation has not run because a person must first say whether its action happened."""
    return undo.status is ExecutionStatus.FAILED and undo.error is not None and undo.error.type == Reason.IN_DOUBT
