"""A choreography is declared by decorators, and compiles to one plan on any app."""

import json
import subprocess
import sys

import pytest
from celery import shared_task

from sagas import DefinitionError, NotBound
from sagas.choreography import Choreography, event, upcast
from sagas.engine import choreographies
from sagas.model.choreography import ChoreographyPlan, IfDead, Order
from tests.support.workers import ROOT
from tests.unit.choreography import fulfilment as shop
from tests.unit.choreography.fulfilment import bound, fulfilment

REFUSES = ("StockRefused", "PaymentDeclined")
HERE = "tests.unit.choreography.fulfilment"


@pytest.fixture(scope="module")
def plan() -> ChoreographyPlan:
    return fulfilment.plan(bound().engine)


def test_the_graph_has_the_options_that_were_given(plan: ChoreographyPlan) -> None:
    assert (plan.name, plan.version, plan.starts) == ("fulfilling", 3, "OrderCreated")
    assert (plan.ends, plan.refuses, plan.on_cancel) == (("ShipmentCreated",), REFUSES, "OrderCancelled")
    assert (plan.deadline, plan.quiet_after, plan.early_for) == (4 * 3600.0, 1200.0, 86400.0)
    assert (plan.awaits, plan.max_events, plan.priority) == ((("PaymentConfirmed", 7200.0),), 500, 3)


def test_a_handler_is_a_step_with_events(plan: ChoreographyPlan) -> None:
    charge, ship, reserve, tell = plan.handlers

    assert [handler.name for handler in plan.handlers] == ["charge_payment", "create_shipment", "reserve_stock", "tell"]
    assert [handler.place for handler in plan.handlers] == [0, 1, 2, 3]
    assert (reserve.hears, reserve.publishes) == (("OrderCreated",), ("StockReserved", "StockRefused"))
    assert (reserve.step.task, reserve.step.compensation) == (f"{HERE}.reserve_stock", f"{HERE}.release_stock")
    assert (reserve.step.retry.max_attempts, reserve.step.compensation_retry.max_attempts) == (5, 2)
    assert (reserve.step.timeout, reserve.step.compensation_timeout) == (30.0, 10.0)
    assert (reserve.step.compensation_deadline, reserve.step.queue, reserve.step.max_losses) == (600.0, "stock", 1)
    assert (reserve.undo_when, reserve.order, reserve.if_dead) == (
        ("PaymentDeclined", "OrderCancelled"),
        Order.RUN,
        IfDead.HOLD,
    )
    assert (charge.step.clean, charge.step.idempotent, charge.step.poll_for) == ((f"{HERE}.CardDeclined",), False, 60.0)
    assert (charge.is_undoable, charge.undo_when) == (True, ())
    assert (ship.is_undoable, ship.publishes) == (False, ("ShipmentCreated",))
    assert (tell.order, tell.if_dead, tell.step.task) == (Order.NONE, IfDead.SKIP, f"{HERE}.tell_customer")
    assert tell.hears == ("PaymentCharged", "PaymentDeclined", "OrderCancelled")


def test_the_defaults_of_a_handler_are_those_of_a_step(plan: ChoreographyPlan) -> None:
    charge = plan.handlers[0].step

    assert (charge.retry.max_attempts, charge.compensation_retry.max_attempts, charge.max_losses) == (3, 6, 3)
    assert charge.compensation_retry.on == ("builtins.Exception",)
    assert charge.declared_limits(0) is None


def test_the_plan_has_every_event_with_its_fields(plan: ChoreographyPlan) -> None:
    told = "OrderCancelled OrderCreated PaymentCharged PaymentConfirmed PaymentDeclined ShipmentCreated StockRefused"
    assert [event.type for event in plan.events] == [*told.split()[:-1], "StockRefused", "StockReserved"]
    assert plan.by_type["OrderCreated"].version == 2
    assert [field.name for field in plan.by_type["OrderCreated"].fields] == ["order_id", "total", "currency"]


