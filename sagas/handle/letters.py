"""Dead letters as they are listed, and the outcomes of a person's answers."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sagas.model import ErrorInfo


class LetterKind(StrEnum):
    """Why something is a dead letter."""

    DEAD = "dead"  # a delivery, or an undo, that was given up
    PARKED = "parked"  # the same, since no code could read the event or call the task
    EARLY = "early"  # an event whose run did not come within ``early_for=``
    # An event that came after the end of its run, or after it had turned back; or a delivery of it that was given up.
    LATE = "late"
    TOO_MANY = "too many"  # an event beyond ``max_events=``
    LOOP = "loop"  # an event that goes round in a loop


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One dead letter. ``id`` names it in `DeadLetters.replay`, `DeadLetters.edit` and `DeadLetters.skip`."""

    id: str
    kind: LetterKind
    choreography: str
    run: UUID
    event: UUID
    type: str
    version: int  # of the event, as it is stored
    number: int | None  # None: its run does not exist
    payload: Any  # secrets read ``•••``
    dead_at: datetime
    key: str | None = None  # the business key of its run, if it is known
    handler: str | None = None  # None: an event that no handler gets
    undo: bool = False  # whether it is the handler's undo that was given up
    error: ErrorInfo | None = None
    attempts: int = 0
    in_doubt: bool = False
    held: int = 0  # later events of its run that wait for it
    edits: int = 0  # how often a person gave it another payload; the event itself stays as it is


class LetterAnswer(StrEnum):
    """The three ends of a person's answer to one letter."""

    DONE = "done"
    CHANGED = "changed"  # it is not what it was when it was listed
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class LetterOutcome:
    """The outcome of an answer to one letter, with the reason if it is not `done`."""

    id: str
    answer: LetterAnswer
    reason: str = ""
