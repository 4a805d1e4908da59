"""The order of `tasks.orders` without a list of steps: each participant reacts to what the others tell.

    OrderCreated ──► reserve_stock ──► StockReserved ──► charge_payment ──► PaymentCharged ──► create_shipment
                          │                                   │                                  │         │
                     StockRefused                      PaymentDeclined                   ShipmentFailed  ShipmentCreated
                          └───────────────► refuse_order ◄────┴──────────────────────────────────┘

The inventory knows that an order wants goods, and not that a payment follows. The payment knows that goods are
reserved, and not who ships them. Each of them says what makes it take back what it did: the goods are released if the
payment is declined or the shipment fails, and the money is given back if the shipment fails. `refuse_order` ends the
run.

A no of a service is an answer here, not an error: the handler publishes it as an event, so that others can react.
Whatever else goes wrong is tried again, and is in doubt until it succeeds.

The keys are those of `tasks.orders`: a handler hands its service `current_event.idempotency_key`, the same for every
attempt, and its undo names what it takes back by `current_event.action_key`.

    run = by_events.start(OrderCreated(order_id="42", items=items, total=Decimal("9.90")), key="42")
"""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from celery import shared_task

from sagas import Choreography, Retry, current_event, event
from tasks.services import inventory, notification, payment, shipping
from tasks.services.errors import OutOfStock, Refused


@event
class OrderCreated:
    order_id: str
    items: list[dict[str, Any]]
    total: Decimal


@event
class StockReserved:
    order_id: str
    reservation_id: str
    total: Decimal


@event
class StockRefused:
    order_id: str
    reason: str


@event
class PaymentCharged:
    order_id: str
    reservation_id: str
    charge_id: str


@event
class PaymentDeclined:
    order_id: str
    reason: str


@event
class ShipmentCreated:
    order_id: str
    shipment_id: str


@event
class ShipmentFailed:
    order_id: str
    reason: str


@event
class OrderRefused:
    order_id: str


by_events = Choreography(
    "order-by-events",
    starts=OrderCreated,
    ends=ShipmentCreated,
    refuses=OrderRefused,
    deadline=timedelta(hours=4),
    quiet_after=timedelta(minutes=20),
)


@by_events.on(
    OrderCreated,
    publishes=(StockReserved, StockRefused),
    retry=Retry(max_attempts=5, on=(ConnectionError,), backoff=0.5),
    timeout=30,
)
@shared_task
def reserve_stock(event: OrderCreated) -> StockReserved | StockRefused:
    """Hold the goods."""
    try:
        held = inventory.reserve(event.order_id, event.items, key=current_event.idempotency_key)
    except (OutOfStock, Refused) as no:
        return StockRefused(order_id=event.order_id, reason=str(no))
    return StockReserved(order_id=event.order_id, reservation_id=held["reservation_id"], total=event.total)


@by_events.undo(reserve_stock, when=(PaymentDeclined, ShipmentFailed))
@shared_task
def release_stock(event: OrderCreated) -> None:
    """Put back what `reserve_stock` held, if it did."""
    inventory.release(key=current_event.action_key)


@by_events.on(
    StockReserved,
    publishes=(PaymentCharged, PaymentDeclined),
    retry=Retry(max_attempts=3, on=(ConnectionError,), backoff=1.0, factor=3.0, max_backoff=10.0),
    timeout=60,
)
@shared_task
def charge_payment(event: StockReserved) -> PaymentCharged | PaymentDeclined:
    """Take the money."""
    try:
        charged = payment.charge(event.order_id, event.total, key=current_event.idempotency_key)
    except Refused as no:
        return PaymentDeclined(order_id=event.order_id, reason=str(no))
    return PaymentCharged(order_id=event.order_id, reservation_id=event.reservation_id, charge_id=charged["charge_id"])


@by_events.undo(charge_payment, when=ShipmentFailed)
@shared_task
def refund_payment(event: StockReserved) -> None:
    """Give back what `charge_payment` took, if it did."""
    payment.refund(key=current_event.action_key)


@by_events.on(
    PaymentCharged,
    publishes=(ShipmentCreated, ShipmentFailed),
    retry=Retry(max_attempts=10, on=(ConnectionError,), backoff=0.5, max_backoff=30.0),
    timeout=60,
    undo=None,  # what has left does not come back
)
@shared_task
def create_shipment(event: PaymentCharged) -> ShipmentCreated | ShipmentFailed:
    """Ship the held goods."""
    try:
        shipped = shipping.create(event.order_id, event.reservation_id, key=current_event.idempotency_key)
    except Refused as no:
        return ShipmentFailed(order_id=event.order_id, reason=str(no))
    return ShipmentCreated(order_id=event.order_id, shipment_id=shipped["shipment_id"])


@by_events.on(StockRefused, PaymentDeclined, ShipmentFailed, publishes=OrderRefused, undo=None)
@shared_task
def refuse_order(event: StockRefused | PaymentDeclined | ShipmentFailed) -> OrderRefused:
    """End the run: whatever is not undone yet is undone then."""
    return OrderRefused(order_id=event.order_id)


@by_events.on(
    ShipmentCreated, if_dead="skip", undo=None, retry=Retry(max_attempts=1000, on=(Exception,), max_backoff=300)
)
@shared_task
def confirm_order(event: ShipmentCreated) -> None:
    """Tell the customer that the parcel has left."""
    notification.send(event.order_id, "order shipped", key=current_event.idempotency_key)
