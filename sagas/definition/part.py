"""What a saga is made of: the common face of steps that workers run, and of those that wait for something."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sagas.engine import TaskFace
from sagas.errors import DefinitionError
from sagas.model import Inputs, Plan, PlanStep, StepKind

if TYPE_CHECKING:
    from sagas.definition.saga import Saga

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a step stands in its plan, and what follows from that."""

    position: int
    branch: int
    lane: int
    kind: StepKind
    undo_at_once: bool = False
    cancels_siblings: bool = False

    def fields(self) -> dict[str, Any]:
        """As a `PlanStep` takes them."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """A task whose parameters have to be filled."""

    who: str
    face: TaskFace
    inputs: Inputs = ()  # what fills those that are not filled by their own names
    own: frozenset[str] | None = None  # what only its action's result gives: a compensation


class Compiler(Protocol):
    """Resolves what a definition holds to what a plan stores."""

    #: The names of fields that must not be in a plan.
    secrets: frozenset[str]
    #: Whether steps get the names and the retry policies that the last release gave them by default.
    former: bool

    def task_name(self, task: Any, who: str) -> str:
        """The name under which the engine's app knows the task."""

    def plan(self, saga: "Saga") -> Plan:
        """The plan of another saga on the same app."""


class Part:
    """One step of a saga."""

    #: None: what stands before the pivot is compensatable, what stands after it is retriable.
    kind: StepKind | None = None
    best_effort = False

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise DefinitionError(f"step name {name!r} must be letters, digits, '_', '.' or '-'; pass name=…")
        self.name = name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def is_certain(self) -> bool:
        """Whether later steps can count on what it returns."""
        return True

    def tasks(self) -> list[Any]:
        """The tasks that it uses."""
        return []

    def gives(self) -> frozenset[str] | None:
        """The names that it adds to the data; None when it does not say."""
        return frozenset()

    def may_give(self) -> frozenset[str]:
        """Those of the names that later steps cannot count on."""
        return frozenset() if self.is_certain else self.gives() or frozenset()

    def lacks(self, known: frozenset[str]) -> str | None:
        """A name that it is to pass on and that nothing provides; None where there is none."""
        return None

    def needs(self) -> Iterable[Need]:
        """Whose parameters have to be filled."""
        return ()

    def check_place(self, place: Place, saga: str) -> None:
        """Refuse a place in which it cannot work. Raises DefinitionError."""

    def compile(self, place: Place, compiler: Compiler) -> PlanStep:
        """The step as the plan stores it."""
        raise NotImplementedError
