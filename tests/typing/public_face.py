"""How users write it, for mypy in strict mode: never run, only checked (see `test_types`)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypedDict, assert_type
from uuid import UUID

from celery import Celery, Task, shared_task
from cryptography.fernet import Fernet, MultiFernet
from sqlalchemy import Connection
from sqlalchemy.orm import Session, scoped_session

from sagas import (
    BestEffort,
    Bridge,
    Child,
    Choreography,
    CompensationView,
    Const,
    DeadLetter,
    ErrorInfo,
    HistoryEntry,
    HistoryEvent,
    Inline,
    InstanceView,
    LetterAnswer,
    LetterKind,
    LetterOutcome,
    Page,
    Parallel,
    PausedHandler,
    PermanentError,
    Pivot,
    Reason,
    Retriable,
    Retry,
    Saga,
    SagaError,
    SagaHandle,
    Sagas,
    SagaStatus,
    Sleep,
    Snapshot,
    Standing,
    Step,
    StepStatus,
    StepView,
    WaitFor,
    condition,
    current_event,
    current_step,
    event,
    parallel,
    upcast,
)
from sagas.contrib import asyncio
from sagas.contrib.flask import FlaskSagas
from sagas.testing import fail_everywhere

app = Celery("shop")
sagas = Sagas(app, database="postgresql://localhost/shop", schema="sagas", heartbeat=2.0, sweep_every=5)
discreet = Sagas(
    app,
    database="postgresql://localhost/shop",
    secrets=("card_number", "iban"),
    codec=MultiFernet([Fernet("the new key"), Fernet("the old one")]),
)


class CardDeclined(PermanentError):
    """The user's own clean no."""


class Order(TypedDict):
    order_id: str
    items: list[dict[str, Any]]
    total: Decimal


