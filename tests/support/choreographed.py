"""A choreography whose handlers do what the first event's script tells them to, as `scripted` does with sagas."""

from collections.abc import Mapping
from typing import Any

from celery import shared_task

from sagas import Retry, current_step
from sagas.choreography import Choreography, event
from sagas.engine import current_event
from tests.support import journal
from tests.support.scripted import QUICK_UNDO, play


@event
class Ordered:
    script: dict[str, Any]


@event
class Reserved:
    script: dict[str, Any]


@event
class Charged:
    script: dict[str, Any]


@event
class Declined:
    script: dict[str, Any]


@event
class Shipped:
    script: dict[str, Any]


@event
class Refused:
    script: dict[str, Any]


@event
class Cancelled:
    script: dict[str, Any]
    reason: str = ""


@event
class Noted:
    script: dict[str, Any]
    number: int


FEW = Retry(max_attempts=3, backoff=0.1, jitter=0)

ring = Choreography(
    "ring",
    starts=Ordered,
    ends=(Shipped,),
    refuses=(Refused,),
    on_cancel=Cancelled,
    deadline=3600.0,
    awaits={Noted: 3600.0},
)


def act(script: Mapping[str, Any], what: str) -> Any:
    """Play one attempt, and tell how it ended."""
    if script.get(what) == "publish":  # what only steps of sagas do
        current_step.publish(Ordered(script={}), to=ring)
    return play(script, what)


@ring.on(Ordered, publishes=(Reserved, Refused, Noted), retry=FEW)
@shared_task
def reserve(event: Ordered) -> Any:
    said = act(event.script, "reserve")
    for number in range({"by itself": 1, "too often": 101}.get(said, 0)):
        current_event.publish(Noted(script=event.script, number=number))
    return Refused(script=event.script) if said == "refused" else Reserved(script=event.script)


@ring.undo(reserve, when=(Declined,), publishes=(Refused,), retry=QUICK_UNDO)
@shared_task
def release(event: Ordered) -> Any:
    journal.write(f"release for {current_event.trigger}")
    act(event.script, "release")
    return Refused(script=event.script) if isinstance(current_event.trigger, int) else None


@ring.on(Reserved, publishes=(Charged, Declined), retry=FEW)
@shared_task
def charge(event: Reserved) -> Any:
    said = act(event.script, "charge")
    if said == "nothing":
        return None  # its run rests, and has not ended
    return Declined(script=event.script) if said == "declined" else Charged(script=event.script)


@ring.undo(charge)
@shared_task
def refund(event: Reserved) -> None:
    act(event.script, "refund")


@ring.on(Charged, publishes=(Shipped,), retry=FEW)
@shared_task
def ship(event: Charged) -> Any:
    said = act(event.script, "ship")
    if said == "no event":
        return Reserved(script=event.script)
    if said == "publish a note":  # which it may not
        current_event.publish(Noted(script=event.script, number=0))
    return Shipped(script=event.script)


@ring.on(Shipped, Declined, Cancelled, undo=None)
@shared_task
def mail(event: Shipped | Declined | Cancelled | Charged) -> None:
    act(event.script, f"mail {current_event.type}")


@ring.on(Noted, retry=FEW)
@shared_task
def note(event: Noted) -> None:
    act(event.script, f"note {event.number}")
