"""What mypy must refuse: each line so marked, and no other."""

from datetime import date

from celery import shared_task

from sagas import (
    BestEffort,
    Child,
    Choreography,
    Pivot,
    Retriable,
    Retry,
    Saga,
    SagaHandle,
    Sagas,
    Step,
    WaitFor,
    event,
    parallel,
    upcast,
)
from sagas.contrib import asyncio
from sagas.contrib.flask import FlaskSagas


@shared_task
def act() -> None: ...


Retry(max_retries=3)  # refused
Retry(on=("ConnectionError",))  # refused
Retry(max_attempts="3")  # refused
Step(act, compensation=None, retry=3)  # refused
Step(act, compensation=None, timeout="30")  # refused
Saga("order", steps=["act"])  # refused
Saga("order", version="1", steps=[])  # refused
saga = Saga("order", steps=[Pivot(act)])

# no task
Step(3, compensation=None)  # refused
Step("shop.tasks.act", compensation=None)  # refused
Step(act, compensation="shop.tasks.undo")  # refused
Pivot(None)  # refused
BestEffort("act")  # refused

# no such option
Pivot(act, timout=3)  # refused
Pivot(act, timeout="3")  # refused
Pivot(act, compensation=act)  # refused
Pivot(act, if_in_doubt="undo")  # refused
Retriable(act, retries=3)  # refused
BestEffort(act, compensation_timout=3)  # refused
BestEffort(act, records="charge_id")  # refused
saga.start({}, dealine=3)  # refused

# no such word
Step(act, compensation=act, if_in_doubt="ask")  # refused
BestEffort(act, if_in_doubt="ask")  # refused
Saga("order", steps=[], undo="forward")  # refused
Saga("order", steps=[], if_undo_fails="finish")  # refused
Saga("order", steps=[], if_locked="queue")  # refused
Saga("order", steps=[], continuation="eager")  # refused
Saga("order", steps=[], input="order_id")  # refused
parallel(Pivot(act), Pivot(act), undo="forward")  # refused
parallel(Pivot(act), Pivot(act), if_one_fails="stop")  # refused
WaitFor("approved", timeout=30, on_timeout="fail")  # refused
WaitFor("approved", timeout=30, payload="by")  # refused
Child("order")  # refused
saga.start({}, if_exists="replace")  # refused

saga.start("data")  # refused
saga.start({}, key=7)  # refused
saga.start({}, deadline=date(2040, 1, 1))  # refused


def act_on(run: SagaHandle, sagas: Sagas) -> None:
    run.cancel()  # refused
    run.wait("30")  # refused
    run.status = "completed"  # refused
    sagas.find("order", "key")  # refused
    sagas.start(saga, {}, dealine=3)  # refused
    sagas.start(saga, {}, if_exists="replace")  # refused
    sagas.start(saga, {}, key=7)  # refused
    sagas.graph(saga, format="png")  # refused
    sagas.list(status="complete")  # refused


def start_in_flask(sagas: FlaskSagas) -> None:
    sagas.start(saga, {}, dealine=3)  # refused
    sagas.start(saga, {}, if_exists="replace")  # refused


async def start_on_the_loop() -> None:
    await asyncio.start(saga, {}, dealine=3)  # refused
    await asyncio.start(saga, {}, if_exists="replace")  # refused
    await asyncio.start_run(saga, {})  # refused


@event(version=2)
class Created:
    order_id: str


@event
class Ended:
    order_id: str


@shared_task
def react(event: Created) -> Ended:
    return Ended(order_id=event.order_id)


# no event
Created("42")  # refused
Created(order=42)  # refused
Created(order_id=42)  # refused
event(version="2")  # refused
event(3)  # refused
upcast(Created, from_version="1")  # refused
upcast("Created", from_version=1)  # refused

# no choreography
shop = Choreography("shop", starts=Created, ends=Ended)
Choreography("shop", ends=Ended)  # refused
Choreography("shop", starts="Created", ends=Ended)  # refused
Choreography("shop", starts=Created, ends="Ended")  # refused
Choreography("shop", starts=Created, ends=Ended, deadline="4h")  # refused
Choreography("shop", starts=Created, ends=Ended, awaits=[Created])  # refused
Choreography("shop", starts=Created, ends=Ended, locks=["order"])  # refused
shop.on("Created")  # refused
shop.on(Created, publishes="Ended")  # refused
shop.on(Created, order="any")  # refused
shop.on(Created, if_dead="stop")  # refused
shop.on(Created, retry=3)  # refused
shop.on(Created, when="total")  # refused
shop.on(Created, undo=3)  # refused
shop.on(Created)(3)  # refused
shop.undo(3)  # refused
shop.undo(react, when="Ended")  # refused
shop.undo(react, timout=3)  # refused
shop.start(Created(order_id="42"), kee="42")  # refused
shop.start(Created(order_id="42"), key=42)  # refused
shop.publish(Ended(order_id="42"))  # refused
shop.publish(Ended(order_id="42"), run=42)  # refused
shop.publish(Ended(order_id="42"), run="42", if_exists="replace")  # refused