@shared_task
def reserve(order_id: str, items: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    assert_type(current_step.idempotency_key, str)
    assert_type(current_step.action_key, str)
    assert_type(current_step.attempt, int)
    assert_type(current_step.deadline, datetime | None)
    assert_type(current_step.connection, Connection)
    assert_type(current_step.saga_id, UUID)
    current_step.record({"reservation_id": order_id})
    assert_type(current_step.records, list[dict[str, Any]])
    return {"reservation_id": order_id}


@shared_task
def release() -> None: ...


class Charge(Task):
    """A task class of the user's own."""

    name = "shop.charge"

    def run(self, order_id: str) -> None: ...


# Not what register_task returns, which Celery does not type: pyright infers an object.
charge = Charge()
app.register_task(charge)


order = Saga(
    "order",
    version=2,
    steps=[
        Step(
            reserve,
            compensation=release,
            retry=Retry(max_attempts=5, on=(ConnectionError, OSError), never_on=(CardDeclined,), jitter=1.0),
            compensation_retry=Retry(),
            timeout=30,
            compensation_timeout=60.0,
            idempotent=False,
            max_losses=1,
        ),
        Step(reserve, name="again", compensation=None),
        Step(
            reserve,
            name="other",
            compensation=release,
            clean=(CardDeclined, "shop.errors.OutOfStock"),
            if_in_doubt="person",
            records=("reservation_id",),
            inputs={"order_id": "other_id", "items": Const([])},
            output="other",
            poll_for=60,
        ),
        Step(Charge(), name="charge_before", compensation=charge),
        Pivot(
            charge,
            name="charge",
            retry=Retry(max_attempts=2),
            timeout=30,
            idempotent=False,
            poll_for=60,
            max_losses=0,
            when="items",
            queue="payments",
            clean=CardDeclined,
            inputs={"order_id": "order_id"},
            output="charged",
        ),
        Retriable(release, name="last", clean=("stripe.CardError",)),
    ],
    input=Order,
)


@condition
def is_large(data: Mapping[str, Any]) -> bool:
    return bool(data["total"] > 1000)


branches = parallel(
    Step(reserve, compensation=release, when="items"),
    [Step(reserve, compensation=None, name="look", when=is_large), Sleep(minutes=5)],
    undo="parallel",
    if_one_fails="cancel",
)
assert_type(branches, Parallel)
every_shape = Saga(
    "every-shape",
    steps=[
        branches,
        WaitFor("approved", timeout=timedelta(days=2), on_timeout="continue", payload=("by",)),
        Child(order, input=["order_id"], output=(), name="child"),
        BestEffort(release, name="tell"),
        BestEffort(
            release,
            name="show",
            compensation=release,
            compensation_retry=Retry(),
            compensation_timeout=3,
            compensation_deadline=60,
            if_in_doubt="person",
            records=["shown_at"],
            undo_inputs={},
        ),
    ],
    undo="parallel",
    if_undo_fails="stop",
    locks=["order:{order_id}"],
    if_locked="refuse",
    max_concurrent=10,
    priority=3,
    continuation=Inline(seconds=2, steps=5),
)


def start(session: Session, scoped: scoped_session[Session], connection: Connection) -> SagaHandle:
    data: Order = {"order_id": "42", "items": [], "total": Decimal("9.90")}
    order.start(data, key="order-42", session=session)
    order.start({"order_id": "42"}, session=scoped, deadline=timedelta(minutes=5))
    order.start({}, connection=connection, deadline=datetime.now(UTC))
    order.start({}, if_exists="reject")
    sagas.start(order, {}, key="order-42", session=scoped, deadline=timedelta(minutes=5), if_exists="restart")
    sagas.start(order, data, connection=connection, deadline=30)
    return order.start({})


def start_in_flask(flask: FlaskSagas, session: Session) -> None:
    assert_type(flask.start(order, {}, key="order-42", session=session, deadline=30, if_exists="restart"), SagaHandle)


async def start_on_the_loop() -> None:
    run = await asyncio.start(order, {}, key="order-42", deadline=30, if_exists="restart")
    assert_type(run, asyncio.AsyncSagaHandle)
    assert_type(await run.wait(timeout=3), SagaStatus)
    begun = await asyncio.start_run(fulfilment, Created(order_id="42", total=Decimal(9)), key="42", if_exists="reject")
    assert_type(begun, asyncio.AsyncSagaHandle)
    assert_type(
        await asyncio.publish(fulfilment, Created(order_id="42", total=Decimal(9)), run=begun, key="hook-1"), bool
    )


def look(run: SagaHandle) -> None:
    assert_type(run.id, UUID)
    assert_type(run.status, SagaStatus)
    assert_type(run.saga, str)
    assert_type(run.key, str | None)
    assert_type(run.data, dict[str, Any])
    assert_type(run.error, ErrorInfo | None)
    assert_type(run.steps, list[StepView])
    assert_type(run.steps[0].status, StepStatus)
    assert_type(run.steps[0].compensation, CompensationView | None)
    assert_type(run.steps[0].compensation_status, StepStatus | None)
    assert_type(run.history(), list[HistoryEntry])
    assert_type([entry.at for entry in run.history() if entry.event == HistoryEvent.NEEDS_A_PERSON], list[datetime])
    assert_type(run.error is not None and run.error.type == Reason.CANCELLED, bool)
    assert_type(run.wait(timeout=30), SagaStatus)
    assert_type(run.wait(), SagaStatus)
    run.cancel("changed mind")
    assert_type(run.signal("approved", {"by": "me"}, key="1"), bool)
    run.resolve("by hand", step="reserve")
    assert_type(sagas.graph(order, format="svg"), str)
    run.retry("fixed", by="me")
    run.skip("done by hand", step="ship", result={"shipment_id": "4711"}, by="me")
    assert_type(run.snapshot(history=True), Snapshot)
    assert_type(run.progress(), dict[str, Any])
    for progress in run.watch(timeout=30, every=1):
        assert_type(progress, dict[str, Any])


def find(id_: UUID) -> None:
    assert_type(sagas.get(id_), SagaHandle)
    assert_type(sagas.get(str(id_)), SagaHandle)
    assert_type(sagas.find(saga="order", key="order-42"), SagaHandle | None)
    sagas.list(status="failed")
    page = sagas.list(
        saga="order", status=SagaStatus.FAILED, older_than=timedelta(hours=1), needs_person=True, limit=10
    )
    assert_type(page, Page)
    assert_type(page[0], InstanceView)
    assert_type([run.key for run in sagas.list(text="order-", after=page.after)], list[str | None])
    assert_type(sagas.sweep(), int)
    assert_type(sagas.purge(timedelta(days=30), keep_keys=True), int)
    assert_type(sagas.migrate(), list[str])


def catch() -> str:
    try:
        order.start({})
    except SagaError as error:
        return str(error)
    return SagaStatus.COMPLETED


def test_every_undo_copes(new_input: Mapping[str, Any]) -> None:
    assert_type(fail_everywhere(sagas, order, new_input, signals={"approved": {}}), list[SagaHandle])
    fail_everywhere(sagas, order, lambda: new_input)


@event(version=2)
class Created:
    order_id: str
    total: Decimal
    currency: str = "EUR"


@event(name="order.shipped")
class Shipped:
    order_id: str


@event
class Refused:
    order_id: str


@upcast(Created, from_version=1)
def add_total(old: dict[str, Any]) -> dict[str, Any]:
    return old | {"total": Decimal(0)}


fulfilment = Choreography(
    "fulfilment",
    version=2,
    starts=Created,
    ends=Shipped,
    refuses=[Refused],
    on_cancel=None,
    deadline=timedelta(hours=4),
    quiet_after=60,
    awaits={Shipped: timedelta(hours=2), Refused: 30.0},
    early_for=timedelta(days=1),
    max_events=100,
    priority=3,
)


@fulfilment.on(
    Created,
    publishes=(Shipped, Refused),
    order="none",
    if_dead="compensate",
    name="ship",
    retry=Retry(max_attempts=5),
    timeout=timedelta(seconds=30),
    idempotent=False,
    poll_for=60,
    max_losses=1,
    queue="shipping",
    clean=CardDeclined,
)
@shared_task
def ship(event: Created) -> Shipped:
    assert_type(event.total, Decimal)
    assert_type(current_event.idempotency_key, str)
    assert_type(current_event.trigger, int | str | None)
    assert_type(current_event.run_id, UUID)
    return Shipped(order_id=event.order_id)


@fulfilment.undo(ship, when=Refused, publishes=(), retry=Retry(), timeout=10, deadline=timedelta(minutes=5))
@shared_task
def take_back(event: Created) -> None: ...


fulfilment.on(Shipped, undo=None)(charge)
fulfilment.undo("charge")(release)


def to_a_log(body: bytes, headers: dict[str, str]) -> None: ...


billing = Bridge(
    "billing", source="shop", choreography=fulfilment, broker="amqp://", types=Created, accepts=(Shipped,), keys=["k"]
)
log = Bridge("log", source="shop", choreography=fulfilment, publish=to_a_log, types=Created, keys=[b"k"])


def run_by_events(session: Session) -> None:
    run = fulfilment.start(Created(order_id="42", total=Decimal(1)), key="42", session=session)
    assert_type(run, SagaHandle)
    assert_type(fulfilment.publish(Refused(order_id="42"), run=run, key="psp-77", session=session), bool)
    fulfilment.publish(Refused(order_id="42"), run="42", if_exists="reject")
    assert_type(sagas.graph(fulfilment, format="svg"), str)


def answer_dead_letters() -> None:
    assert_type(sagas.standing(), list[Standing])
    assert_type(sagas.standing()[0].paused, tuple[PausedHandler, ...])
    assert_type(sagas.dead_letters.resume("fulfilment", "charge", reason="mended"), bool)
    assert_type(sagas.dead_letters.edit("01a229c9", {"total": 1}, reason="mistyped", vouch="not done"), LetterOutcome)
    for letter in sagas.dead_letters.list(handler="charge", older_than=timedelta(hours=1)):
        assert_type(letter, DeadLetter)
        assert_type(letter.kind, LetterKind)
    sagas.dead_letters.replay("01a229c9", to="refund", reason="paid after the end")
    for outcome in sagas.dead_letters.replay("01a229c9", reason="the bank is back"):
        assert_type(outcome, LetterOutcome)
        assert_type(outcome.answer, LetterAnswer)
