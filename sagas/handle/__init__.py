"""Handles on instances, and the values that they show."""

from sagas.handle.dead_letters import DeadLetters
from sagas.handle.handle import SagaHandle
from sagas.handle.letters import DeadLetter, LetterAnswer, LetterKind, LetterOutcome
from sagas.handle.listing import InstanceView, Page, left_after, read_page
from sagas.handle.pace import Pace
from sagas.handle.reading import refuse_in_step
from sagas.handle.snapshot import Snapshot
from sagas.handle.standing import PausedHandler, Standing, standings
from sagas.handle.views import CompensationView, HistoryEntry, StepView

__all__ = [
    "CompensationView",
    "DeadLetter",
    "DeadLetters",
    "HistoryEntry",
    "InstanceView",
    "LetterAnswer",
    "LetterKind",
    "LetterOutcome",
    "Pace",
    "Page",
    "PausedHandler",
    "SagaHandle",
    "Snapshot",
    "Standing",
    "StepView",
    "left_after",
    "read_page",
    "refuse_in_step",
    "standings",
]
