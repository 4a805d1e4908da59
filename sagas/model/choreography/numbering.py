"""Events get their numbers, and what each of them means for its run: deliveries, an end, the undo of a handler."""

from uuid import UUID, uuid5

from sagas.model.choreography.closing import close_handler, turn_back
from sagas.model.choreography.draft import RunDraft
from sagas.model.choreography.plan import HandlerPlan
from sagas.model.choreography.state import (
    LONGEST_CHAIN,
    Delivery,
    Letter,
    Numbered,
    Published,
    Recorded,
)
from sagas.model.state import Address, ErrorInfo, ExecutionStatus
from sagas.model.vocabulary import HistoryEvent, Reason


def number_arrived(draft: RunDraft) -> None:
    """Give numbers to the events that have come, in the order of their insertion.

    An event may come before its run is started, even one of the type that starts runs. That of the start is the first
    all the same.
    """
    arrived = sorted(draft.before.evidence.arrived, key=lambda event: event.row)
    if draft.count == 0:
        starts = [event for event in arrived if event.type == draft.plan.starts]
        if not starts:
            return
        start = min(starts, key=lambda event: event.by_key)
        arrived = [start, *(event for event in arrived if event is not start)]
    for event in arrived:
        number = draft.count + 1  # an event that turns the run back publishes another one
        draft.numbered.append(Numbered(row=event.row, number=number, letter=take(draft, event, event.after_late)))


def publish(draft: RunDraft, event: Published, *, after_late: bool = False) -> None:
    """Insert an event, with its number if no other waits for one.

    Args:
        after_late: its publisher reacted to a late event.
    """
    if draft.waits_for_numbers:
        draft.published.append(Recorded(event=event))
        return
    number = draft.count + 1
    draft.published.append(Recorded(event=event, number=number, letter=take(draft, event, after_late)))


def mute(draft: RunDraft, event: Published) -> None:
    """Keep an event that a handler returned after it had been closed: it never has a number."""
    draft.published.append(Recorded(event=event, letter=Letter.MUTED))


def take(draft: RunDraft, event: Published, after_late: bool) -> Letter | None:
    """Number one event and draw its consequences; return why it has no deliveries, if that needs a person."""
    draft.count += 1
    number = draft.count
    letter = why_undelivered(draft, event, after_late)
    if letter is not None:
        draft.note(HistoryEvent.EVENT_UNDELIVERED, type=event.type, number=number, reason=letter.value)
        return letter
    if not draft.takes_events:
        if event.type == draft.plan.on_cancel and event.id == cancellation_id(draft):
            deliver(draft, event, number)
        return None
    if event.type in (*draft.plan.ends, *draft.plan.refuses):
        draft.ended_by = number
    if event.type in draft.plan.awaited:
        draft.came |= {event.type}
    for handler in draft.plan.undone_by(event.type):
        close_handler(draft, handler, number)
    deliver(draft, event, number)
    if event.type in draft.plan.refuses:
        error = ErrorInfo(type=Reason.REFUSED, message=f"{event.type} (event {number})")
        turn_run_back(draft, error, number)
    return None


def why_undelivered(draft: RunDraft, event: Published, after_late: bool) -> Letter | None:
    if event.id == cancellation_id(draft):  # the last one, however many a run has had
        return None
    if draft.count > draft.plan.max_events:
        return Letter.TOO_MANY
    if event.depth > LONGEST_CHAIN:
        return Letter.LOOP
    if draft.takes_events:
        return None
    # An event that is published after the end and that no handler hears is recorded, and needs no person.
    is_heard = bool(draft.plan.hearers(event.type) or draft.plan.undone_by(event.type))
    runs_out = draft.turned_at is not None and not draft.has_ended and not after_late
    return Letter.LATE if event.cause is None or (is_heard and not runs_out) else None


def deliver(draft: RunDraft, event: Published, number: int) -> None:
    """Give birth to a delivery for each handler that hears the event; for a closed one it is skipped at once."""
    for handler in draft.plan.hearers(event.type):
        address = Address(number, handler.place)
        draft.steps[address] = Delivery(
            address=address, name=handler.name, event=event.id, status=ExecutionStatus.HELD, dispatches=0
        )
        if handler.name in draft.closed:
            draft.close(draft.steps[address], ExecutionStatus.SKIPPED, error=closed_error(draft, handler))


def closed_error(draft: RunDraft, handler: HandlerPlan) -> ErrorInfo:
    by = draft.closed[handler.name]
    message = f"closed by event {by}" if by else "closed when the run turned back"
    return ErrorInfo(type=Reason.HANDLER_CLOSED, message=message, step=handler.name)


def turn_run_back(draft: RunDraft, error: ErrorInfo, number: int = 0) -> None:
    """Turn the run back, and publish that for the handlers that hear it."""
    if draft.turned_at is not None:
        return
    turn_back(draft, error, number)
    type_ = draft.plan.on_cancel
    if type_ is not None:
        version = draft.plan.by_type[type_].version
        publish(draft, Published(id=cancellation_id(draft), type=type_, version=version, cause=number or None))


def cancellation_id(draft: RunDraft) -> UUID:
    """Return the id of the event that tells of the turn: a run turns back once."""
    return uuid5(draft.before.id, "on_cancel")
