"""Types of what users write about choreographies, as `sagas.definition.signatures` has those about sagas."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeAlias, TypedDict

from sagas.definition import Retry
from sagas.definition.signatures import CleanErrors

#: A class with ``@event``.
EventClass: TypeAlias = type[Any]
#: One of them, or several.
EventClasses: TypeAlias = EventClass | Sequence[EventClass]
#: A timedelta, or seconds.
Seconds: TypeAlias = timedelta | float
#: How long each event may take.
Awaits: TypeAlias = Mapping[EventClass, Seconds]

OrderWord: TypeAlias = Literal["run", "none"]
IfExistsWord: TypeAlias = Literal["return", "reject"]
IfDeadWord: TypeAlias = Literal["hold", "skip", "compensate"]


class HandlerOptions(TypedDict, total=False):
    """The options that a handler shares with a step; `Step` documents them."""

    name: str | None
    retry: Retry | None
    timeout: Seconds | None
    idempotent: bool
    poll_for: Seconds
    max_losses: int
    queue: str | None
    clean: CleanErrors
