"""The answers of a person to a dead letter: deliver it again, or let it go. Both are refused where they do not fit."""

from datetime import datetime

from sagas.model.choreography.draft import RunDraft
from sagas.model.choreography.events import LetterSkipped, ReplayRequested
from sagas.model.state import Address, SagaStatus, StepState, StepStatus
from sagas.model.vocabulary import HistoryEvent

CHANGED = "it has changed since it was looked at"
CLOSED = "its handler is closed: what it did is undone, and nothing more begins"
ENDED = "its run has ended: skip it, and do by hand what is left to be done"
TURNED = "its run has turned back: only undos are delivered again"
NOT_VOUCHED = (
    "it is in doubt, and with another payload it would have another key: find out whether it happened, and vouch that "
    "it did not, or have the run undone first"
)


def replay(draft: RunDraft, event: ReplayRequested) -> None:
    """Deliver again: the same row under the same key, with all attempts anew. Doubt stays, unless a person vouches."""
    row = the_letter(draft, event.address, event.seen)
    if row is None:
        return
    if row.address.is_action and draft.is_closed(row):
        refuse(draft, CLOSED)
    elif draft.status in (SagaStatus.COMPLETED, SagaStatus.COMPENSATED):
        refuse(draft, ENDED)
    elif row.address.is_action and draft.turned_at is not None:
        refuse(draft, TURNED)
    elif event.is_edited and row.doubt and not event.vouched:
        refuse(draft, NOT_VOUCHED)
    else:
        error = row.error.to_json() if row.error else {}
        draft.note(HistoryEvent.REPLAYED, row, reason=event.reason, by=event.by, edited=event.is_edited, error=error)
        edits = draft.delivery(row.address).edits + event.is_edited
        doubt = row.doubt and not event.is_edited
        anew = {"forgiven": row.attempts, "losses": 0, "polls": 0, "polled_since": None, "doubt": doubt, "edits": edits}
        row = draft.put_back(row, **anew)
        if row.address.is_action:
            draft.put(row, status=StepStatus.HELD)  # released in its order
        else:
            draft.dispatch(draft.put(row, first_claimed_at=draft.now))  # it has all of its time again


def skip(draft: RunDraft, event: LetterSkipped) -> None:
    """Let a letter go. It keeps its doubt: if its run turns back later, it is undone."""
    row = the_letter(draft, event.address, event.seen)
    if row is not None:
        draft.note(HistoryEvent.SKIP_REQUESTED, row, reason=event.reason, by=event.by)
        draft.close(row, StepStatus.SKIPPED, token=None, parked_since=None)


def the_letter(draft: RunDraft, address: Address, seen: datetime) -> StepState | None:
    """Return the dead letter as the person saw it; None: it is refused."""
    row = draft.steps.get(address)
    if row is None or row.status is not StepStatus.FAILED or draft.delivery(address).dead_at != seen:
        refuse(draft, CHANGED)
        return None
    return row


def refuse(draft: RunDraft, why: str) -> None:
    draft.accepted, draft.refusal = False, why
