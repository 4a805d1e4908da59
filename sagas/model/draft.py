"""The working copy that `decide` changes: an instance being moved on, and the rules for a single execution."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sagas.model.commands import Decision, Note, Post, Send, StartChild
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
)

#: A retry sooner than this is a Celery countdown; a later one waits in ``due_at`` and holds no message.
LONGEST_COUNTDOWN = timedelta(seconds=5)
#: Whatever a policy or a service's Retry-After asks for.
LONGEST_DELAY = timedelta(days=7)
#: A backlog is not a loss: without evidence, a message is sent again only after this, x 4, at most the cap.
FIRST_PATIENCE = timedelta(seconds=60)
PATIENCE_FACTOR = 4
LONGEST_PATIENCE = timedelta(minutes=10)
#: How soon to look at a child saga without having heard of it.
LONGEST_SILENCE = timedelta(hours=1)
#: How long a step waits whose task cannot be called: a deploy has to cure it.
PARKED_FOR = timedelta(seconds=60)
#: The sweep enforces a timeout this much later than Celery's own limits, which end the process as well.
TIMEOUT_GRACE = timedelta(seconds=5)


class Draft:
    """An instance being moved on. Methods change one execution; `decide` says which and when."""

    def __init__(self, plan: Plan, state: InstanceState, now: datetime, lease: timedelta) -> None:
        self.plan = plan
        self.before = state
        self.now = now
        self.lease = lease
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
        self.accepted = True
        self.pardons_deadlines = False

    # -- reading

    def plan_step(self, step: StepState) -> PlanStep:
        return self.plan.step(step.address.position, step.address.branch)

    def waits(self, step: StepState) -> bool:
        """For time, a signal or another saga: no worker has to do with it."""
        return not self.plan_step(step).is_task

    def actions(self) -> list[StepState]:
        return [step for step in self.steps.values() if step.address.is_action]

    def compensations(self) -> list[StepState]:
        return [step for step in self.steps.values() if not step.address.is_action]

    @property
    def position(self) -> int:
        """How far it has come; -1 before the first step."""
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

    def note(self, event: str, step: StepState | None = None, /, **detail: Any) -> None:
        address, name = (step.address, step.name) if step else (None, None)
        self.notes.append(Note(event=event, address=address, step=name, detail=detail))

    def birth(self, address: Address) -> None:
        """A row is born when it is dispatched."""
        name = self.plan.step(address.position, address.branch).name
        self.steps[address] = StepState(address=address, name=name, dispatches=0)
        self.begin(self.steps[address])

    def begin(self, step: StepState) -> None:
        """Send what a worker is to run; let begin what waits for something else, which has no message."""
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
        mail = Mail(kind=kind, name=reason, by="parent saga")
        self.posts.append(Post(to=child_id(self.before.id, action), mail=mail))

    def dispatch(self, step: StepState, countdown: timedelta = timedelta(0)) -> None:
        """Send it (again). A dispatch under another epoch than the last one: a claim in between may be lost."""
        self.put(
            step,
            status=StepStatus.PENDING,
            dispatches=step.dispatches + 1,
            dispatched_at=self.now + countdown,
            doubt=step.doubt or (step.epoch_changed and step.address.is_action),
            epoch_changed=False,
            overtaken=False,
        )
        self.sends.append(Send(address=step.address, countdown=countdown.total_seconds()))

    def put_back(self, step: StepState, **changes: Any) -> StepState:
        """Unclaimed again; nothing is sent by this alone."""
        return self.put(
            step,
            status=StepStatus.PENDING,
            token=None,
            claimed_at=None,
            dispatched_at=None,
            dispatches=0,
            not_before=None,
            holder=Holder.NONE,
            **{"finished_at": None, **changes},
        )

    def close(self, step: StepState, status: StepStatus, **changes: Any) -> StepState:
        return self.put(step, status=status, finished_at=self.now, holder=Holder.NONE, **changes)

    def completed(self, step: StepState, result: Any, keys: tuple[str, ...] = ()) -> None:
        self.close(step, StepStatus.COMPLETED, result=result, error=None, doubt=False)
        self.has_moved(step)
        if keys and step.address.is_action and step.address.position == self.position:
            self.written = {**(self.written or {}), **dict.fromkeys(keys, step.address.branch)}

    def skipped(self, step: StepState) -> None:
        """Its condition is false, so it did nothing. One before it may have: only a completion clears doubt."""
        doubt = step.doubt or step.epoch_changed  # of a claim that a crash may have lost
        self.close(step, StepStatus.SKIPPED, error=None, attempts=max(step.attempts - 1, 0), doubt=doubt)
        self.has_moved(step)

    def has_moved(self, step: StepState) -> None:
        if step.address.is_action and self.status.is_forward:
            self.status = SagaStatus.RUNNING

    def clash(self, step: StepState, keys: tuple[str, ...]) -> ErrorInfo | None:
        """Two branches that return the same key would race for it in the data."""
        if step.address.position != self.position:
            return None  # the branches of its position are long done
        own = {other.branch for other in self.plan.lane(self.plan_step(step))}
        for key in keys:
            branch = (self.written or {}).get(key)
            if branch is not None and branch not in own:
                other = self.plan.step(step.address.position, branch).name
                message = f"the branches {other!r} and {step.name!r} both return {key!r}: give it two names"
                return ErrorInfo(type="sagas.KeyClash", message=message, step=step.name)
        return None

    # -- one execution failed, was lost, or waits

    def attempt_failed(
        self, step: StepState, error: ErrorInfo, verdict: Verdict, dice: float = 0.0, retry_after: float = 0.0
    ) -> None:
        """Retry by the policy, or give up. Every failure goes to the history with its traceback."""
        plan_step = self.plan_step(step)
        policy = plan_step.retry_for(step.address.round)
        self.note("attempt_failed", step, **error.to_json(), attempt=step.attempts, verdict=verdict.value)
        step = self.put(step, error=error, doubt=self.in_doubt(step, verdict))
        may_retry = verdict in (Verdict.RETRYABLE, Verdict.TIMEOUT) and step.failures < policy.max_attempts
        if may_retry and self.may_run_again(step):
            asked = min(max(policy.delay(step.failures, dice), retry_after), LONGEST_DELAY.total_seconds())
            delay = timedelta(seconds=asked)
            if self.undo_is_late(step, delay):
                self.close(step, StepStatus.FAILED)
                return
            waiting = self.put_back(step)
            if delay <= LONGEST_COUNTDOWN:
                self.dispatch(self.put(waiting, not_before=self.now + delay), countdown=delay)
            else:
                self.put(waiting, not_before=self.now + delay)
        else:
            self.close(step, StepStatus.FAILED)

    def in_doubt(self, step: StepState, verdict: Verdict) -> bool:
        """Doubt is sticky, and a matter of actions: an undo that may have happened is simply run again."""
        return step.address.is_action and (step.doubt or verdict is not Verdict.CLEAN_NO)

    def undo_is_late(self, step: StepState, delay: timedelta = timedelta(0)) -> bool:
        """An undo with a deadline is given up when its next try would begin after it."""
        within = self.plan_step(step).compensation_deadline
        if step.address.is_action or within is None or step.first_claimed_at is None:
            return False
        is_late = self.now + delay >= step.first_claimed_at + timedelta(seconds=within)
        if is_late:
            self.note("compensation_deadline_passed", step, seconds=within)
        return is_late

    def may_run_again(self, step: StepState) -> bool:
        if not step.address.is_action:
            return True
        return self.status.is_forward and self.plan_step(step).idempotent

    def lost(self, step: StepState, *, proven: bool, error: ErrorInfo | None = None) -> None:
        """Its holder died. Losses have their own budget: a deploy's SIGKILL uses up no attempt."""
        within_budget = step.losses + 1 <= self.plan_step(step).max_losses
        if self.may_run_again(step) and within_budget and not self.undo_is_late(step):
            self.note("holder_lost", step, attempt=step.attempts, proven=proven)
            doubt = self.in_doubt(step, Verdict.INTERRUPTED)
            self.dispatch(self.put_back(step, losses=step.losses + 1, doubt=doubt, error=error or step.error))
        elif proven or self.now >= self.end_of(step) or not step.address.is_action:
            self.note("holder_lost", step, attempt=step.attempts, proven=proven, given_up=True)
            self.close(
                step,
                StepStatus.FAILED,
                losses=step.losses + 1,
                doubt=self.in_doubt(step, Verdict.INTERRUPTED),
                error=error or step.error or ErrorInfo(type="sagas.HolderLost", message=LOST, step=step.name),
            )
        # else: a silent holder may still be acting behind a cut cable; undoing waits until its time is over.

    def end_of(self, step: StepState) -> datetime:
        """When its timeout is over, whatever its process does."""
        timeout = self.plan_step(step).timeout_for(step.address.round)
        return (step.claimed_at or self.now) + timedelta(seconds=timeout) + TIMEOUT_GRACE

    def parked(self, step: StepState, error: ErrorInfo) -> None:
        """Its task could not be called: not an attempt, not an answer."""
        if step.error != error:
            self.note("parked", step, **error.to_json())
        step = self.put(step, attempts=step.attempts - 1, error=error)
        if step.address.is_action and not self.status.is_forward:
            self.void(step)
        else:
            self.put(self.put_back(step), not_before=self.now + PARKED_FOR)

    def void(self, action: StepState) -> None:
        """Leaving forward: an unclaimed action never runs; one that may have run is given up in doubt."""
        self.sends = [send for send in self.sends if send.address != action.address]
        starting = [child for child in self.children if child.address == action.address]
        if self.plan_step(action).role is StepRole.CHILD and not starting:
            # It ends by itself, one way or the other, and tells; until then it is waited for.
            self.tell_child(action, MailKind.CANCEL, "its parent turned back")
            return
        self.children = [child for child in self.children if child not in starting]
        if not self.waits(action) and (action.doubt or action.epoch_changed):
            self.close(action, StepStatus.FAILED, doubt=True, token=None)
        else:
            self.close(action, StepStatus.SKIPPED, token=None)

    def patience_over(self, step: StepState) -> bool:
        """No evidence either way: has its message been out for so long that another one does no harm?"""
        if step.dispatched_at is None:
            return True
        exponent = min(max(step.dispatches, 1) - 1, 8)
        patience: timedelta = min(LONGEST_PATIENCE, FIRST_PATIENCE * PATIENCE_FACTOR**exponent)
        return self.now >= step.dispatched_at + patience

    # -- the outcome

    def decision(self) -> Decision:
        steps = tuple(self.steps[address] for address in sorted(self.steps))
        live = [step for step in steps if step.is_live]
        # Failed and still failed ended then; failed and skipped past ends now.
        ended = (self.before.finished_at if self.status is self.before.status else None) or self.now
        state = replace(
            self.before,
            status=self.status,
            error=self.error,
            stop=self.stop,
            steps=steps,
            written=self.written,
            deadline=(deadline := self.deadline()),
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
            notes=tuple(self.notes),
            children=tuple(self.children),
            posts=tuple(self.posts),
            consumed=frozenset(self.consumed),
            stops=tuple(self.stops),
            accepted=self.accepted,
        )

    def given_up_beside_others(self) -> list[StepState]:
        """Counted as pending while the saga goes forward: the last of the others must not take all for done."""
        if not self.status.is_forward:
            return []
        return [
            step
            for step in self.actions()
            if step.status is StepStatus.FAILED
            and self.plan.is_parallel(step.address.position)
            and not self.plan_step(step).best_effort
        ]

    def deadline(self) -> datetime | None:
        """Counted from the beginning of the first step: neither a long open transaction nor a backlog eats it up."""
        began = [step.first_claimed_at for step in self.actions() if step.first_claimed_at]
        if self.before.deadline is None and self.before.deadline_seconds is not None and began:
            return min(began) + timedelta(seconds=self.before.deadline_seconds)
        return self.before.deadline

    def next_look(self, live: list[StepState]) -> datetime:
        """The moment by which something should have happened."""
        # Who waits in line is woken.
        idle = LONGEST_SILENCE if self.before.awaits_lock else self.lease
        looks = [self.now + idle] if not live else [self.look_at(step) for step in live]
        deadline = self.deadline()
        if deadline and self.status.is_forward and deadline > self.now:
            looks.append(deadline)
        return min(looks)

    def look_at(self, step: StepState) -> datetime:
        if self.waits(step):
            # A child saga tells when it has ended: nothing has to be looked after.
            return step.not_before or self.now + LONGEST_SILENCE
        if step.status is StepStatus.RUNNING:
            # A silent holder is waited for, not watched: death was declared and is final.
            return self.end_of(step) if step.holder is Holder.SILENT else self.now + self.lease
        if step.not_before and step.not_before > self.now and step.dispatched_at is None:
            return step.not_before
        # Unclaimed: look again after as long as it has waited by now, so that a backlog costs little.
        waited = self.now - (step.dispatched_at or self.now)
        return self.now + min(max(waited, self.lease), FIRST_PATIENCE)


def is_queued(step: StepState) -> bool:
    """A compensation that waits for its turn: `settle` sends it."""
    return not step.address.is_action and step.dispatched_at is None and step.not_before is None


#: How a child saga ends for its parent; one that failed waits for a person, and so does its parent.
TOLD_TO_PARENT = frozenset({SagaStatus.COMPLETED, SagaStatus.COMPENSATED})
LOST = "the process that ran it died and it was not to be run again"
