"""The working copy that `decide` changes: an instance being moved on, with the rules for a single execution."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sagas.model.commands import Decision, Note, Post, Send, StartChild
from sagas.model.history import overwritten
from sagas.model.plan import Plan, PlanStep, StepRole
from sagas.model.retry import Verdict
from sagas.model.state import (
    Address,
    ErrorInfo,
    Holder,
    InstanceState,
    Mail,
    MailKind,
    SagaStatus,
    StepState,
    StepStatus,
    child_id,
    pardoned,
)
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


class Draft:
    """An instance being moved on. Methods change one execution; `decide` says which and when."""

    def __init__(
        self,
        plan: Plan,
        state: InstanceState,
        now: datetime,
        lease: timedelta,
        parked_after: timedelta = PARKED_AFTER,
    ) -> None:
        self.plan = plan
        self.before = state
        self.now = now
        self.lease = lease
        self.parked_after = parked_after
        self.status = state.status
        self.error = state.error
        self.stop = state.stop
        self.written = state.written
        self.steps: dict[Address, StepState] = {step.address: step for step in state.steps}
        self.sends: list[Send] = []
        self.notes: list[Note] = []
        self.children: list[StartChild] = []
        self.posts: list[Post] = []
        self.consumed: set[int] = set()
        self.stops: list[Address] = []
        self.stops_at_once = False  # running steps are told to stop, as by a parent that tells all its branches
        self.accepted = True

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

    @property
    def position(self) -> int:
        """The last position that was begun; -1 before the first step."""
        return max((step.address.position for step in self.actions()), default=-1)

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

    def birth(self, address: Address) -> None:
        """Add a row, which is born when it is dispatched."""
        name = self.plan.step(address.position, address.branch).name
        self.steps[address] = StepState(address=address, name=name, dispatches=0)
        self.begin(self.steps[address])

    def birth_for_a_person(self, undo: Address, question: str) -> None:
        """Add the undo of an action when a person has to say whether the action happened, or that it is undone."""
        row = StepState(address=undo, name=self.plan.step(undo.position, undo.branch).name, dispatches=0)
        self.close(self.ask(row, question), StepStatus.FAILED)

    def ask(self, undo: StepState, question: str) -> StepState:
        """Ask a person about an action: the question is the error of its undo."""
        return self.put(undo, error=ErrorInfo(type=Reason.IN_DOUBT, message=question, step=undo.name))

    def keep_waiting(self, step: StepState) -> None:
        """Keep a step waiting for a place under its saga's limit. A message sent earlier must not begin it."""
        self.put(step, not_before=self.now + 2 * LONGEST_SILENCE)

    def begin(self, step: StepState) -> None:
        """Send a step that a worker runs; begin one that waits for something else, which has no message."""
        plan_step = self.plan_step(step)
        if plan_step.is_task:
            self.dispatch(step)
        elif plan_step.role is StepRole.CHILD and step.address.is_action:
            step = self.put(step, attempts=step.attempts + 1, dispatched_at=self.now, first_claimed_at=self.now)
            self.children.append(StartChild(address=step.address, id=child_id(self.before.id, step)))
        elif plan_step.role is StepRole.CHILD:
            self.put(step, dispatched_at=self.now, first_claimed_at=self.now)
            self.tell_child(step, MailKind.UNDO)
        else:
            wakes_at = self.now + timedelta(seconds=plan_step.seconds or 0)
            self.put(step, not_before=wakes_at, first_claimed_at=self.now)

    def tell_child(self, step: StepState, kind: MailKind, reason: str = "") -> None:
        action = self.steps[step.address.action]
        at_once = kind is MailKind.CANCEL and self.is_told_to_stop(action)
        mail = Mail(kind=kind, name=reason, payload=AT_ONCE if at_once else None, by="parent saga")
        self.posts.append(Post(to=child_id(self.before.id, action), mail=mail))

    def is_told_to_stop(self, action: StepState) -> bool:
        """Return whether a running action is told to stop once its saga turns back."""
        return self.stops_at_once or self.plan_step(action).cancels_siblings

    def dispatch(self, step: StepState, countdown: timedelta = timedelta(0)) -> None:
        """Send it (again). If the epoch has changed since the last dispatch, a claim in between may be lost."""
        self.put(
            step,
            status=StepStatus.PENDING,
            dispatches=step.dispatches + 1,
            dispatched_at=self.now + countdown,
            doubt=step.doubt or (step.epoch_changed and step.address.is_action),
            epoch_changed=False,
        )
        self.sends.append(Send(address=step.address, countdown=countdown.total_seconds()))

    def put_back(self, step: StepState, **changes: Any) -> StepState:
        """Make it unclaimed again; this alone sends nothing."""
        return self.put(
            step,
            status=StepStatus.PENDING,
            token=None,
            claimed_at=None,
            dispatched_at=None,
            dispatches=0,
            holder=Holder.NONE,
            **{"finished_at": None, "not_before": None, "parked_since": None, **changes},
        )

    def close(self, step: StepState, status: StepStatus, **changes: Any) -> StepState:
        if status is StepStatus.FAILED:  # a step that waits for a person because it cannot be called sets this itself
            changes = {"parked_since": None, **changes}
        return self.put(step, status=status, finished_at=self.now, holder=Holder.NONE, **changes)

    def completed(self, step: StepState, result: Any, keys: tuple[str, ...] = ()) -> StepState:
        """Complete it; return its new state."""
        done = self.close(step, StepStatus.COMPLETED, result=result, error=None, doubt=False)
        self.has_moved(step)
        if keys and step.address.is_action and step.address.position == self.position:
            self.written = {**(self.written or {}), **dict.fromkeys(keys, step.address.branch)}
        return done

    def skipped(self, step: StepState) -> None:
        """Record that its condition is false, so it did nothing. An earlier attempt's doubt stays."""
        doubt = step.doubt or step.epoch_changed  # of a claim that a crash may have lost
        self.close(step, StepStatus.SKIPPED, error=None, attempts=max(step.attempts - 1, 0), doubt=doubt)
        self.has_moved(step)

    def has_moved(self, step: StepState) -> None:
        if step.address.is_action and self.status.is_forward:
            self.status = SagaStatus.RUNNING

    def clash(self, step: StepState, keys: tuple[str, ...]) -> ErrorInfo | None:
        """Return an error if another branch has returned one of these keys: they would race for it in the data."""
        if step.address.position != self.position:
            return None  # the branches of its position are long done
        own = {other.branch for other in self.plan.lane(self.plan_step(step))}
        for key in keys:
            branch = (self.written or {}).get(key)
            if branch is not None and branch not in own:
                other = self.plan.step(step.address.position, branch).name
                message = f"the branches {other!r} and {step.name!r} both return {key!r}: give it two names"
                return ErrorInfo(type=Reason.KEY_CLASH, message=message, step=step.name)
        return None

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
        return self.status.is_forward and (self.plan_step(step).idempotent or (clean and not step.doubt))

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
                StepStatus.FAILED,
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
        return step.limits.timeout if step.limits else self.plan_step(step).timeout_for(step.address.round)

    def void(self, action: StepState) -> None:
        """Leave forward: an unclaimed action never runs; one that may have run is given up in doubt."""
        self.sends = [send for send in self.sends if send.address != action.address]
        starting = [child for child in self.children if child.address == action.address]
        if self.plan_step(action).role is StepRole.CHILD and not starting:
            # It ends by itself, one way or the other, and reports; until then the parent waits.
            self.tell_child(action, MailKind.CANCEL, "its parent turned back")
            return
        self.children = [child for child in self.children if child not in starting]
        if not self.waits(action) and (action.doubt or action.epoch_changed):
            self.close(action, StepStatus.FAILED, doubt=True, token=None)
        else:
            self.close(action, StepStatus.SKIPPED, token=None)

    # -- the outcome

    def decision(self) -> Decision:
        steps = tuple(self.steps[address] for address in sorted(self.steps))
        live = [step for step in steps if step.is_live]
        # An instance that was failed and still is ended then; one whose last step was skipped ends now.
        ended = (self.before.finished_at if self.status is self.before.status else None) or self.now
        state = replace(
            self.before,
            status=self.status,
            error=self.error,
            stop=self.stop,
            steps=steps,
            written=self.written,
            deadline=(deadline := self.deadline(lasting=False)),
            deadline_seconds=None if deadline else self.before.deadline_seconds,
            pending=len(live) + len(self.given_up_beside_others()),
            finished_at=ended if self.status.is_final else None,
            due_at=None if self.status.is_final else self.next_look([step for step in live if not is_queued(step)]),
        )
        has_news = self.status in TOLD_TO_PARENT and self.status is not self.before.status
        if has_news and self.before.parent is not None:
            self.posts.append(Post(to=self.before.parent, mail=Mail(kind=MailKind.CHILD)))
        return Decision(
            state=state,
            sends=tuple(self.sends),
            notes=(*overwritten(self.before, state), *self.notes),
            children=tuple(self.children),
            posts=tuple(self.posts),
            consumed=frozenset(self.consumed),
            stops=tuple(self.stops),
            accepted=self.accepted,
        )

    def given_up_beside_others(self) -> list[StepState]:
        """Return the failed branches that count as pending while the saga goes forward.

        Otherwise the last of the other branches would take the whole position for done.
        """
        if not self.status.is_forward:
            return []
        return [
            step
            for step in self.actions()
            if step.status is StepStatus.FAILED
            and self.plan.is_parallel(step.address.position)
            and not self.plan_step(step).best_effort
        ]

    def deadline(self, *, lasting: bool = True) -> datetime | None:
        """Return the deadline, counted from the beginning of the first step.

        An open transaction, a backlog or an outage does not use it up. An outage that has not ended moves the deadline
        from moment to moment, which must not be stored.
        """
        began = [step.first_claimed_at for step in self.actions() if step.first_claimed_at]
        deadline = self.before.deadline
        if deadline is None and self.before.deadline_seconds is not None and began:
            deadline = min(began) + timedelta(seconds=self.before.deadline_seconds)
        outages = [outage for outage in self.before.outages if lasting or outage.ended]
        return deadline and pardoned(deadline, outages, self.now)

    def next_look(self, live: list[StepState]) -> datetime:
        """Return the moment by which something should have happened."""
        # An instance that waits for a lock is woken when it is free.
        waits_in_line = self.before.awaits_lock and self.status.is_forward
        idle = LONGEST_SILENCE if waits_in_line else self.lease
        looks = [self.now + idle] if waits_in_line or not live else [self.look_at(step) for step in live]
        deadline = self.deadline()
        if deadline and self.status.is_forward and deadline > self.now:
            looks.append(deadline)
        elif deadline is None and self.before.deadline_seconds is not None:
            # No step has begun; from its beginning on it has all of that time.
            looks.append(self.now + timedelta(seconds=max(self.before.deadline_seconds, 1.0)))
        if self.given_up_beside_others() and not all(map(self.waits, live)):
            # A branch that completes counts it as running, and leaves the end to the next look. A wait beside it
            # needs none: it ends by a look.
            looks.append(self.now + self.lease)
        return min(looks)

    def look_at(self, step: StepState) -> datetime:
        if self.waits(step):
            # A child saga reports its end: there is no need to look for it.
            return step.not_before or self.now + LONGEST_SILENCE
        if step.status is StepStatus.RUNNING and step.holder is Holder.SILENT:
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
    return undo.status is StepStatus.FAILED and undo.error is not None and undo.error.type == Reason.IN_DOUBT


#: The payload of a cancel that also stops running steps.
AT_ONCE = '{"at_once": true}'
ONLY_A_PERSON_CAN_TELL = (
    "in doubt, and its step says that only a person can tell whether it happened: resolve it with that answer, or "
    "retry to have it undone now"
)
BY_HAND_IF_IT_HAPPENED = (
    "it may have happened after its saga had turned back, and it has no compensation: find out, and resolve it with "
    "that answer, undone by hand if it happened (undo=False; --undone)"
)
HAPPENED_AND_STAYS = (
    "it happened, its saga has turned back, and it has no compensation: undo it by hand and resolve it as undone, or "
    "skip it if nothing has to be undone"
)
NO_RESULT = "its action is in doubt, and no result"
#: Statuses of a child saga that its parent hears of; one that failed waits for a person, and so does its parent.
TOLD_TO_PARENT = frozenset({SagaStatus.COMPLETED, SagaStatus.COMPENSATED})
LOST = "the process that ran it died and it was not to be run again"
