"""The history that the rows hold, and the part of it to be written down before they are rewritten.

The happy path writes no entries. Only an operator's answer or a late report rewrites a row that has ended, and what
the row said until then becomes an entry of its own, with the moment at which it happened.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sagas.model.commands import Note
from sagas.model.state import FINAL, ExecutionStatus, InstanceState, StepState
from sagas.model.vocabulary import HistoryEvent

ENDS = frozenset(status.value for status in FINAL)


def notes_of(step: StepState) -> Iterator[Note]:
    """Yield when an execution began and how it ended, as far as it has."""
    what = "step" if step.address.is_action else "compensation"
    round_: dict[str, Any] = {"round": step.address.round} if step.address.round > 1 else {}
    if has_begun(step):
        event = HistoryEvent(f"{what}_started")
        yield Note(event=event, address=step.address, step=step.name, at=step.first_claimed_at, detail=round_)
    if step.finished_at is not None:
        detail = {"attempts": step.attempts, "worker": step.evidence.worker, **round_}
        event = HistoryEvent(f"{what}_{step.status.value}")
        yield Note(event=event, address=step.address, step=step.name, at=step.finished_at, detail=detail)


def has_begun(step: StepState) -> bool:
    if step.first_claimed_at is None or (step.status is ExecutionStatus.SKIPPED and not step.attempts):
        return False
    # An undo that is to be retried has all of its time again, even before it is claimed.
    return step.address.is_action or not step.forgiven or step.attempts > step.forgiven


def end_of(state: InstanceState) -> Iterator[Note]:
    """Yield how the instance ended, if it has."""
    if state.finished_at is not None:
        yield Note(event=HistoryEvent(state.status.value), at=state.finished_at)


def place_of(event: str, at: datetime) -> tuple[datetime, int]:
    """Return a sort key: in one moment requests come before beginnings, and the instance's end comes last."""
    if event in ENDS:
        return at, 3
    if event.startswith(("step_", "compensation_")):
        return at, 1 if event.endswith("_started") else 2
    return at, 0


def overwritten(before: InstanceState, after: InstanceState) -> Iterator[Note]:
    """Yield the ends that the rows of ``before`` hold and those of ``after`` do not."""
    for step in before.steps:
        if step.finished_at is not None:
            yield from _gone(notes_of(step), notes_of(after.at(step.address) or step))
    yield from _gone(end_of(before), end_of(after))


def _gone(before: Iterator[Note], after: Iterator[Note]) -> Iterator[Note]:
    remaining = {(note.event, note.at) for note in after}
    return (note for note in before if (note.event, note.at) not in remaining)
