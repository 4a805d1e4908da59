"""A choreography that has every option, over tasks that do nothing."""

from datetime import timedelta
from decimal import Decimal

from celery import Celery, shared_task

from sagas import Retry, Sagas
from sagas.choreography import Choreography, event, upcast

NOWHERE = "postgresql://nobody@/nowhere?host=/nonexistent"


@event(version=2)
class OrderCreated:
    order_id: str
    total: Decimal
    currency: str


@upcast(OrderCreated, from_version=1)
def add_currency(old: dict) -> dict:
    return old | {"currency": "EUR"}


@event
class StockReserved:
    order_id: str
    reservation_id: str
    total: Decimal


@event
class StockRefused:
    order_id: str


@event
class PaymentCharged:
    order_id: str
    charge_id: str


@event
class PaymentDeclined:
    order_id: str
    reason: str = ""


@event
class PaymentConfirmed:
    order_id: str


@event
class ShipmentCreated:
    order_id: str


@event
class OrderCancelled:
    order_id: str


class CardDeclined(Exception):
    """A clean no."""


fulfilment = Choreography(
    "fulfilling",
    version=3,
    starts=OrderCreated,
    ends=ShipmentCreated,
    refuses=(StockRefused, PaymentDeclined),
    on_cancel=OrderCancelled,
    deadline=timedelta(hours=4),
    quiet_after=timedelta(minutes=20),
    awaits={PaymentConfirmed: timedelta(hours=2)},
    early_for=timedelta(days=1),
    max_events=500,
    priority=3,
)


@fulfilment.on(
    OrderCreated,
    publishes=(StockReserved, StockRefused),
    retry=Retry(max_attempts=5),
    timeout=timedelta(seconds=30),
    queue="stock",
    max_losses=1,
)
@shared_task
def reserve_stock(event: OrderCreated) -> StockReserved | StockRefused:
    return StockReserved(order_id=event.order_id, reservation_id="r", total=event.total)


@fulfilment.undo(
    reserve_stock, when=(PaymentDeclined, OrderCancelled), retry=Retry(max_attempts=2), timeout=10, deadline=600
)
@shared_task
def release_stock(event: OrderCreated) -> None: ...


@fulfilment.on(
    StockReserved, publishes=(PaymentCharged, PaymentDeclined), clean=CardDeclined, idempotent=False, poll_for=60
)
@shared_task(bind=True)
def charge_payment(self: object, event: StockReserved) -> list[PaymentCharged | PaymentDeclined]:
    return [PaymentCharged(order_id=event.order_id, charge_id="c")]


@fulfilment.undo(charge_payment)
@shared_task
def refund_payment(event: StockReserved) -> None: ...


@fulfilment.on(PaymentConfirmed, publishes=ShipmentCreated, undo=None)
@shared_task
def create_shipment(event: PaymentConfirmed) -> ShipmentCreated | None:
    return None


@fulfilment.on(PaymentCharged, PaymentDeclined, OrderCancelled, name="tell", order="none", if_dead="skip", undo=None)
@shared_task
def tell_customer(event: PaymentCharged | PaymentDeclined | OrderCancelled) -> None: ...


def bound(name: str = "fulfilling") -> Sagas:
    """Sagas on an app of its own, whose database is never asked."""
    return Sagas(Celery(name, set_as_current=False, broker="memory://"), database=NOWHERE)
