"""The shop's pages."""

import json
from uuid import UUID

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.urls import reverse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_POST

from config.examples.django_shop.models import Order
from config.examples.order_form import BadOrder, OrderForm
from config.examples.page import front_page
from config.examples.reasons import TOO_LATE, why_undone
from config.examples.staging import stage
from sagas import InstanceNotFound, SagaHandle, TransitionRefused, WaitTimeout
from sagas.contrib.django import event_stream, sagas
from tasks.orders import order

LONGEST_WAIT = 30.0


@require_GET
@ensure_csrf_cookie
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(front_page(reverse("admin:celery_sagas_instance_change", args=["ID"])))


@require_POST
def place(request: HttpRequest) -> JsonResponse:
    """Insert the order's row and the saga's in one transaction; the saga is sent after its commit."""
    try:
        form = OrderForm.parse(json.loads(request.body))
    except (BadOrder, json.JSONDecodeError) as error:
        return JsonResponse({"error": str(error)}, status=400)
    with transaction.atomic():
        ordered = {"sku": form.sku, "quantity": form.quantity, "total": form.total}
        _, is_new = Order.objects.get_or_create(pk=form.order_id, defaults=ordered)
        if is_new:
            stage(form)
        run = order.start(form.saga_input, key=form.order_id)
    return JsonResponse({"order_id": form.order_id, "saga_id": str(run.id)}, status=201 if is_new else 200)


@require_GET
def progress(request: HttpRequest, order_id: str) -> JsonResponse:
    return JsonResponse(_of_order(order_id).progress())


@require_GET
def events(request: HttpRequest, order_id: str) -> HttpResponseBase:
    return event_stream(request, _of_order(order_id))


@require_GET
def why(request: HttpRequest, order_id: str) -> JsonResponse:
    return JsonResponse({"why": why_undone(_of_order(order_id).snapshot())})


@require_GET
def wait(request: HttpRequest, order_id: str) -> JsonResponse:
    run = _of_order(order_id)
    timeout = request.GET.get("timeout", "10")
    if not timeout.replace(".", "", 1).isdecimal():
        return JsonResponse({"error": "timeout must be seconds"}, status=400)
    try:
        return JsonResponse({"status": run.wait(min(float(timeout), LONGEST_WAIT))})
    except WaitTimeout:
        return JsonResponse({"status": run.status}, status=202)


@require_POST
def cancel(request: HttpRequest, order_id: str) -> JsonResponse:
    run = _of_order(order_id)
    try:
        run.cancel("the customer changed their mind", by="customer")
    except TransitionRefused:
        return JsonResponse({"error": TOO_LATE}, status=409)
    return JsonResponse({"status": run.status})


@require_GET
def saga_progress(request: HttpRequest, saga_id: UUID) -> JsonResponse:
    try:
        return JsonResponse(sagas.get(saga_id).progress())
    except InstanceNotFound as error:
        raise Http404 from error


def _of_order(order_id: str) -> SagaHandle:
    run = sagas.find(saga=order.name, key=order_id)
    if run is None:
        raise Http404
    return run


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    return JsonResponse({"error": "not found"}, status=404)
