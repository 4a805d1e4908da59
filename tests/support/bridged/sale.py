"""The service that sells: it opens an order at the till, one item after the other, and ships what is paid."""

from typing import Any

from celery import shared_task

from sagas import Bridge, Choreography, event
from tests.support import journal
from tests.support.bridged import KEYS, way


@event
class Sold:
    items: int


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
class Shipped:
    items: int


@event
class GivenUp:
    reason: str = ""


sale = Choreography("sale", starts=Sold, ends=Shipped, on_cancel=GivenUp)


@sale.on(Sold, publishes=(Opened, Item), undo=None)
@shared_task
def ring_up(event: Sold) -> list[Any]:
    journal.write("ring up")
    items = [Item(number=number, items=event.items) for number in range(1, event.items + 1)]
    return [Opened(items=event.items), *items]


@sale.on(Paid, publishes=(Shipped,), undo=None)
@shared_task
def ship(event: Paid) -> Shipped:
    journal.write("ship")
    return Shipped(items=event.items)


till_bridge = Bridge(
    "till",
    source="sale",
    choreography=sale,
    types=(Opened, Item, GivenUp),
    accepts=Paid,
    keys=KEYS,
    **way("sale", "till"),
)
