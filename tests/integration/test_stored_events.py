"""`check` reads a stored event of every version with the code at hand, upcasters included."""

from uuid import uuid4

import pytest

from sagas.choreography import Choreography, event, upcast
from sagas.cli.stored_events import stored_event_findings
from sagas.engine import registry
from tests.conftest import Shop
from tests.support import journal


@event(version=2)
class Opened:
    total: int
    currency: str


@upcast(Opened, from_version=1)
def add_currency(old: dict) -> dict:
    return {"total": old["total"], "currency": "EUR"}


@event
class Closed:
    pass


@pytest.fixture
def account(shop: Shop) -> Choreography:
    name = f"account-{uuid4().hex}"
    made = Choreography(name, starts=Opened, ends=Closed)
    shop.sagas.register()
    yield made
    registry._choreographies.discard(made)


def stored(shop: Shop, account: Choreography, version: int, payload: str) -> tuple[list[str], list[str]]:
    """What `check` says once a run has begun with this event."""
    run = account.start_on(shop.sagas.engine, Opened(total=1, currency="EUR"), key=uuid4().hex)
    journal.query(
        shop.database_url,
        "UPDATE sagas.saga_inbox SET version = %s, payload = %s WHERE instance_id = %s RETURNING id",
        version,
        payload,
        str(run.id),
    )
    findings, notes = stored_event_findings(shop.sagas, shop.sagas.engine.store.runs)
    own = f"choreography {account.name!r}: stored events cannot be read: "
    return (
        [line.removeprefix(own) for line in findings if line.startswith(own)],
        [line.removeprefix(own) for line in notes if line.startswith(own)],
    )


def test_what_can_be_read_is_not_told(shop: Shop, account: Choreography) -> None:
    assert stored(shop, account, 2, '{"total": 1, "currency": "EUR"}') == ([], [])
    assert stored(shop, account, 1, '{"total": 1}') == ([], [])


def test_an_upcaster_that_fails_on_a_stored_event_is_a_finding(shop: Shop, account: Choreography) -> None:
    (told,), notes = stored(shop, account, 1, '{"sum": 1}')

    assert told.startswith(
        "event 'Opened' of version 1: the upcaster tests.integration.test_stored_events.add_currency"
    )
    assert "raised KeyError: 'total'" in told
    assert notes == []


def test_a_stored_event_that_does_not_fit_its_class_is_a_finding(shop: Shop, account: Choreography) -> None:
    (told,), _ = stored(shop, account, 2, '{"total": "1"}')

    assert "the field 'currency' is missing" in told


def test_an_event_that_only_newer_code_can_read_is_a_note(shop: Shop, account: Choreography) -> None:
    findings, (told,) = stored(shop, account, 3, "{}")

    assert findings == []
    assert "is newer than the code at hand, which knows version 2" in told
