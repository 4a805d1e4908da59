"""Quiet runs: nothing of them is open, no end has come, and what they wait for takes longer than it may."""

from datetime import datetime, timedelta

from sagas.model.choreography.draft import RunDraft
from sagas.model.state import pardoned
from sagas.model.vocabulary import HistoryEvent


def watch_for_silence(draft: RunDraft) -> None:
    """Note from when on the run is quiet if nothing happens, and announce that once a run."""
    within = silence_allowed(draft)
    if within is None or not is_at_rest(draft):
        draft.quiet_from = None
        return
    draft.quiet_from = kept_moment(draft) or draft.now + within
    if draft.quiet_at is None and draft.quiet_from <= draft.now:
        draft.quiet_at = draft.now
        draft.note(HistoryEvent.WENT_QUIET, awaits=sorted(awaited(draft)))


def is_at_rest(draft: RunDraft) -> bool:
    """Return whether the run has begun and not ended, and nothing of it moves by itself or waits for a person."""
    is_open = draft.takes_events and not draft.status.is_final and draft.count > 0
    return is_open and not draft.waits_for_numbers and not any(row.is_live for row in draft.steps.values())


def silence_allowed(draft: RunDraft) -> timedelta | None:
    """Return how long nothing may happen: as long as what has not come yet may take. None: for ever."""
    if draft.plan.quiet_after is None:
        return None
    return timedelta(seconds=max(draft.plan.quiet_after, *awaited(draft).values(), 0.0))


def awaited(draft: RunDraft) -> dict[str, float]:
    """Return the awaited events that have not come yet, with the seconds that each may take."""
    return {type_: seconds for type_, seconds in draft.plan.awaited.items() if type_ not in draft.came}


def kept_moment(draft: RunDraft) -> datetime | None:
    """Return the moment that an earlier look noted, if nothing has happened since. An outage is not silence."""
    before = draft.before
    has_moved = draft.count > before.numbered or any(row.is_live for row in before.steps)
    if before.quiet_from is None or has_moved:
        return None
    return pardoned(before.quiet_from, before.evidence.outages, draft.now)
