"""What cannot work is refused when it is declared, with the choreography, the handler and the cure in the message."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery import shared_task

from sagas import DefinitionError, Retry
from sagas.choreography import Choreography, event
from tests.unit.choreography.fulfilment import (
    OrderCancelled,
    OrderCreated,
    PaymentCharged,
    PaymentDeclined,
    ShipmentCreated,
    StockRefused,
    StockReserved,
    release_stock,
)


@shared_task
def act(event): ...  # type: ignore[no-untyped-def]


@shared_task
def other(event): ...  # type: ignore[no-untyped-def]


@shared_task
def takes_nothing() -> None: ...


@shared_task
def takes_two(event: OrderCreated, order_id: str) -> None: ...


@shared_task
def takes_more(event: OrderCreated, order_id: str = "", *, note: str = "") -> None: ...


@shared_task
def takes_another(event: StockReserved) -> None: ...


@shared_task
def returns_another(event: OrderCreated) -> StockReserved | None: ...


@shared_task
def returns_several(event: OrderCreated) -> list[StockReserved]: ...


@shared_task(autoretry_for=(ValueError,))
def retries_itself(event: OrderCreated) -> None: ...


def plain_function(event: OrderCreated) -> None: ...


class NotAnEvent:
    pass


other_order = event(type("OrderCreated", (), {"__annotations__": {}, "__module__": "elsewhere"}))


def made(**options: Any) -> Choreography:
    return Choreography("order", **{"starts": OrderCreated, "ends": ShipmentCreated} | options)


def on(task: Any = act, *events: Any, **options: Any) -> object:
    return made().on(*(events or (OrderCreated,)), **options)(task)


def undo(handler: Any = act, task: Any = other, **options: Any) -> object:
    choreography = made()
    choreography.on(OrderCreated)(act)
    return choreography.undo(handler, **options)(task)


def twice(*given: tuple[Any, dict[str, Any]]) -> None:
    choreography = made()
    for task, options in given:
        choreography.on(*options.pop("events", [OrderCreated]), **options)(task)


def undone_twice() -> None:
    choreography = made()
    choreography.on(OrderCreated)(act)
    choreography.undo(act)(other)
    choreography.undo(act, when=StockRefused)(other)


def nothing_to_undo() -> None:
    choreography = made()
    choreography.on(OrderCreated, undo=None)(act)
    choreography.undo(act)(other)


def ambiguous() -> None:
    choreography = made()
    choreography.on(OrderCreated, name="first")(act)
    choreography.on(OrderCreated, name="second")(act)
    choreography.undo(act)(other)


def crowded() -> None:
    choreography = made()
    for number in range(101):
        choreography.on(OrderCreated, name=f"handler{number}")(act)


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "version": ({"version": 0}, r"choreography 'order': version=0 must be a whole number from 1 on"),
    "version text": ({"version": "2"}, "version='2'"),
    "starts": (
        {"starts": NotAnEvent},
        r"choreography 'order': starts: the class .*NotAnEvent is not an event: put @event",
    ),
    "starts several": ({"starts": (OrderCreated, StockReserved)}, "starts= takes one event, not several"),
    "starts none": ({"starts": None}, "starts: a NoneType is not an event"),
    "ends none": ({"ends": ()}, r"ends=\(\) leaves its runs open for ever: name the events that end one"),
    "ends text": ({"ends": "ShipmentCreated"}, "ends: 'ShipmentCreated' is not an event: pass a class with @event"),
    "ends twice": ({"ends": [ShipmentCreated] * 2}, "ends names the event ShipmentCreated twice: leave one out"),
    "ends an instance": (
        {"ends": ShipmentCreated(order_id="1")},
        "ends: pass the class ShipmentCreated, not an event of it",
    ),
    "ends and refuses": ({"refuses": ShipmentCreated}, "ShipmentCreated is in ends= and in refuses="),
    "ends with its start": ({"ends": OrderCreated}, "OrderCreated starts its runs, and cannot end them too"),
    "on_cancel ends": (
        {"on_cancel": ShipmentCreated},
        "ShipmentCreated is published when a run turns back, and cannot end",
    ),
    "on_cancel several": ({"on_cancel": [OrderCancelled]}, "on_cancel= takes one event, not several"),
    "two of one name": ({"ends": (ShipmentCreated, other_order)}, "two classes are the event 'OrderCreated': .*name="),
    "deadline": ({"deadline": "4h"}, "choreography 'order': deadline: '4h' is not a number of seconds"),
    "deadline zero": ({"deadline": 0}, "deadline: 0 must be between 0.001"),
    "quiet": ({"quiet_after": timedelta(days=-1)}, "quiet_after: .* must be between 0.001"),
    "never quiet": (
        {"quiet_after": None},
        "with quiet_after=None and no deadline, a run that stands still is never noticed",
    ),
    "awaits": ({"awaits": [PaymentCharged]}, "awaits=a list must map events to how long they may take"),
    "awaits what": ({"awaits": {"PaymentCharged": 3}}, "awaits: 'PaymentCharged' is not an event"),
    "awaits how long": (
        {"awaits": {PaymentCharged: "2h"}},
        r"awaits\[PaymentCharged\]: '2h' is not a number of seconds",
    ),
    "early": ({"early_for": None}, "early_for: None is not a number of seconds"),
    "too few": ({"max_events": 0}, "max_events=0 must be a whole number from 1 to 100000"),
    "priority": ({"priority": 256}, "priority=256 must be a whole number from 0 to 255"),
}
HANDLERS: dict[str, tuple[Callable[[], object], str]] = {
    "a function": (
        lambda: on(plain_function),
        r"choreography 'order': on\(…\): .* is not a Celery task",
    ),
    "a name": (lambda: on("tasks.act"), "'tasks.act' is not a Celery task"),
    "no event": (lambda: made().on()(act), r"on\(…\) names no event: pass the classes of the events that it hears"),
    "forgotten events": (lambda: made().on(act)(act), r"on\(…\): .* is not an event: pass a class with @event"),
    "no class": (lambda: on(act, "OrderCreated"), r"on\(…\): 'OrderCreated' is not an event"),
    "an event twice": (lambda: on(act, OrderCreated, OrderCreated), r"on\(…\) names the event OrderCreated twice"),
    "publishes": (lambda: on(act, publishes=NotAnEvent), "publishes: the class .*NotAnEvent is not an event"),
    "order": (lambda: on(order="any"), "choreography 'order': order='any' must be 'run' or 'none'"),
    "if_dead": (lambda: on(if_dead="stop"), "if_dead='stop' must be 'hold' or 'skip' or 'compensate'"),
    "an undo in on": (lambda: on(undo=other), r"on\(…, undo=…\) takes only None.*@order.undo\(handler, when=…\)"),
    "retry": (lambda: on(retry=3), r"choreography 'order': handler 'act': retry=3 must be Retry\(…\)"),
    "timeout": (lambda: on(timeout="30"), "handler 'act': timeout: '30' is not a number of seconds"),
    "queue": (lambda: on(queue=""), "handler 'act': queue='' must be a queue's name"),
    "losses": (lambda: on(max_losses=-1), "handler 'act': max_losses=-1 must be a whole number from 0 on"),
    "a name of its own": (lambda: on(name="a b"), "handler name 'a b' must be letters"),
    "its own retries": (lambda: on(retries_itself), "autoretry_for"),
    "clean": (lambda: on(clean=Exception), "handler 'act': clean=… contains builtins.Exception"),
    "takes nothing": (
        lambda: on(takes_nothing),
        r"handler 'takes_nothing': takes_nothing takes no event: .*def takes_nothing\(event\)",
    ),
    "takes two": (lambda: on(takes_two), "handler 'takes_two': takes_two requires 'order_id' beside the event"),
    "takes another": (
        lambda: on(takes_another),
        "gets OrderCreated, and its parameter 'event' is annotated as StockReserved",
    ),
    "takes one of two": (
        lambda: on(takes_another, OrderCreated, StockReserved),
        "gets OrderCreated, and its parameter",
    ),
    "returns another": (
        lambda: on(returns_another),
        "returns StockReserved by its annotation, and publishes= does not name it",
    ),
    "returns several": (
        lambda: on(returns_several, publishes=ShipmentCreated),
        "returns StockReserved by its annotation",
    ),
    "two of a name": (lambda: twice((act, {}), (other, {"name": "act"})), "two handlers are named 'act': pass name=…"),
    "declared twice": (
        lambda: twice((act, {}), (act, {"events": [StockRefused]})),
        "handler 'act' is declared twice: name all",
    ),
    "crowded": (crowded, "more than 100 handlers hear OrderCreated"),
}
UNDOS: dict[str, tuple[Callable[[], object], str]] = {
    "a function": (lambda: undo(task=plain_function), "undo of handler 'act': .*plain_function.* is not a Celery task"),
    "an unknown handler": (lambda: undo(release_stock), r"release_stock is not one of its handlers \(act\)"),
    "an unknown name": (lambda: undo("reserve"), r"undo\(…\): 'reserve' is not one of its handlers \(act\)"),
    "no handler": (lambda: undo(None), r"undo\(…\): None is not one of its handlers"),
    "when it runs": (lambda: undo(when=OrderCreated), "OrderCreated runs the handler, and cannot undo it too"),
    "when": (lambda: undo(when="StockRefused"), "when: 'StockRefused' is not an event"),
    "publishes": (lambda: undo(publishes=3), "publishes: a int is not an event"),
    "retry": (lambda: undo(retry={}), r"undo of handler 'act': retry={} must be Retry\(…\)"),
    "timeout": (lambda: undo(timeout=0), "undo of handler 'act': timeout: 0 must be between"),
    "deadline": (lambda: undo(deadline="1"), "undo of handler 'act': deadline: '1' is not a number"),
    "takes nothing": (lambda: undo(task=takes_nothing), "undo of handler 'act': takes_nothing takes no event"),
    "takes another": (lambda: undo(task=takes_another), "gets OrderCreated, and its parameter 'event' is annotated"),
    "twice": (undone_twice, r"handler 'act' has an undo already: name all events in its when=\(…\)"),
    "nothing to undo": (nothing_to_undo, "handler 'act' says undo=None, that it has nothing to undo: leave that out"),
    "of a task that is two": (ambiguous, r"the task is several handlers \(first, second\): pass the name of one"),
}  # fmt: skip


@pytest.mark.parametrize(("options", "told"), OPTIONS.values(), ids=OPTIONS)
def test_an_option_that_cannot_work_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        made(**options)


@pytest.mark.parametrize("name", ["", "a b", None, 3, "1st"])
def test_a_name_that_cannot_be_one_is_refused(name: Any) -> None:
    with pytest.raises(DefinitionError, match=r"choreography name .* must be text of letters"):
        Choreography(name, starts=OrderCreated, ends=ShipmentCreated)


@pytest.mark.parametrize(("declare", "told"), [*HANDLERS.values(), *UNDOS.values()], ids=[*HANDLERS, *UNDOS])
def test_a_handler_or_an_undo_that_cannot_work_is_refused(declare: Callable[[], object], told: str) -> None:
    with pytest.raises(DefinitionError, match=told) as refused:
        declare()

    assert str(refused.value).startswith("choreography 'order': ")


def test_what_a_step_takes_alone_is_not_an_option_of_a_handler() -> None:
    for option in ("when", "inputs", "output", "records", "compensation_retry"):
        with pytest.raises(
            DefinitionError, match=rf"on\(…, {option}=…\) is not an option of a handler: it takes clean, idempotent"
        ):
            on(**{option: None})


def test_a_task_may_have_parameters_with_defaults_beside_the_event() -> None:
    on(takes_more)


def test_an_undo_may_be_named_by_its_handler_and_publish() -> None:
    undo("act", when=(PaymentDeclined, StockRefused), publishes=OrderCancelled, retry=Retry(max_attempts=1))
