"""A choreography in three releases: ``TEST_RELEASE`` says whose code a process has.

The second release raises the version of an event, hears a new event, and has a new handler. The third one can no longer
read what the first has published.
"""

import os
from typing import Any

from celery import shared_task

from sagas import Choreography, Retry, event, upcast
from sagas.engine import current_event
from tests.support import journal

RELEASE = int(os.environ.get("TEST_RELEASE", "1"))


@event(name="Arrived")
class Arrived:
    to: str


@event(name="Returned")
class Returned:
    to: str


if RELEASE == 1:

    @event(version=1, name="Sent")
    class Sent:
        to: str

    first = Sent(to="here")
else:

    @event(version=RELEASE, name="Sent")
    class Sent:  # type: ignore[no-redef]
        to: str
        grams: int

    @upcast(Sent, from_version=RELEASE - 1)
    def weigh_it(old: dict[str, Any]) -> dict[str, Any]:
        return old | {"grams": 7}

    first = Sent(to="here", grams=9)  # type: ignore[call-arg]

HEARD = (Sent,) if RELEASE == 1 else (Sent, Returned)

parcel = Choreography(
    "parcel",
    version=RELEASE,
    starts=Sent,
    ends=Arrived,
    **({} if RELEASE == 1 else {"awaits": {Returned: 3600.0}}),  # type: ignore[arg-type]
)


@parcel.on(*HEARD, publishes=(Arrived,), undo=None, order="none", retry=Retry(max_attempts=1))
@shared_task
def carry(event: Any) -> Any:
    journal.write(f"carry {current_event.type} {getattr(event, 'grams', '')}".strip())
    return Arrived(to=event.to) if current_event.type == "Sent" else None


if RELEASE > 1:

    @parcel.on(Sent, undo=None)
    @shared_task
    def label(event: Sent) -> None:
        journal.write("label")
