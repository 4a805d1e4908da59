"""The shop's pages."""

from uuid import UUID

from flask import Blueprint, Response, abort, jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy.dialects.postgresql import insert
from werkzeug.exceptions import HTTPException

from config.examples.flask_shop.shop import Order, db, sagas
from config.examples.order_form import BadOrder, OrderForm
from config.examples.page import front_page
from config.examples.reasons import TOO_LATE, why_undone
from config.examples.staging import stage
from sagas import InstanceNotFound, SagaHandle, TransitionRefused, WaitTimeout
from sagas.contrib.flask import event_stream
from tasks.orders import order

LONGEST_WAIT = 30.0

shop = Blueprint("shop", __name__)


@shop.get("/")
def page() -> str:
    return front_page("python3 run.py exec celery -A config.examples.flask_shop sagas show order/KEY")


@shop.post("/orders")
def place() -> ResponseReturnValue:
    """Insert the order's row and the saga's in one transaction; the saga is sent after its commit."""
    try:
        form = OrderForm.parse(request.get_json(silent=True))
    except BadOrder as error:
        abort(400, str(error))
    row = {"id": form.order_id, "sku": form.sku, "quantity": form.quantity, "total": form.total}
    # The same order sent twice is one order, even at the same moment.
    is_new = db.session.scalar(insert(Order).values(row).on_conflict_do_nothing().returning(Order.id)) is not None
    if is_new:
        stage(form)
    run = order.start(form.saga_input, key=form.order_id)
    db.session.commit()
    return {"order_id": form.order_id, "saga_id": str(run.id)}, 201 if is_new else 200


@shop.get("/orders/<order_id>")
def progress(order_id: str) -> ResponseReturnValue:
    return _of_order(order_id).progress()


@shop.get("/orders/<order_id>/events")
def events(order_id: str) -> Response:
    return event_stream(_of_order(order_id))


@shop.get("/orders/<order_id>/why")
def why(order_id: str) -> ResponseReturnValue:
    return {"why": why_undone(_of_order(order_id).snapshot())}


@shop.get("/orders/<order_id>/wait")
def wait(order_id: str) -> ResponseReturnValue:
    run = _of_order(order_id)
    timeout = request.args.get("timeout", "10")
    if not timeout.replace(".", "", 1).isdecimal():
        abort(400, "timeout must be seconds")
    try:
        return {"status": run.wait(min(float(timeout), LONGEST_WAIT))}
    except WaitTimeout:
        return {"status": run.status}, 202


@shop.post("/orders/<order_id>/cancel")
def cancel(order_id: str) -> ResponseReturnValue:
    run = _of_order(order_id)
    try:
        run.cancel("the customer changed their mind", by="customer")
    except TransitionRefused:
        abort(409, TOO_LATE)
    return {"status": run.status}


@shop.get("/sagas/<uuid:saga_id>")
def saga_progress(saga_id: UUID) -> ResponseReturnValue:
    try:
        return sagas.get(saga_id).progress()
    except InstanceNotFound:
        abort(404)


def _of_order(order_id: str) -> SagaHandle:
    return sagas.find(saga=order.name, key=order_id) or abort(404)


@shop.app_errorhandler(HTTPException)
def told(error: HTTPException) -> ResponseReturnValue:
    if error.code == 404:
        return jsonify(error="not found"), 404
    return jsonify(error=error.description), error.code or 500
