"""The working copy that `decide` changes: a saga's instance being moved on."""

from datetime import datetime, timedelta
from typing import Any

from sagas.model.commands import Decision, Post, StartChild
from sagas.model.executions import LONGEST_SILENCE, PARKED_AFTER, Executions, is_queued
from sagas.model.history import overwritten
from sagas.model.plan import Plan, StepRole
from sagas.model.state import (
    Address,
    ErrorInfo,
    ExecutionStatus,
    InstanceState,
    Mail,
    MailKind,
    SagaStatus,
    StepState,
    child_id,
)
from sagas.model.vocabulary import Reason


class InstanceDraft(Executions[Plan]):
    """An instance of a saga being moved on. Methods change one execution; `decide` says which and when."""

    def __init__(
        self,
        plan: Plan,
        state: InstanceState,
        now: datetime,
        lease: timedelta,
        parked_after: timedelta = PARKED_AFTER,
    ) -> None:
        super().__init__(plan, state, now, lease, parked_after)
        self.written = state.written
        self.children: list[StartChild] = []
        self.posts: list[Post] = []
        self.consumed: set[int] = set()
        self.stops: list[Address] = []
        self.stops_at_once = False  # running steps are told to stop, as by a parent that tells all its branches

    # -- reading

    @property
    def position(self) -> int:
        """The last position that was begun; -1 before the first step."""
        return max((step.address.position for step in self.actions()), default=-1)

    # -- writing

    def birth(self, address: Address) -> None:
        """Add a row, which is born when it is dispatched."""
        self.steps[address] = self.row_at(address)
        self.begin(self.steps[address])

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

    def completed(self, step: StepState, result: Any, keys: tuple[str, ...] = ()) -> StepState:
        """Complete it; return its new state."""
        done = self.close(step, ExecutionStatus.COMPLETED, result=result, error=None, doubt=False)
        self.has_moved(step)
        if keys and step.address.is_action and step.address.position == self.position:
            self.written = {**(self.written or {}), **dict.fromkeys(keys, step.address.branch)}
        return done

    def skipped(self, step: StepState) -> None:
        """Record that its condition is false, so it did nothing. An earlier attempt's doubt stays."""
        doubt = step.doubt or step.evidence.epoch_changed  # of a claim that a crash may have lost
        self.close(step, ExecutionStatus.SKIPPED, error=None, attempts=max(step.attempts - 1, 0), doubt=doubt)
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

    def void(self, action: StepState) -> None:
        """Leave forward: an unclaimed action never runs; one that may have run is given up in doubt."""
        starting = [child for child in self.children if child.address == action.address]
        if self.plan_step(action).role is StepRole.CHILD and not starting:
            # It ends by itself, one way or the other, and reports; until then the parent waits.
            self.tell_child(action, MailKind.CANCEL, "its parent turned back")
            return
        self.children = [child for child in self.children if child not in starting]
        super().void(action)

    # -- the outcome

    def decision(self) -> Decision:
        steps = tuple(self.steps[address] for address in sorted(self.steps))
        live = [step for step in steps if step.is_live]
        state = self.moved(
            steps,
            written=self.written,
            pending=len(live) + len(self.given_up_beside_others()),
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
            if step.status is ExecutionStatus.FAILED
            and self.plan.is_parallel(step.address.position)
            and not self.plan_step(step).best_effort
        ]

    def next_look(self, live: list[StepState]) -> datetime:
        """Return the moment by which something should have happened."""
        # An instance that waits for a lock is woken when it is free.
        waits_in_line = self.before.evidence.awaits_lock and self.status.is_forward
        idle = LONGEST_SILENCE if waits_in_line else self.lease
        looks = [self.now + idle] if waits_in_line or not live else [self.when_to_look(step) for step in live]
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
#: Statuses of a child saga that its parent hears of; one that failed waits for a person, and so does its parent.
TOLD_TO_PARENT = frozenset({SagaStatus.COMPLETED, SagaStatus.COMPENSATED})
