"""Types of what users write: the words that an option accepts, tasks, and options that calls pass on.

An editor completes them, and mypy refuses anything else before it runs. Without a type checker the same is refused at
run time, with an error that names the cure.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

from sqlalchemy import Connection

from sagas.definition.inputs import Const
from sagas.definition.retry import Retry
from sagas.store import CallersTransaction

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, scoped_session

#: A Celery task: one of Celery's classes, or what its decorators return. Celery has no types, so they are callables.
CeleryTask: TypeAlias = Callable[..., object]
#: A name in the data, or a function decorated with ``@condition``.
Condition: TypeAlias = str | Callable[[Mapping[str, Any]], bool]
#: Exception classes, or their dotted names.
CleanErrors: TypeAlias = type[BaseException] | str | Iterable[type[BaseException] | str]
#: Sources of parameters: names in the data, or constants.
InputNames: TypeAlias = Mapping[str, str | Const]
#: Names, in a collection that is not itself a text.
Names: TypeAlias = list[str] | tuple[str, ...] | set[str] | frozenset[str]
#: Names, or a type with named fields: a TypedDict, a dataclass, a pydantic model.
Fields: TypeAlias = type | UnionType | Names
#: A time, or seconds from the first step's claim.
Deadline: TypeAlias = datetime | timedelta | float

UndoWord: TypeAlias = Literal["reverse", "parallel"]
IfUndoFailsWord: TypeAlias = Literal["continue", "stop"]
IfLockedWord: TypeAlias = Literal["wait", "refuse"]
IfExistsWord: TypeAlias = Literal["return", "reject", "restart"]
IfInDoubtWord: TypeAlias = Literal["undo", "person"]
IfOneFailsWord: TypeAlias = Literal["finish", "cancel"]
OnTimeoutWord: TypeAlias = Literal["compensate", "continue"]
ContinuationWord: TypeAlias = Literal["chain", "inline"]
FormatWord: TypeAlias = Literal["mermaid", "svg"]
StatusWord: TypeAlias = Literal["pending", "running", "completed", "compensating", "compensated", "failed"]


class StepOptions(TypedDict, total=False):
    """The options of every step with a task; `Step` documents them."""

    name: str | None
    retry: Retry | None
    timeout: float | None
    idempotent: bool
    poll_for: float
    max_losses: int
    when: Condition | None
    queue: str | None
    clean: CleanErrors
    inputs: InputNames | None
    output: str | None


class UndoableOptions(StepOptions, total=False):
    """The further options of a step that may have a compensation."""

    compensation_retry: Retry | None
    compensation_timeout: float | None
    compensation_deadline: float | None
    if_in_doubt: IfInDoubtWord
    records: Names
    undo_inputs: InputNames | None


class StartOptions(TypedDict, total=False):
    """The options of a start besides the saga and its data; `Saga.start` documents them."""

    key: str | None
    session: "Session | scoped_session[Any] | None"
    connection: "Connection | CallersTransaction | None"
    deadline: Deadline | None
    if_exists: IfExistsWord
