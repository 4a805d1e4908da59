"""A choreography writes and reads its own events, and refuses what it does not name."""

from decimal import Decimal
from typing import Any

import pytest
from cryptography.fernet import Fernet, MultiFernet

from sagas import DefinitionError, PayloadError
from sagas.choreography import Choreography, event
from sagas.choreography.exchange import MOST_RETURNED
from sagas.handle.editing import changed, kept_secrets
from sagas.model import Secrecy, payload
from sagas.model.choreography.unreadable import EventUnreadable
from tests.unit.choreography.fulfilment import (
    OrderCreated,
    PaymentCharged,
    PaymentDeclined,
    ShipmentCreated,
    bound,
    fulfilment,
)
from tests.unit.choreography.samples import Positional

OPEN = Secrecy()
ORDER = OrderCreated(order_id="42", total=Decimal("9.90"), currency="USD")
WHO = "handler 'charge_payment'"
MAY = ("PaymentCharged", "PaymentDeclined")


def returned(value: Any) -> list[Any]:
    written = fulfilment.exchange.returned(value, MAY, WHO, OPEN)
    return [fulfilment.exchange.read(one.type, one.version, payload.loads(one.text), OPEN) for one in written]


def test_what_is_written_is_read() -> None:
    written = fulfilment.exchange.write(ORDER, OPEN)

    assert (written.type, written.version) == ("OrderCreated", 2)
    assert fulfilment.exchange.read("OrderCreated", 2, payload.loads(written.text), OPEN) == ORDER


def test_an_older_version_is_raised() -> None:
    fields = {"order_id": "42", "total": Decimal("9.90")}

    assert fulfilment.exchange.read("OrderCreated", 1, fields, OPEN).currency == "EUR"


def test_another_payload_for_an_event_is_of_its_own_version_and_each_wrong_field_is_named() -> None:
    fields = {"order_id": "42", "total": Decimal("9.90")}

    assert payload.loads(fulfilment.exchange.edited("OrderCreated", 1, fields, OPEN)) == fields
    with pytest.raises(PayloadError, match="does not fit its class: the field 'currency' is missing"):
        fulfilment.exchange.edited("OrderCreated", 2, fields, OPEN)
    with pytest.raises(PayloadError, match="order_id is an int, not str; total is a str, not Decimal"):
        fulfilment.exchange.edited("OrderCreated", 1, {"order_id": 42, "total": "9.90"}, OPEN)


def test_secrets_of_another_payload_are_encrypted_and_stay_as_they_are_where_they_are_hidden() -> None:
    secrecy = Secrecy(["order_id"], MultiFernet([Fernet(Fernet.generate_key())]))
    stored = payload.loads(fulfilment.exchange.write(ORDER, secrecy).text)
    shown = secrecy.hide(stored)
    assert shown["order_id"] == "•••"

    kept = kept_secrets(shown | {"currency": "EUR"}, stored, shown)
    text = fulfilment.exchange.edited("OrderCreated", 2, kept, secrecy)

    assert secrecy.open(payload.loads(text)) == {"order_id": "42", "total": Decimal("9.90"), "currency": "EUR"}
    assert changed(stored, payload.loads(text)) == ("currency",)
    anew = fulfilment.exchange.edited("OrderCreated", 2, kept | {"order_id": "a-secret"}, secrecy)
    assert "a-secret" not in anew
    assert secrecy.open(payload.loads(anew))["order_id"] == "a-secret"


def test_an_event_that_the_choreography_does_not_name_is_refused() -> None:
    with pytest.raises(
        PayloadError, match="choreography 'fulfilling' names no event 'Positional', so that nothing would"
    ):
        fulfilment.exchange.write(Positional("1", Decimal(1)), OPEN)
    with pytest.raises(PayloadError, match="choreography 'fulfilling': publish: a dict is not an event"):
        fulfilment.exchange.write({"order_id": "42"}, OPEN)


def test_v10_a_type_that_is_not_known_here_waits_for_the_code_that_knows_it() -> None:
    with pytest.raises(
        EventUnreadable, match="names no event 'Sent' in the code at hand: it waits for a worker"
    ) as told:
        fulfilment.exchange.read("Sent", 1, {}, OPEN)

    assert not told.value.lacks_value


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        PaymentCharged(order_id="1", charge_id="c"),
        [PaymentCharged(order_id="1", charge_id="c"), PaymentDeclined(order_id="1")],
        (PaymentDeclined(order_id="1", reason="no"),),
    ],
    ids=range(5),
)
def test_a_handler_publishes_what_it_returns(value: Any) -> None:
    wanted = [] if value is None else list(value) if isinstance(value, list | tuple) else [value]

    assert returned(value) == wanted


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (
            {"order_id": "1"},
            "handler 'charge_payment' returned something other than its events: a dict is not an event",
        ),
        ("done", "'done' is not an event"),
        ([PaymentDeclined(order_id="1"), None], "a NoneType is not an event"),
        (ORDER, "returned the event OrderCreated, and publishes= names PaymentCharged, PaymentDeclined: add it there"),
        ([PaymentDeclined(order_id="1")] * (MOST_RETURNED + 1), "returned 101 events; the most is 100"),
        (
            [PaymentDeclined(order_id="1", reason="x" * 600_000)] * 2,
            "returned events of 1200.* bytes; the limit is 1048576",
        ),
        (PaymentDeclined(order_id=3), "event 'PaymentDeclined' cannot be published: order_id is an int, not str"),
    ],
    ids=range(7),
)
def test_a_handler_that_returns_something_else_is_told_so(value: Any, told: str) -> None:
    with pytest.raises(PayloadError, match=told):
        returned(value)


# -- the event that the library publishes


def cancelled(*fields: tuple[str, Any], **defaults: Any) -> Choreography:
    kind = event(
        type("Cancelled", (), {"__annotations__": dict(fields), "__module__": __name__, **defaults}),
    )
    return Choreography("cancelled", starts=OrderCreated, ends=ShipmentCreated, on_cancel=kind)


@pytest.mark.parametrize(
    ("fields", "defaults"),
    [
        ((), {}),
        ((("order_id", str), ("reason", str)), {}),
        ((("total", Decimal | None), ("note", str)), {"note": ""}),
        ((("order_id", Any),), {}),
    ],
    ids=range(4),
)
def test_it_is_filled_from_the_first_event_and_the_reason(fields: Any, defaults: Any) -> None:
    assert cancelled(*fields, **defaults).plan(bound("filled").engine).on_cancel == "Cancelled"


@pytest.mark.parametrize(
    ("field", "told"),
    [
        (
            ("note", str),
            " requires the field 'note', which nothing fills: it gets the fields of OrderCreated and 'reason'",
        ),
        (("total", str), ": the field 'total' is str, and is filled from OrderCreated, where it is Decimal"),
        (("reason", int), ": the field 'reason' is int, and is filled from why the run turned back, where it is str"),
    ],
    ids=range(3),
)
def test_what_nothing_can_fill_is_refused_when_it_is_compiled(field: Any, told: str) -> None:
    with pytest.raises(DefinitionError, match=f"choreography 'cancelled': on_cancel=Cancelled{told}"):
        cancelled(field).plan(bound("unfilled").engine)


def test_its_reason_is_that_of_the_turn_whatever_the_first_event_says() -> None:
    @event
    class Asked:
        reason: int

    @event
    class Cancelled:
        reason: int

    asked = Choreography("asked", starts=Asked, ends=ShipmentCreated, on_cancel=Cancelled)

    with pytest.raises(DefinitionError, match="is filled from why the run turned back, where it is str"):
        asked.plan(bound("asked").engine)
