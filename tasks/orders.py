"""An order, the classic saga: reserve the goods, charge the customer, ship, confirm.

Four services take part, and none of them shares a transaction with another. So every step is a small
transaction of its own, and its compensation is another one:

    reserve_inventory ──► charge_payment ──► create_shipment ──► send_confirmation
            ▲                    ▲            (the pivot)          (only forward)
    release_inventory ◄── refund_payment

If the card is declined, the goods are released. If the shipment says no, the money is given back and then
the goods are released: the same way back, in reverse. Once the parcel has left there is no way back, only
forward: the confirmation is sent again and again until it gets through, because a lost e-mail does not
justify cancelling an order.

Two habits make this safe, and both are about keys. An action hands its service
`current_step.idempotency_key`, so that running it again does nothing. Its compensation names the action by
`current_step.action_key`, which is known before the action ran: if it is unknown whether the charge went
through, the refund is safe, and the service refuses the charge should it arrive later. A compensation that
asked for "the charge of order 42" would have neither, and could undo what another saga did.

    import config.celery_app  # binds the tasks and the saga to the application
    from tasks.orders import order

    items = [{"sku": "pen", "quantity": 2}]
    run = order.start({"order_id": "42", "items": items, "total": Decimal("9.90")}, key="42")
"""

from decimal import Decimal
from typing import Any, TypedDict

from celery import shared_task

from sagas import Pivot, Retriable, Retry, Saga, Step, current_step
from tasks.services import inventory, notification, payment, shipping
from tasks.services.errors import OutOfStock
from tasks.services.inventory import Reserved
from tasks.services.notification import Sent
from tasks.services.payment import Charged
from tasks.services.shipping import Shipped


class Order(TypedDict):
    """The input of `order.start`."""

    order_id: str
    items: list[dict[str, Any]]
    total: Decimal


@shared_task
def reserve_inventory(order_id: str, items: list[dict[str, Any]]) -> Reserved:
    """Hold the goods."""
    return inventory.reserve(order_id, items, key=current_step.idempotency_key)


@shared_task
def release_inventory() -> None:
    """Put back what `reserve_inventory` held, if it did."""
    inventory.release(key=current_step.action_key)


@shared_task
def charge_payment(order_id: str, total: Decimal) -> Charged:
    """Take the money."""
    return payment.charge(order_id, total, key=current_step.idempotency_key)


@shared_task
def refund_payment() -> None:
    """Give back what `charge_payment` took, if it did."""
    payment.refund(key=current_step.action_key)


@shared_task
def create_shipment(order_id: str, reservation_id: str) -> Shipped:
    """Ship the held goods: this is the last step that may say no."""
    return shipping.create(order_id, reservation_id, key=current_step.idempotency_key)


@shared_task
def send_confirmation(order_id: str) -> Sent:
    """Tell the customer."""
    return notification.send(order_id, "order confirmed", key=current_step.idempotency_key)


# Every parameter is filled by name: from what `start` was given, or from what an earlier step returned, as
# `reservation_id` is. Since both are declared, a name that nothing provides is refused here, at import.
order = Saga(
    "order",
    version=2,
    input=Order,
    steps=[
        # A lost connection says nothing about the outcome; the key makes asking again harmless. Being out of stock
        # is a clean no, because the step says so: any other error but a `PermanentError` leaves it in doubt, so that
        # the goods are released too.
        Step(
            reserve_inventory,
            compensation=release_inventory,
            clean=(OutOfStock,),
            retry=Retry(max_attempts=5, on=(ConnectionError,), backoff=0.5),
            timeout=30,
        ),
        # A payment provider that is down deserves fewer and slower attempts: the customer is waiting.
        Step(
            charge_payment,
            compensation=refund_payment,
            clean=(),  # says no by a PermanentError
            retry=Retry(max_attempts=3, on=(ConnectionError,), backoff=1.0, factor=3.0, max_backoff=10.0),
            timeout=60,
        ),
        # In doubt about the pivot a saga can go neither back nor on: so this one asks longer than the others.
        Pivot(
            create_shipment,
            clean=(),  # says no by a PermanentError
            retry=Retry(max_attempts=10, on=(ConnectionError,), backoff=0.5, max_backoff=30.0),
            timeout=60,
        ),
        # Whatever goes wrong, try again, at last every five minutes: after three days a person should look.
        Retriable(
            send_confirmation,
            retry=Retry(max_attempts=1000, on=(Exception,), backoff=1.0, max_backoff=300.0),
            timeout=60,
        ),
    ],
)
