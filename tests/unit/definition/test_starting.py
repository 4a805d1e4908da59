"""`Saga(starts_on=…, key=…)` is checked when it is declared."""

from decimal import Decimal
from typing import Any

import pytest
from celery import shared_task

from sagas import DefinitionError, PermanentError, Saga, Step, event
from sagas.definition.starting import checked_starts_on
from sagas.engine import registry
from sagas.engine.messages import START_TASK
from sagas.engine.reacting import refuse_unknown_saga
from sagas.model import PlanStep
from sagas.model.choreography.unreadable import EventUnreadable


@event
class Ordered:
    order_id: str
    total: Decimal
    note: str | None = None


@shared_task
def charge(order_id: str, total: Decimal) -> None: ...


@shared_task
def ship(address: str) -> None: ...


@pytest.fixture(autouse=True)
def _forget() -> Any:
    known = set(registry._declared)
    yield
    for saga in set(registry._declared) - known:
        registry._declared.discard(saga)


def saga(*tasks: Any, **options: Any) -> Saga:
    steps = [Step(task, compensation=None) for task in tasks or (charge,)]
    return Saga("order", **{"steps": steps, "starts_on": Ordered, "key": "order-{order_id}"} | options)


def test_the_key_is_filled_from_the_event() -> None:
    starts_on = saga().starts_on

    assert starts_on is not None
    assert starts_on.type == "Ordered"
    assert starts_on.key_for({"order_id": "42", "total": Decimal(1)}, "order") == "order-42"


def test_an_event_without_a_value_of_the_key_is_refused_for_good() -> None:
    starts_on = checked_starts_on(Ordered, "{note}", "order")

    assert starts_on is not None
    with pytest.raises(PermanentError, match=r"key='\{note\}' needs 'note', and in this Ordered it is None"):
        starts_on.key_for({"note": None}, "order")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"key": None}, r"starts_on=Ordered needs key=, by which .* as in key='order-\{note\}'"),
        ({"key": "{id}-{name}"}, "names id, name; the fields of Ordered: note, order_id, total"),
        ({"key": "order"}, "is the same for every event: name a field"),
        ({"key": "{order_id"}, "cannot name a key"),
        ({"key": "{order_id.x}"}, "only plain names of fields"),
        ({"key": "{}"}, "only plain names of fields"),
        ({"starts_on": str}, "is not an event: pass a class with @event"),
        ({"starts_on": "Ordered"}, "is not an event"),
        ({"starts_on": None}, r"key='order-\{order_id\}' belongs to starts_on="),
        (
            {"input": ["order_id", "address"]},
            "its input needs address, and starts_on=Ordered has note, order_id, total",
        ),
        ({"locks": ["account:{account}"]}, "needs 'account', but the input has note, order_id, total"),
    ],
)
def test_what_cannot_work_names_the_culprit_and_the_cure(options: dict[str, Any], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        saga(**options)


def test_a_step_that_requires_what_the_event_does_not_have_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"'address'"):
        saga(charge, ship)


def test_a_process_without_the_saga_leaves_its_start_to_one_that_has_it() -> None:
    step = PlanStep(position=1, name="start.order", task=START_TASK, compensation=None)

    with pytest.raises(EventUnreadable, match="saga 'order', which starts on the event, is not declared"):
        refuse_unknown_saga(step)

    declared = saga()
    refuse_unknown_saga(step)
    assert declared.name == "order"
