"""The service that books: its events are classes of its own, which have the names of the other one's."""

from celery import shared_task

from sagas import Bridge, Choreography, event
from tests.support import journal
from tests.support.bridged import KEYS, way


@event
class Opened:
    items: int


@event
class Item:
    number: int
    items: int
    note: str = ""


@event
class Paid:
    items: int


@event
class GivenUp:
    reason: str = ""


till = Choreography("till", starts=Opened, ends=Paid, refuses=GivenUp)


@till.on(Opened, undo=None)
@shared_task
def open_account(event: Opened) -> None:
    print("opened for", event.items)


@till.on(Item, publishes=(Paid,))
@shared_task
def book(event: Item) -> Paid | None:
    journal.write(f"book {event.number}")
    return Paid(items=event.items) if event.number == event.items else None


@till.undo(book)
@shared_task
def strike(event: Item) -> None:
    journal.write(f"strike {event.number}")


sale_bridge = Bridge(
    "sale",
    source="till",
    choreography=till,
    types=Paid,
    accepts=(Opened, Item, GivenUp),
    keys=KEYS[::-1],
    **way("till", "sale"),
)