def test_the_plan_comes_back_from_its_json(plan: ChoreographyPlan) -> None:
    assert ChoreographyPlan.from_json(json.loads(plan.text)) == plan


def test_every_app_and_process_makes_the_same_plan(plan: ChoreographyPlan) -> None:
    code = f"from {HERE} import *; print(fulfilment.plan(bound('elsewhere').engine).fingerprint)"

    elsewhere = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert elsewhere.stdout.strip() == plan.fingerprint


def test_what_knows_some_of_the_handlers_agrees_with_the_whole(plan: ChoreographyPlan) -> None:
    part = Choreography(
        "part",
        version=3,
        starts=shop.OrderCreated,
        ends=shop.ShipmentCreated,
        refuses=[shop.StockRefused, shop.PaymentDeclined],
    )
    part.on(shop.PaymentConfirmed, publishes=shop.ShipmentCreated)(shop.create_shipment)

    assert part.plan(bound("part").engine).contradictions(plan) == tuple(
        f"its option {name}"
        for name in ("deadline", "early_for", "max_events", "name", "on_cancel", "priority", "quiet_after")
    )


def test_a_handler_that_is_declared_later_is_in_the_plan_then() -> None:
    engine = bound("growing").engine
    growing = Choreography("growing", starts=shop.OrderCreated, ends=shop.ShipmentCreated)
    assert growing.plan(engine).handlers == ()

    growing.on(shop.OrderCreated, publishes=shop.ShipmentCreated)(act)
    assert [handler.name for handler in growing.plan(engine).handlers] == ["act"]

    growing.undo("act")(undo)
    assert growing.plan(engine).handlers[0].is_undoable


@shared_task
def act(event): ...  # type: ignore[no-untyped-def]


@shared_task
def undo(event): ...  # type: ignore[no-untyped-def]


def test_a_decorated_task_is_still_the_task() -> None:
    growing = Choreography("growing", starts=shop.OrderCreated, ends=shop.ShipmentCreated)

    assert growing.on(shop.OrderCreated)(act) is act
    assert growing.undo(act)(undo) is undo
    assert growing.tasks() == [act, undo]


def test_a_module_that_is_imported_again_replaces_its_handlers() -> None:
    growing = Choreography("growing", starts=shop.OrderCreated, ends=shop.ShipmentCreated)
    for losses in (1, 2):
        growing.on(shop.OrderCreated, name="once", max_losses=losses)(act)

    assert list(growing.handlers) == ["once"]
    assert growing.handlers["once"].step.max_losses == 2


def test_the_engine_knows_every_choreography_that_is_held() -> None:
    assert fulfilment in choreographies()


def test_broken_upcasters_and_fields_are_all_told_when_it_is_compiled() -> None:
    @event(version=3)
    class Odd:
        field: set[str]

    @upcast(Odd, from_version=1)
    def first(old: dict[str, object]) -> dict[str, object]:
        return old

    odd = Choreography("odd", starts=Odd, ends=shop.ShipmentCreated)

    with pytest.raises(DefinitionError) as refused:
        odd.plan(bound("odd").engine)

    told = str(refused.value)
    assert told.startswith("choreography 'odd' cannot work, for 2 reasons:\n- choreography 'odd': event 'Odd': ")
    assert "the field 'field': set[str] cannot be stored" in told
    assert "nothing upcasts version 2, so the chain from version 1 to 3 has a gap" in told


def test_a_task_of_another_app_is_refused_when_it_is_compiled() -> None:
    app = bound("stranger").app

    @app.task(name="strange", shared=False)
    def strange_task(event: object) -> None: ...

    strange = Choreography("strange", starts=shop.OrderCreated, ends=shop.ShipmentCreated)
    strange.on(shop.OrderCreated)(strange_task)

    with pytest.raises(
        NotBound, match="handler 'strange_task': the task 'strange' is not registered on the app 'other'"
    ):
        strange.plan(bound("other").engine)
