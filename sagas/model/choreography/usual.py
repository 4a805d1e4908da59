"""The usual end of a delivery: its events get the next numbers, and the handlers that hear them get deliveries.

`sagas.model.choreography.decide.decide_run` decides whatever else an event can mean for its run.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sagas.model.choreography.events import Handled
from sagas.model.choreography.plan import ChoreographyPlan, HandlerPlan
from sagas.model.choreography.state import LONGEST_CHAIN
from sagas.model.plan import PlanStep


@dataclass(frozen=True, slots=True)
class Birth:
    """A delivery that an event brings about."""

    event: int  # which of the events that are published, counted from 1
    handler: HandlerPlan
    is_next: bool  # nothing that is born with it comes before it


@dataclass(frozen=True, slots=True)
class UsualEnd:
    """The consequences of a delivery, unless its run is in an unusual state."""

    births: tuple[Birth, ...]
    ends: bool  # the last of the events ends the run


def usual_end(plan: ChoreographyPlan, handled: Handled) -> UsualEnd | None:
    """Return what usually follows; None: its events mean more than that."""
    published = handled.published
    if not handled.address.is_action or handled.rolled_back:
        return None
    if any(event.depth > LONGEST_CHAIN or is_unusual(plan, event.type) for event in published):
        return None
    ending = [number for number, event in enumerate(published, 1) if event.type in plan.ends]
    if ending and ending != [len(published)]:
        return None
    return UsualEnd(tuple(births(plan, handled)), bool(ending))


def usual_start(plan: ChoreographyPlan) -> tuple[PlanStep, ...]:
    """Return the deliveries of the event that starts a run; none if it means more than that."""
    if is_unusual(plan, plan.starts):
        return ()
    return tuple(handler.step for handler in plan.hearers(plan.starts))


def is_unusual(plan: ChoreographyPlan, type_: str) -> bool:
    """Return whether an event turns its run back, closes a handler, leaves by a bridge, or is awaited by its run."""
    special = {*plan.refuses, *plan.awaited, *plan.leaving}
    return type_ in special or bool(plan.undone_by(type_))


def births(plan: ChoreographyPlan, handled: Handled) -> Iterator[Birth]:
    """Yield a delivery for each event and each handler that hears it."""
    before: set[int] = set()
    for number, event in enumerate(handled.published, 1):
        for handler in plan.hearers(event.type):
            yield Birth(number, handler, not handler.is_ordered or handler.place not in before)
            before.add(handler.place)
