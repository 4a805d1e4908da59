"""The plan: the steps of an instance, frozen as JSON in its row when it starts."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any, Self

from sagas.model.inputs import Inputs, inputs_from_json, inputs_to_json
from sagas.model.limits import UNSAID, Limits
from sagas.model.releases import CHANGES_MEANING, known_fields, stored_name, with_needs, without_needs
from sagas.model.retry import RetryPolicy


class StepKind(StrEnum):
    """Richardson's three kinds of step (*Microservices Patterns*, ch. 4)."""

    COMPENSATABLE = "compensatable"  # before the pivot: can be undone
    PIVOT = "pivot"  # the last step that may say no
    RETRIABLE = "retriable"  # after the pivot: only forward


class StepRole(StrEnum):
    """The party that moves a step on once it is dispatched."""

    TASK = "task"  # a worker: it has a message
    SLEEP = "sleep"  # time: neither a worker nor a message
    WAIT = "wait"  # a signal, or its timeout: neither a worker nor a message
    CHILD = "child"  # the end of another saga, which it starts: neither a worker nor a message


class IfInDoubt(StrEnum):
    """The consequence of giving up an action in doubt when the saga turns back."""

    UNDO = "undo"  # its compensation runs, as if it had happened
    PERSON = "person"  # only a person can tell; the other steps are undone meanwhile


class OnTimeout(StrEnum):
    """The consequence of a signal that does not come in time."""

    COMPENSATE = "compensate"
    CONTINUE = "continue"


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanStep:
    """One step of a plan: names of Celery tasks and policies, no code.

    Several steps of one ``position`` run in parallel, in ``lane``s of one or more consecutive steps; ``branch`` counts
    all steps of a position, lane by lane.
    """

    position: int
    branch: int = 0
    lane: int = 0
    name: str
    task: str | None
    compensation: str | None
    kind: StepKind = StepKind.COMPENSATABLE
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    compensation_retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(on=("builtins.Exception",)))
    timeout: float = UNSAID
    compensation_timeout: float = UNSAID
    idempotent: bool = True
    max_losses: int = 3
    role: StepRole = StepRole.TASK
    queue: str | None = None  # where its messages go; None: where Celery routes its tasks
    when: str | None = None  # a name in the data; the step is skipped if it is missing or false
    predicate: str | None = None  # a registered condition; the step is skipped if it is false
    best_effort: bool = False  # its failure does not turn the saga back
    compensation_deadline: float | None = None  # seconds from its first claim after which an undo is given up
    undo_at_once: bool = False  # the lanes of its position are undone in parallel
    cancels_siblings: bool = False  # when it fails for good, running steps of the same position are told to stop
    seconds: float | None = None  # how long it sleeps, or waits for its signal
    signal: str | None = None
    on_timeout: OnTimeout = OnTimeout.COMPENSATE
    child: "Plan | None" = None
    child_input: tuple[str, ...] | None = None  # names of the data that the child gets; None: all of it
    child_output: tuple[str, ...] | None = None  # names of its result that are merged; None: all of it
    inputs: Inputs = ()  # sources of parameters whose values do not have the parameter's own name
    undo_inputs: Inputs | None = None  # the same for the compensation; None: the action's
    output: str | None = None  # the single name in the data under which its result is kept
    poll_for: float = 86_400.0  # seconds within which it may ask to be polled again
    says_hour: bool = False  # the default timeout of an hour was given explicitly
    says_undo_hour: bool = False  # the same for its compensation
    clean: tuple[str, ...] = ()  # qualified names of the errors which say that nothing was done
    if_in_doubt: IfInDoubt = IfInDoubt.UNDO
    records: tuple[str, ...] = ()  # names that its body hands to its compensation before it returns

    @property
    def is_task(self) -> bool:
        """Whether a worker runs it; otherwise it waits for time, a signal or another saga."""
        return self.role is StepRole.TASK

    @property
    def is_undoable(self) -> bool:
        """Whether undoing it takes any action."""
        return self.compensation is not None or self.role is StepRole.CHILD

    def task_for(self, round_: int) -> str | None:
        """Return the Celery task of the action (round 0) or compensation (later rounds); None: no worker runs it."""
        return self.task if round_ == 0 else self.compensation

    def retry_for(self, round_: int) -> RetryPolicy:
        return self.retry if round_ == 0 else self.compensation_retry

    def timeout_for(self, round_: int) -> float:
        """Return the seconds that one execution may take, for a row that does not say."""
        return self.timeout if round_ == 0 else self.compensation_timeout

    def inputs_for(self, round_: int) -> tuple[Inputs, bool]:
        """Return the sources of parameters that differ from their names, and whether these are inherited.

        A compensation that declares none inherits its action's, and need not have all of its parameters.
        """
        return (self.inputs, round_ > 0) if round_ == 0 or self.undo_inputs is None else (self.undo_inputs, False)

    @property
    def needs(self) -> frozenset[str]:
        """The names that a release must know in order to run this step, or its child's plan."""
        own = frozenset(
            name for name in CHANGES_MEANING & _FIELDS if getattr(self, name) != self.__dataclass_fields__[name].default
        )
        return own | (self.child.needs if self.child else frozenset())

    def declared_limits(self, round_: int) -> Limits | None:
        """Return how long one execution may take, if the saga says so; None: the task's limits apply."""
        timeout = self.timeout_for(round_)
        is_said = timeout != UNSAID or (self.says_hour if round_ == 0 else self.says_undo_hour)
        return Limits(timeout) if is_said else None

    def unmarked(self) -> Self:
        """Return the step without the marks that are not part of a plan's fingerprint."""
        child = self.child.unmarked() if self.child else None
        return replace(self, says_hour=False, says_undo_hour=False, child=child)

    def to_json(self) -> dict[str, Any]:
        # Defaults are left out: a plan keeps its fingerprint when the library gains a field.
        stored = {
            stored_name(name): getattr(self, name)
            for name, described in self.__dataclass_fields__.items()
            if name in _ALWAYS_STORED or getattr(self, name) != described.default
        }
        stored |= {"retry": self.retry.to_json(), "compensation_retry": self.compensation_retry.to_json()}
        stored |= {name: inputs_to_json(stored[name]) for name in ("inputs", "undo_inputs") if name in stored}
        stored["kind"] = with_needs(self.kind, self.needs)
        return stored | ({"child": self.child.to_json()} if self.child else {})

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        what = f"the step {stored.get('name')!r:.80} of the plan"
        known = known_fields(stored, cls.__dataclass_fields__, what)
        read: dict[str, Callable[[Any], Any]] = {
            "kind": lambda kind: StepKind(without_needs(kind, what)),
            "retry": RetryPolicy.from_json,
            "compensation_retry": RetryPolicy.from_json,
            "role": StepRole,
            "on_timeout": OnTimeout,
            "if_in_doubt": IfInDoubt,
            "child": Plan.from_json,
            "child_input": tuple,
            "child_output": tuple,
            "inputs": inputs_from_json,
            "undo_inputs": inputs_from_json,
            "clean": tuple,
            "records": tuple,
        }
        return cls(**{name: read[name](value) if name in read else value for name, value in known.items()})


