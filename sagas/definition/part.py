"""Parts of a saga: the common interface of steps that workers run and of those that wait."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from sagas.engine import Declared, TaskFace
from sagas.errors import DefinitionError
from sagas.model import Inputs, Plan, PlanStep, StepKind

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """The place of a step in its plan, and what follows from it."""

    position: int
    branch: int
    lane: int
    kind: StepKind
    undo_at_once: bool = False
    cancels_siblings: bool = False

    def fields(self) -> dict[str, Any]:
        """Return the fields as a `PlanStep` takes them."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """A task whose parameters must be filled."""

    who: str
    face: TaskFace
    inputs: Inputs = ()  # sources of parameters that are not filled by their own names
    is_undo: bool = False
    own: frozenset[str] | None = None  # for a compensation: the names that only its action's result gives, if it says


class Compiler(Protocol):
    """Resolves a definition's objects to what a plan stores."""

    #: The names of fields that must not be in a plan.
    secrets: frozenset[str]
    #: Whether steps get the last release's default names and retry policies.
    former: bool

    def task_name(self, task: Any, who: str) -> str:
        """Return the name under which the engine's app knows the task."""

    def plan(self, saga: Declared) -> Plan:
        """Return the plan of another saga on the same app."""


class Part:
    """One step of a saga."""

    #: None: compensatable before the pivot, retriable after it.
    kind: StepKind | None = None
    best_effort = False
    #: The word by which errors call it.
    noun = "step"

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise DefinitionError(f"{self.noun} name {name!r} must be letters, digits, '_', '.' or '-'; pass name=…")
        self.name = name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def who(self) -> str:
        """The beginning of an error about it."""
        return f"{self.noun} {self.name!r}"

    @property
    def is_certain(self) -> bool:
        """Whether later steps can rely on its result."""
        return True

    def tasks(self) -> list[Any]:
        """Return the tasks that it uses."""
        return []

    def gives(self) -> frozenset[str] | None:
        """Return the names that it adds to the data; None if it does not say."""
        return frozenset()

    def may_give(self) -> frozenset[str]:
        """Return those of the names that later steps cannot rely on."""
        return frozenset() if self.is_certain else self.gives() or frozenset()

    def lacks(self, known: frozenset[str]) -> str | None:
        """Return a name that it must pass on and that nothing provides; None if there is none."""
        return None

    def needs(self) -> Iterable[Need]:
        """Yield each task whose parameters must be filled, with the names that only its own action returns."""
        return ()

    def check_place(self, place: Slot, saga: str) -> None:
        """Refuse a place in which it cannot work. Raises DefinitionError."""

    def compile(self, place: Slot, compiler: Compiler) -> PlanStep:
        """Return the step as the plan stores it."""
        raise NotImplementedError
