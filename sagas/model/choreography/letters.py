"""The answers of a person to a dead letter: deliver it again, or let it go; a late event is delivered to one handler.

An answer that does not fit is refused.
"""

from datetime import datetime
from typing import Any

from sagas.model.choreography.draft import RunDraft
from sagas.model.choreography.events import DeliveryRequested, Edit, LetterSkipped, ReplayRequested
from sagas.model.choreography.plan import HandlerPlan
from sagas.model.choreography.state import Delivery, DeliveryEvidence, LateEvent
from sagas.model.state import Address, ExecutionStatus, StepState
from sagas.model.vocabulary import HistoryEvent

CHANGED = "it has changed since it was looked at"
CLOSED = "its handler is closed: what it did is undone, and nothing more begins"
ENDED = "its run has ended: skip it, and do by hand what is left to be done"
TURNED = "its run has turned back: only undos are delivered again"
NOT_ENDED = "its run has not ended yet: what still runs, or is undone, comes first"
UNDO = "an undo gets the event that its handler got: replay it, or do it by hand and skip it"
NOT_VOUCHED = (
    "it is in doubt, and with another payload it has another key, so that it could happen twice: find out whether it "
    "happened, undo it by hand if it did, and vouch for it (vouch='not done'; --vouch)"
)


def replay(draft: RunDraft, event: ReplayRequested) -> None:
    """Deliver again: the same row under the same key, with fresh attempts. Doubt stays.

    An edit delivers another payload, under another key: a person has to vouch that what is in doubt did not happen.
    """
    row = letter_as_seen(draft, event.address, event.seen)
    if row is None:
        return
    if row.address.is_action and draft.is_closed(row):
        refuse(draft, CLOSED)
    elif draft.has_ended and not draft.is_late(row):
        refuse(draft, ENDED)
    elif row.address.is_action and draft.turned_at is not None and not draft.is_late(row):
        refuse(draft, TURNED)
    elif event.edit is not None and not row.address.is_action:
        refuse(draft, UNDO)
    elif event.edit is not None and row.doubt and not event.edit.vouched:
        refuse(draft, NOT_VOUCHED)
    else:
        detail = {"reason": event.reason, "by": event.by, "error": row.error.to_json() if row.error else {}}
        draft.note(HistoryEvent.REPLAYED, row, **detail, **in_words(event.edit, row))
        fresh = {"forgiven": row.attempts, "losses": 0, "polls": 0, "polled_since": None}
        row = draft.put_back(row, **fresh, **edited(draft.delivery(row.address), event.edit))
        if row.address.is_action:
            draft.put(row, status=ExecutionStatus.HELD)  # released in its order
        else:
            draft.dispatch(draft.put(row, first_claimed_at=draft.now))  # it has all of its time again


def deliver_late(draft: RunDraft, event: DeliveryRequested) -> None:
    """Deliver a late event to one handler. The run stays as it has ended, however that goes."""
    late = draft.before.evidence.late_event
    if late is None or late.since != event.seen:
        refuse(draft, CHANGED)
        return
    handler = next((it for it in draft.plan.handlers if it.name == event.handler), None)
    if handler is None:
        hearers = hearers_of(draft, late)
        refuse(draft, f"its run has no handler {event.handler!r:.80}; those that hear {late.type}: {hearers}")
        return
    why_not = why_not_delivered(draft, event, late, handler)
    if why_not is not None:
        refuse(draft, why_not)
        return
    address = Address(late.number, handler.place)
    row = Delivery(
        address=address,
        name=handler.name,
        event=late.id,
        status=ExecutionStatus.HELD,  # released in its order
        dispatches=0,
        evidence=DeliveryEvidence(is_late=True),
    )
    draft.steps[address] = row
    draft.answered = late.number
    draft.note(HistoryEvent.REPLAYED, row, reason=event.reason, by=event.by, late=True)


def why_not_delivered(draft: RunDraft, event: DeliveryRequested, late: LateEvent, handler: HandlerPlan) -> str | None:
    if not (late.type in handler.hears or event.takes):
        return (
            f"{handler.name} does not hear {late.type}, and its task is not annotated to take it; those that hear it: "
            f"{hearers_of(draft, late)}"
        )
    if handler.name in draft.closed:
        return CLOSED
    return None if draft.before.status.is_final else NOT_ENDED


def hearers_of(draft: RunDraft, late: LateEvent) -> str:
    return ", ".join(it.name for it in draft.plan.hearers(late.type)) or "none"


def edited(row: Delivery, edit: Edit | None) -> dict[str, Any]:
    """Return what an edit changes: it has a key of its own, under which nothing is in doubt."""
    return {} if edit is None else {"edits": row.edits + 1, "input": edit.payload, "doubt": False}


def in_words(edit: Edit | None, row: StepState) -> dict[str, Any]:
    """Return what the history says about an edit: never a value, which may be a secret."""
    if edit is None:
        return {}
    return {"edited": list(edit.fields)} | ({"vouched": "not done"} if row.doubt else {})


def skip(draft: RunDraft, event: LetterSkipped) -> None:
    """Let a letter go. It keeps its doubt: if its run turns back later, it is undone."""
    row = letter_as_seen(draft, event.address, event.seen)
    if row is not None:
        draft.note(HistoryEvent.SKIP_REQUESTED, row, reason=event.reason, by=event.by)
        draft.close(row, ExecutionStatus.SKIPPED, token=None, parked_since=None)


def letter_as_seen(draft: RunDraft, address: Address, seen: datetime) -> StepState | None:
    """Return the dead letter as the person saw it; None: it is refused."""
    row = draft.steps.get(address)
    if row is None or row.status is not ExecutionStatus.FAILED or draft.delivery(address).dead_at != seen:
        refuse(draft, CHANGED)
        return None
    return row


def refuse(draft: RunDraft, why: str) -> None:
    draft.accepted, draft.refusal = False, why