_FIELDS = frozenset(PlanStep.__dataclass_fields__)
#: Fields that a plan's JSON always has.
_ALWAYS_STORED = frozenset(
    {
        "position",
        "branch",
        "name",
        "task",
        "compensation",
        "kind",
        "timeout",
        "compensation_timeout",
        "idempotent",
        "max_losses",
    }
)


class IfLocked(StrEnum):
    """The policy of a saga if another instance holds a resource that it names."""

    WAIT = "wait"
    REFUSE = "refuse"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The frozen list of steps that an instance started with (Courier's *itinerary*)."""

    saga: str
    version: int
    steps: tuple[PlanStep, ...]
    undo_at_once: bool = False  # its steps are independent: all are undone in parallel
    stop_at_failed_undo: bool = False  # the first undo that fails for good keeps the remaining ones from running
    locks: tuple[str, ...] = ()  # templates of resource names, filled from the input
    if_locked: IfLocked = IfLocked.WAIT
    max_concurrent: int | None = None  # instances of this saga that may run at once
    priority: int | None = None  # the priority of its messages, on the broker's own scale

    def __post_init__(self) -> None:
        places = [(step.position, step.branch) for step in self.steps]
        expected = [
            (position, branch) for position, beside in enumerate(self._by_position) for branch in range(len(beside))
        ]
        if places != expected or any(
            later.lane - earlier.lane not in (0, 1)
            for beside in self._by_position
            for earlier, later in pairwise(beside)
        ):
            raise ValueError(f"plan of {self.saga!r}: positions, and in them branches and lanes, must count up from 0")

    @cached_property
    def _by_position(self) -> tuple[tuple[PlanStep, ...], ...]:
        return tuple(tuple(beside) for _, beside in groupby(self.steps, key=attrgetter("position")))

    def to_json(self) -> dict[str, Any]:
        stored = {
            name: getattr(self, name)
            for name, described in self.__dataclass_fields__.items()
            if name in ("saga", "version") or getattr(self, name) != described.default
        }
        return stored | {"steps": [step.to_json() for step in self.steps]}

    @cached_property
    def text(self) -> str:
        """The plan as canonical JSON."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))

    @cached_property
    def fingerprint(self) -> str:
        """A hash that is equal for equal plans, on every machine: 32 hexadecimal digits."""
        return hashlib.sha256(self.unmarked().text.encode()).hexdigest()[:32]

    def unmarked(self) -> Self:
        """Return the plan as older releases stored it, which did not mark an explicit hour."""
        return replace(self, steps=tuple(step.unmarked() for step in self.steps))

    @cached_property
    def needs(self) -> frozenset[str]:
        """The names that a release must know in order to run any of its steps."""
        return frozenset[str]().union(*(step.needs for step in self.steps))

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        known = known_fields(stored, cls.__dataclass_fields__, "the plan")
        read: dict[str, Callable[[Any], Any]] = {
            "steps": lambda steps: tuple(PlanStep.from_json(step) for step in steps),
            "locks": tuple,
            "if_locked": IfLocked,
        }
        return cls(**{name: read[name](value) if name in read else value for name, value in known.items()})

    # -- navigating

    def step(self, position: int, branch: int = 0) -> PlanStep:
        return self._by_position[position][branch]

    def executed(self, born: Iterable[tuple[int, int]]) -> tuple[PlanStep, ...]:
        """Return the steps of an instance, including those that are not born yet.

        Args:
            born: positions and branches of those that are.
        """
        return self.steps

    def beside(self, position: int) -> tuple[PlanStep, ...]:
        """Return all steps of a position, lane by lane; empty past the end."""
        return self._by_position[position] if position < len(self._by_position) else ()

    @property
    def first_task(self) -> PlanStep | None:
        """The first step that is a task: its message shows which headers an instance's messages carry."""
        return next((step for step in self.steps if step.is_task), None)

    def heads(self, position: int) -> tuple[PlanStep, ...]:
        """Return the steps dispatched when a position is reached: the first of each lane; empty past the end."""
        return tuple(next(lane) for _, lane in groupby(self.beside(position), key=attrgetter("lane")))

    def next_in_lane(self, step: PlanStep) -> PlanStep | None:
        """Return the step that follows in the same lane; None for the last one."""
        following = self.beside(step.position)[step.branch + 1 : step.branch + 2]
        return following[0] if following and following[0].lane == step.lane else None

    def lane(self, step: PlanStep) -> tuple[PlanStep, ...]:
        """Return the steps of its lane, including itself and those before it."""
        return tuple(other for other in self.beside(step.position) if other.lane == step.lane)

    def is_parallel(self, position: int) -> bool:
        beside = self.beside(position)
        return bool(beside) and beside[-1].lane > 0

    @cached_property
    def pivot(self) -> PlanStep | None:
        return next((step for step in self.steps if step.kind is StepKind.PIVOT), None)

    def is_plain(self, position: int) -> bool:
        """Return whether sending messages is enough to reach it; otherwise `decide` is needed. True past the end."""
        return all(step.is_task for step in self.heads(position))

    @cached_property
    def has_children(self) -> bool:
        return any(step.role is StepRole.CHILD for step in self.steps)

    @property
    def has_windows(self) -> bool:
        """Whether several steps may be sent with one message, since they follow one another."""
        return True

    @property
    def is_limited(self) -> bool:
        """Whether an instance may have to wait for others before it begins."""
        return bool(self.locks) or self.max_concurrent is not None

    @property
    def begins_at_once(self) -> bool:
        """Whether the first steps are dispatched by the start itself."""
        return not self.is_limited and self.is_plain(0)
