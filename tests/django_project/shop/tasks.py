"""Steps that use the ORM, as a user writes them. What an order's sku says is what happens to it."""

from celery import shared_task
from django.db import transaction

from sagas import PermanentError, Pivot, Retriable, Retry, Saga, Step, current_step, parallel
from tests.django_project.shop.models import Order

#: What happened in this process, in its order; each test empties it.
happened: list[str] = []
#: What would be broken in the world outside; each test mends it.
broken: set[str] = set()

QUICK = Retry(max_attempts=2, on=(ConnectionError,), backoff=0.05)


class Refused(PermanentError):
    pass


@shared_task
def reserve(order_id: str) -> dict[str, str]:
    with transaction.atomic():
        Order.objects.filter(pk=order_id).update(state="reserved")
        transaction.on_commit(lambda: happened.append("reserve committed"))
    happened.append("reserve")
    return {"reservation": f"r-{order_id}"}


@shared_task
def release(order_id: str) -> None:
    if "release" in broken:
        raise ConnectionError("the warehouse does not answer")
    Order.objects.filter(pk=order_id).update(state="released")
    happened.append("release")


@shared_task
def pay(order_id: str) -> None:
    if Order.objects.get(pk=order_id).sku == "gold":
        raise Refused("<b>declined</b>")
    happened.append("pay")


@shared_task
def refund(order_id: str) -> None:
    if "refund" in broken:
        raise ConnectionError("the bank does not answer")
    happened.append("refund")


@shared_task
def ship(order_id: str) -> None:
    order = Order.objects.get(pk=order_id)
    if order.sku == "piano":
        raise Refused("too heavy")
    order.state = "shipped"
    order.save()
    happened.append("ship")
    if order.sku == "vase":
        current_step.record({"parcel": f"p-{order_id}"})
        raise KeyError("parcel")


@shared_task
def thank(order_id: str) -> None:
    if "mail" in broken:
        raise ConnectionError("no mail")
    happened.append("thank")


@shared_task
def bill(order_id: str) -> None:
    if "post" in broken:
        raise ConnectionError("no post")
    happened.append("bill")


@shared_task
def never(order_id: str) -> None:
    raise ConnectionError("again and again")


@shared_task
def place_another(order_id: str) -> None:
    with transaction.atomic():
        Order.objects.create(pk=f"{order_id}-2", sku="pen")
        order.start({"order_id": f"{order_id}-2"}, key=f"{order_id}-2")
    happened.append("placed another")


order = Saga(
    "order",
    steps=[
        Step(reserve, compensation=release, clean=(), retry=QUICK, compensation_retry=QUICK),
        Step(pay, compensation=refund, clean=(), retry=QUICK, compensation_retry=QUICK),
        Pivot(ship, clean=()),
        Retriable(thank, retry=QUICK),
    ],
)
endless = Saga(
    "endless",
    steps=[
        Step(never, compensation=None, clean=(), retry=Retry(max_attempts=10_000, on=(ConnectionError,), backoff=0.01))
    ],
)
gift = Saga(
    "gift",
    steps=[Pivot(ship, clean=()), parallel(Retriable(thank, retry=QUICK), Retriable(bill, retry=QUICK))],
)
doubled = Saga("doubled", steps=[Step(place_another, compensation=None)])
