from django.db import transaction
from django.http import HttpRequest, HttpResponseBase, JsonResponse

from sagas.contrib.django import event_stream, sagas
from tests.django_project.shop.models import Order
from tests.django_project.shop.tasks import order


def place_bare(request: HttpRequest) -> HttpResponseBase:
    order_id = request.POST["id"]
    Order.objects.create(pk=order_id, sku=request.POST["sku"])
    run = order.start({"order_id": order_id}, key=order_id)
    if request.POST["sku"] == "bad":
        raise ValueError("a bug")
    return JsonResponse({"saga_id": str(run.id)}, status=201)


place = transaction.atomic(place_bare)


def events(request: HttpRequest, order_id: str) -> HttpResponseBase:
    Order.objects.get(pk=order_id)
    run = sagas.find(saga="order", key=order_id)
    assert run is not None
    return event_stream(request, run, timeout=5, every=0.02)
