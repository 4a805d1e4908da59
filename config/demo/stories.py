"""The stories of the demo.

Two orders: one completes, one is refused at shipping and is undone in reverse. A fulfilment completes although
the customer cannot be notified. Of two trips, one needs no car, and one can't have the car that it wants, so flight and
hotel are cancelled. Three orders go by events, without a list of steps: one ships, one is declined, and one loses the
process that has just charged the card. Then an order loses its worker to a SIGKILL right after the card was charged,
and another worker takes it over. Last come the books, which prove that nothing was lost and nothing was done twice.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import uuid4

from config.celery_app import sagas
from config.demo import books, faults, shelves, travel_books
from config.processes import PATIENCE, until
from sagas import Choreography, Saga, SagaHandle
from tasks.choreography import OrderCreated, by_events
from tasks.fulfilment import fulfilment
from tasks.orders import order
from tasks.services import database, tables
from tasks.travel import travel

#: New names each time: the servers may be the user's own, and have data of an earlier run.
TELLING = uuid4().hex[:8]
PEN = f"pen-{TELLING}"
FLIGHT, HOTEL, SOLD_OUT_CAR = (f"{name}-{TELLING}" for name in ("LX14", "seeblick", "convertible"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """A saga, and how it should end."""

    run: SagaHandle
    key: str
    end: str


def prepare() -> None:
    """Make the tables, and fill the shelves."""
    sagas.migrate()
    sagas.register()
    tables.create_tables(database.engine())
    faults.clear()
    shelves.stock_up(PEN, 20)
    shelves.put_on_sale("flight", FLIGHT, 10)
    shelves.put_on_sale("hotel", HOTEL, 10)
    shelves.put_on_sale("car", SOLD_OUT_CAR, 0)


def clear() -> None:
    """Let everything go well again."""
    faults.clear()


def tell(workers: Mapping[str, "subprocess.Popen[bytes]"]) -> bool:
    """Run all stories to their ends; return False if one did not end as it should."""
    told = [completing_order(), refused_order(), silent_fulfilment(), trip_without_a_car(), trip_without_its_car()]
    told += [order_by_events(), declined_order_by_events(), killed_order_by_events()]
    told.append(killed_order(workers))
    return read_the_books(told)


def completing_order() -> Story:
    key = _begin("an order: everything succeeds")
    return _told(order.start(_order(key), key=key), key, "completed")


def refused_order() -> Story:
    key = _begin("an order: shipping refuses, so the money goes back and then the goods")
    faults.inject("shipping", "create", "refuse", order_id=key)
    return _told(order.start(_order(key), key=key), key, "compensated")


def silent_fulfilment() -> Story:
    key = _begin("a fulfilment: the customer cannot be notified, and it completes all the same")
    faults.inject("notification", "send", "refuse", order_id=key)
    return _told(fulfilment.start(_order(key), key=key), key, "completed")


def trip_without_a_car() -> Story:
    key = _begin("a trip: flight and hotel in parallel, and no car is wanted")
    return _told(travel.start(_trip(key, car=None), key=key), key, "completed")


def trip_without_its_car() -> Story:
    key = _begin("a trip: the car is sold out while flight and hotel are being reserved, so both are cancelled")
    for kind in ("flight", "hotel"):
        faults.inject(kind, "reserve", "latency", seconds=0.5, order_id=key)
    return _told(travel.start(_trip(key, car=SOLD_OUT_CAR), key=key), key, "compensated")


def order_by_events() -> Story:
    key = _begin("an order by events: each participant reacts to what the others tell, and the parcel leaves")
    return _told(by_events.start(_created(key), key=key), key, "completed")


def declined_order_by_events() -> Story:
    key = _begin("an order by events: the payment is declined, and the inventory hears that and releases the goods")
    faults.inject("payment", "charge", "refuse", order_id=key)
    return _told(by_events.start(_created(key), key=key), key, "compensated")


def killed_order_by_events() -> Story:
    key = _begin("an order by events: the process that charges is killed (SIGKILL) right after the card was charged")
    faults.inject("payment", "charge", "crash", moment="after", times=1, order_id=key)
    return _told(by_events.start(_created(key), key=key), key, "completed")


def killed_order(workers: Mapping[str, "subprocess.Popen[bytes]"]) -> Story:
    key = _begin("an order: its worker is killed (SIGKILL) right after the card was charged")
    hang = faults.inject("payment", "charge", "latency", moment="after", seconds=120, times=1, order_id=key)
    run = order.start(_order(key), key=key)
    until(lambda: faults.hits(hang), "the card to be charged")
    holder = str(run.steps[1].worker).partition("@")[0]
    os.killpg(workers[holder].pid, signal.SIGKILL)
    killed_at = time.monotonic()
    print(f"  killed worker {holder!r} with all its processes; waiting for the sweep to notice", flush=True)
    run.wait(PATIENCE)
    print(f"  the saga ended {time.monotonic() - killed_at:.1f} s after the kill")
    return _told(run, key, "completed")


def read_the_books(told: list[Story]) -> bool:
    """Print what happened according to the services, and whether it adds up."""
    print("\n== the books", flush=True)

    def ended(end: str, *sagas: Saga | Choreography) -> list[str]:
        names = [saga.name for saga in sagas]
        return [story.key for story in told if story.run.saga in names and story.end == end]

    shop = books.audit(
        database.engine(),
        completed=ended("completed", order, by_events),
        fulfilled=ended("completed", fulfilment),
        compensated=ended("compensated", order, by_events),
    )
    trips = travel_books.audit(
        database.engine(), completed=ended("completed", travel), compensated=ended("compensated", travel)
    )
    for story in told:
        if story.key in shop.orders:
            o = shop.orders[story.key]
            print(
                f"  {story.run.saga} {o.order_id}: {o.live_charges} live charge, {o.charged} charged, {o.refunded} "
                f"refunded, {o.shipped} pieces shipped, {o.held} held, {o.notifications} notification"
            )
        else:
            t = trips.trips[story.key]
            print(
                f"  {story.run.saga} {t.trip_id}: {t.confirmed} bookings confirmed, {t.cancelled} cancelled, "
                f"{t.reserved} reserved, {t.captured} captured, {t.notifications} notification"
            )
    pen, seats = shop.stock[PEN], trips.offers["flight", FLIGHT]
    print(f"  {PEN}: {pen.initial} came in = {pen.available} available + {pen.held} held + {pen.shipped} shipped")
    print(
        f"  {FLIGHT}: {seats.initial} seats = {seats.available} available + {seats.reserved} reserved "
        f"+ {seats.confirmed} confirmed"
    )
    for violation in (*shop.violations, *trips.violations):
        print(f"  VIOLATION {violation}")
    ends = [story.run.status.value for story in told]
    right = ends == [story.end for story in told] and not shop.violations and not trips.violations
    print(f"  {', '.join(ends)}: " + ("nothing lost, nothing done twice" if right else "THIS IS WRONG"))
    return right


def _begin(text: str) -> str:
    print(f"\n== {text}", flush=True)
    return uuid4().hex[:8]


def _order(order_id: str) -> dict[str, Any]:
    return {"order_id": order_id, "items": [{"sku": PEN, "quantity": 2}], "total": Decimal("9.90")}


def _created(order_id: str) -> OrderCreated:
    return OrderCreated(order_id=order_id, items=[{"sku": PEN, "quantity": 2}], total=Decimal("9.90"))


def _trip(trip_id: str, *, car: str | None) -> dict[str, Any]:
    return {
        "trip_id": trip_id,
        "travellers": 2,
        "flight": FLIGHT,
        "hotel": HOTEL,
        "car": car,
        "price": Decimal("640.00"),
    }


def _told(run: SagaHandle, key: str, end: str) -> Story:
    run.wait(PATIENCE)
    print(run.timeline())
    return Story(run=run, key=key, end=end)
