"""Choreographies of handlers that do nothing: what is measured is what a delivery adds."""

from collections.abc import Sequence
from itertools import count
from typing import Any

from celery import shared_task

from sagas import Choreography, PermanentError, event
from tests.benchmarks.applications.noted_times import BENCH, WARM, note_end

#: How many events a chain has, how many handlers hear each, and how many hear the only event of a fan-out.
CHAIN, LONGER, BESIDE, FAN = 4, 10, 3, 50


def event_number(number: int) -> type:
    """Return a type of event with the number of an order and a few fields, as events have them."""
    fields = {"order_id": str, "number": int, "note": str}
    return event(type(f"Bench{number}", (), {"__annotations__": fields}))


EVENTS = [event_number(number) for number in range(LONGER)]


ORDERS = count(1)


def example(number: int, order_id: str | None = None) -> Any:
    order_id = order_id or f"order-{next(ORDERS)}"
    return EVENTS[number](order_id=order_id, number=number, note="two lines of text, as people write them")


def handler(name: str, publishes: int | None = None, *, ends: bool = False, gives_up: bool = False) -> Any:
    """Return a task that publishes an event, or none; may tell of the end of its run, or give up every tenth order."""

    @shared_task(name=f"bench.{name}", ignore_result=True)
    def handle(event: Any) -> Any:
        if gives_up and event.order_id.endswith("0"):
            raise PermanentError("the benchmark has a person look at this order")
        if ends:
            note_end()
        return None if publishes is None else example(publishes, event.order_id)

    return handle


def hears(run: Choreography, queue: str, number: int, name: str, **options: Any) -> None:
    publishes = options.get("publishes")
    given = () if publishes is None else (EVENTS[publishes],)
    run.on(EVENTS[number], publishes=given, name=name, queue=queue, undo=None)(handler(f"{run.name}.{name}", **options))


def chain(
    name: str, queue: str, length: int, beside: Sequence[str] = (), *, gives_up: int | None = None
) -> Choreography:
    """Return so many events, each published by the handler of the one before and heard by others ``beside``.

    Args:
        gives_up: the number of an event whose handler gives up every tenth order.
    """
    run = Choreography(name, starts=EVENTS[0], ends=EVENTS[length - 1])
    for number in range(length):
        is_last = number == length - 1
        for other in beside:
            hears(run, queue, number, f"{other}{number}")
        hears(
            run,
            queue,
            number,
            f"next{number}",
            publishes=None if is_last else number + 1,
            ends=is_last,
            gives_up=number == gives_up,
        )
    return run


def fan(name: str, queue: str) -> Choreography:
    """Return one event for many handlers, of which the one that is sent last tells of the end."""
    run = Choreography(name, starts=EVENTS[0], ends=EVENTS[1])
    for number in range(FAN - 1):
        hears(run, queue, 0, f"leaf{number:02}")
    hears(run, queue, 0, "z", ends=True)
    return run


def choreographies_by_name() -> dict[str, Choreography]:
    made = {}
    for queue in (WARM, BENCH):
        made[f"events {queue} {CHAIN}"] = chain(f"{queue}-chain", queue, CHAIN)
        made[f"letters {queue} {CHAIN}"] = chain(f"{queue}-letters", queue, CHAIN, gives_up=1)
        made[f"heard {queue} {LONGER * BESIDE}"] = chain(f"{queue}-heard", queue, LONGER, ("a", "b"))
        made[f"fan {queue} {FAN}"] = fan(f"{queue}-fan", queue)
    return made


CHOREOGRAPHIES = choreographies_by_name()
