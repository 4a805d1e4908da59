"""The fulfilment of an order: reserved and paid goods are committed, and from then on the parcel will leave.

    reserve_inventory ──► charge_payment ──► commit_reservation ──► create_shipment ──► notify_customer
            ▲                    ▲               (the pivot)          (only forward)     (best effort)
    release_inventory ◄── refund_payment

In `tasks.orders` the shipment may say no, so it is the pivot. Here a warehouse ships days later, and it is too late
then to refuse. So the goods become the buyer's first: that is the last moment for a no, and the shipment is repeated
until it succeeds. The customer is notified if that is possible. Without a notification the fulfilment completes all the
same, and that step's status is `failed`.

Five of its tasks are those of `tasks.orders`. A task does not belong to a saga: the step says what undoes it, and what
its failure means.

    run = fulfilment.start({"order_id": "42", "items": items, "total": Decimal("9.90")}, key="42")

    sagas.find(saga="fulfilment", key="42").progress()  # what a GET answers: its status and that of each step
"""

from celery import shared_task

from sagas import BestEffort, Pivot, Retriable, Retry, Saga, Step, current_step
from tasks.orders import (
    Order,
    charge_payment,
    create_shipment,
    refund_payment,
    release_inventory,
    reserve_inventory,
)
from tasks.services import inventory, notification
from tasks.services.errors import OutOfStock
from tasks.services.inventory import Committed
from tasks.services.notification import Sent


@shared_task
def commit_reservation(order_id: str, reservation_id: str) -> Committed:
    """Make the goods the buyer's: the last step that may say no."""
    return inventory.commit(order_id, reservation_id, key=current_step.idempotency_key)


@shared_task
def notify_customer(order_id: str) -> Sent:
    """Tell the customer that the parcel has left."""
    return notification.send(order_id, "order shipped", key=current_step.idempotency_key)


fulfilment = Saga(
    "fulfilment",
    version=2,
    input=Order,
    steps=[
        Step(
            reserve_inventory,
            compensation=release_inventory,
            clean=(OutOfStock,),
            retry=Retry(max_attempts=5, on=(ConnectionError,), backoff=0.5),
            timeout=30,
        ),
        Step(
            charge_payment,
            compensation=refund_payment,
            clean=(),  # says no by a PermanentError
            retry=Retry(max_attempts=3, on=(ConnectionError,), backoff=1.0, factor=3.0, max_backoff=10.0),
            timeout=60,
        ),
        # In doubt about the pivot a saga can go neither back nor on: so this one asks longer than the others.
        Pivot(
            commit_reservation,
            clean=(),  # says no by a PermanentError
            retry=Retry(max_attempts=10, on=(ConnectionError,), backoff=0.5, max_backoff=30.0),
            timeout=60,
        ),
        # Any error, for three days: the goods are there, so whatever is wrong will pass, or a person must look.
        Retriable(
            create_shipment,
            retry=Retry(max_attempts=1000, on=(Exception,), backoff=1.0, max_backoff=300.0),
            timeout=60,
        ),
        # Not worth more than a few tries: it would only keep the fulfilment from being complete.
        BestEffort(
            notify_customer,
            retry=Retry(max_attempts=3, on=(ConnectionError,), backoff=0.5),
            timeout=30,
        ),
    ],
)
