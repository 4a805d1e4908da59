"""What comes by a bridge is stored once and published in order; what is forged, doubled or hostile is refused."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import Result

from sagas.bridges import acting
from sagas.bridges.envelope import LARGEST, RECEIPT, SKIPPED, Envelope
from sagas.bridges.receiving import Receipt, Receiver
from sagas.bridges.signing import SIGNATURE, sign
from sagas.engine import published
from sagas.store import run_id_of
from sagas.store.purging import BEGINNING
from tests.conftest import Shop
from tests.support import journal
from tests.support.bench import Background
from tests.support.bridged.sale import GivenUp, Item, Opened, Shipped, Sold, sale, till_bridge
from tests.support.bridged.till import Opened as OpenedThere
from tests.support.bridged.till import sale_bridge, till
from tests.support.commands import Here

SECRET = sale_bridge.keys


@dataclass
class Door:
    """The till's end of the bridge, and the messages that the sale would send."""

    shop: Shop
    run: UUID = field(default_factory=uuid4)
    key: str | None = "order-1"

    def envelope(self, type_: str, index: int, **fields: Any) -> Envelope:
        data = {"items": 3} if type_ == "Opened" else {"items": 3, "number": index - 1}
        given = {"id": uuid4(), "type": type_, "source": "sale", "audience": "till", "time": datetime.now(UTC)}
        own = {"data": data, "run": self.run, "key": self.key, "index": index, "depth": 1, "correlation": self.run}
        return Envelope(**given | own | fields)

    def takes(self, envelope: Envelope | bytes, keys: Any = SECRET, **headers: Any) -> Receipt | None:
        body = envelope if isinstance(envelope, bytes) else envelope.to_bytes()
        receiver = Receiver(self.shop.sagas.engine, sale_bridge)
        return receiver.receive(body, {SIGNATURE: sign(body, keys)} | headers)

    @property
    def run_here(self) -> UUID:
        return run_id_of("till", self.key) if self.key else self.run

    def events(self) -> list[tuple[Any, ...]]:
        """Return the events of the run here, in the order of their insertion."""
        said = "SELECT name, payload ->> 'number' FROM sagas.saga_inbox WHERE instance_id = %s ORDER BY id"
        return self.query(said, str(self.run_here))

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return journal.query(self.shop.database_url, statement, *parameters)

    def stands(self) -> dict[str, Any]:
        (found,) = acting.standing(self.shop.sagas.engine.store.bridges, ["sale"])
        return found

    def entries(self) -> list[dict[str, Any]]:
        engine = self.shop.sagas.engine
        return acting.entries_of(engine.store.bridges, engine.secrecy, "sale", 100)

    def refusals(self) -> list[str]:
        found = self.entries()
        return [entry["refused"] for entry in found if entry["refused"]]


@pytest.fixture
def door(shop: Shop) -> Iterator[Door]:
    engine = shop.sagas.engine
    engine.store.runs.register(till.plan(engine))
    return Door(shop)


def test_an_event_that_starts_begins_a_run_with_the_same_key_and_others_join_it(door: Door) -> None:
    opened, item = door.envelope("Opened", 1), door.envelope("Item", 2)

    assert [door.takes(opened), door.takes(item)] == [(door.run, 1), (door.run, 2)]

    assert door.events() == [("Opened", None), ("Item", "1")]
    run = door.shop.sagas.find(saga="till", key="order-1")
    assert run is not None
    assert (run.id, run.correlation_id) == (door.run_here, door.run)


def test_a_run_without_a_key_has_the_same_id_on_both_sides(door: Door) -> None:
    door.key = None

    door.takes(door.envelope("Opened", 1))

    assert door.shop.sagas.get(door.run).saga == "till"


def test_v29_what_comes_early_waits_for_its_index(door: Door) -> None:
    first, second, third = door.envelope("Opened", 1), door.envelope("Item", 2), door.envelope("Item", 3)

    assert [door.takes(one) for one in (third, second)] == [(door.run, 3), (door.run, 2)]
    assert door.events() == []
    assert door.stands()["held"] == 2
    entries = door.entries()
    assert [(entry["index"], entry["waits_for"]) for entry in entries] == [(3, 1), (2, 1)]

    door.takes(first)

    assert door.events() == [("Opened", None), ("Item", "1"), ("Item", "2")]
    assert door.stands()["held"] == 0


def test_v31_a_doubled_message_does_nothing_and_is_receipted_again(door: Door) -> None:
    opened, item = door.envelope("Opened", 1), door.envelope("Item", 2)

    assert [door.takes(opened) for _ in range(3)] == [(door.run, 1)] * 3
    assert [door.takes(item) for _ in range(3)] == [(door.run, 2)] * 3

    assert door.events() == [("Opened", None), ("Item", "1")]
    assert door.refusals() == []


def test_v31_the_same_message_at_two_doors_at_once_is_taken_once(door: Door) -> None:
    opened = door.envelope("Opened", 1)

    both = [Background(lambda: door.takes(opened)) for _ in range(4)]

    assert [one.join() for one in both] == [(door.run, 1)] * 4
    assert door.events() == [("Opened", None)]


def test_an_index_with_another_event_is_refused_and_visible(door: Door) -> None:
    door.takes(door.envelope("Opened", 1))

    assert door.takes(door.envelope("Item", 1)) == (door.run, 1)

    assert door.refusals() == ["another event has come with index 1 of its run"]
    assert door.events() == [("Opened", None)]


def test_v13_a_forged_message_is_counted_and_never_stored(door: Door) -> None:
    opened = door.envelope("Opened", 1)

    assert door.takes(opened, keys=(b"x" * 40,)) is None
    assert door.takes(opened, **{SIGNATURE: None}) is None
    assert (
        door.takes(opened.to_bytes().replace(b"order-1", b"order-2"), **{SIGNATURE: sign(opened.to_bytes(), SECRET)})
        is None
    )

    assert door.query("SELECT count(*) FROM sagas.saga_import") == [(0,)]
    stands = door.stands()
    assert (stands["dropped"], stands["dropped_for"]) == (
        3,
        "it is not signed with a key of this bridge: both sides need one key in common in keys=",
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"source": "till"}, "it is from 'till' for 'till'"),
        ({"audience": "bank"}, "it is from 'sale' for 'bank'"),
        ({"time": datetime(2020, 1, 1, tzinfo=UTC)}, "it was sent on 2020-01-01, more than 30 days ago"),
    ],
)
def test_v13_a_signed_message_for_others_or_of_long_ago_is_dropped(door: Door, changes: Any, why: str) -> None:
    assert door.takes(door.envelope("Opened", 1, **changes)) is None

    assert door.stands()["dropped_for"] == why
    assert door.events() == []


def test_v13_an_oversized_message_is_not_even_read(door: Door) -> None:
    assert door.takes(b"{" + b" " * LARGEST) is None

    assert f"the limit is {LARGEST}" in door.stands()["dropped_for"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"type": "Paid"}, "events of the type 'Paid' are not accepted"),
        ({"type": "sagas.start_saga"}, "events of the type 'sagas.start_saga' are not accepted"),
        ({"data": {"items": "three"}}, "items is a str, not int"),
        ({"data": {}}, "the field 'items' is missing"),
        ({"data": {"items": 3, "more": 1}}, "the field 'more' is unknown"),
        ({"data": ["items"]}, "not an object with fields"),
        ({"data": {"items": {"$decimal": {}}}}, "its data cannot be read"),
        ({"data": {"items": {"$secret": "x"}}}, "not an object with fields in the clear"),
        ({"type": SKIPPED, "data": "too large"}, "the other side left it out: 'too large'"),
    ],
)
def test_v29_what_is_refused_takes_its_index_and_is_kept_for_a_person(door: Door, changes: Any, why: str) -> None:
    opened, bad = door.envelope("Opened", 1), door.envelope("Opened", 2, **changes)
    item = replace(door.envelope("Item", 3), data={"items": 3, "number": 1})

    assert [door.takes(one) for one in (item, bad, opened)] == [(door.run, 3), (door.run, 2), (door.run, 1)]

    assert door.events() == [("Opened", None), ("Item", "1")]
    (refusal,) = door.refusals()
    assert why in refusal
    bridges = door.shop.sagas.engine.store.bridges
    assert [bridges.acknowledge("sale", bad.id) for _ in range(2)] == [True, False]
    assert door.refusals() == []


def test_v50_a_signed_message_that_nobody_can_read_is_kept_once(door: Door) -> None:
    for _ in range(2):
        assert door.takes(b"[" * 1000) is None

    assert len(door.refusals()) == 1
    assert door.stands()["refused"] == 1


def test_an_event_of_a_newer_version_is_taken_and_waits_for_newer_code(door: Door) -> None:
    door.takes(door.envelope("Opened", 1))

    door.takes(door.envelope("Item", 2, version=7, data={"anything": 1}))

    assert door.refusals() == []
    assert door.events() == [("Opened", None), ("Item", None)]


def test_a_key_whose_run_began_otherwise_is_a_refusal(door: Door) -> None:
    engine = door.shop.sagas.engine
    till.start_on(engine, OpenedThere(items=9), key="order-1")

    assert door.takes(door.envelope("Opened", 1)) == (door.run, 1)

    assert door.refusals() == ["its run began with another event, has another one of its id, or is a saga"]


def test_a_lost_event_is_skipped_by_a_person(door: Door, here: Here) -> None:
    door.takes(door.envelope("Opened", 1))
    door.takes(door.envelope("Item", 3))

    shown = said(here("bridge", "show", "sale"))
    assert "waits for index 2" in shown
    assert said(here("bridge", "skip", "sale", str(door.run))) == f"index 2 of run {door.run} is skipped\n"

    assert door.events() == [("Opened", None), ("Item", "2")]
    assert door.refusals() == ["skipped by a person: it was lost"]
    assert here("bridge", "skip", "sale", str(door.run)).exit_code == 1


def test_the_command_lists_how_bridges_stand(door: Door, here: Here) -> None:
    door.takes(door.envelope("Item", 2))
    door.takes(b"forged", keys=(b"x" * 40,))

    line = next(line for line in said(here("bridge", "list")).splitlines() if line.startswith("sale: "))
    assert "0 to leave; 1 waiting since" in line
    assert "1 dropped, last at" in line
    found = [json.loads(line) for line in said(here("bridge", "list", "--json")).splitlines()]
    assert {one["name"]: one["held"] for one in found}["sale"] == 1
    assert here("bridge", "show", "nobody").exit_code == 1


def said(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


# -- what leaves


def test_v29_what_leaves_has_a_dense_index_and_is_done_when_the_other_side_says_so(shop: Shop, here: Here) -> None:
    engine = shop.sagas.engine
    engine.store.runs.register(sale.plan(engine))
    run = sale.start_on(engine, Sold(items=2), key="order-1")
    for event in (Opened(items=2), Item(number=1, items=2), Item(number=2, items=2)):
        sale.publish_on(engine, event, run=run)
    sale.publish_on(engine, GivenUp(), run=run)

    rows = "SELECT index, number, due_at IS NULL FROM sagas.saga_export ORDER BY id"
    assert journal.query(shop.database_url, rows) == [(1, 2, False), (2, 3, False), (3, 4, False), (4, 5, False)]

    receipt = Envelope(
        id=uuid4(), type=RECEIPT, source="till", audience="sale", time=datetime.now(UTC), data=[[str(run.id), 1], ["x"]]
    )
    body = receipt.to_bytes()
    assert Receiver(engine, till_bridge).receive(body, {SIGNATURE: sign(body, till_bridge.keys)}) is None
    assert [row[2] for row in journal.query(shop.database_url, rows)] == [True, False, False, False]
    assert said(here("bridge", "resend", "till", "sale/order-1")) == "4 to be sent again\n"
    assert here("bridge", "resend", "till", "sale/order-2").exit_code == 1


def test_v32_what_came_by_a_bridge_does_not_leave_by_it(shop: Shop) -> None:
    engine = shop.sagas.engine
    engine.store.runs.register(sale.plan(engine))
    run = sale.start_on(engine, Sold(items=2), key="order-1")
    written = sale.exchange.write(Opened(items=2), engine.secrecy)
    with engine.store.database.autocommit() as connection:
        engine.store.runs.publish(connection.scalar, run.id, published(written), None, "bridge:till")
    engine.loop.poke(run.id)

    assert journal.query(shop.database_url, "SELECT count(*) FROM sagas.saga_export") == [(0,)]


def test_a_run_whose_events_the_other_side_does_not_have_is_not_purged(shop: Shop) -> None:
    engine = shop.sagas.engine
    engine.store.runs.register(sale.plan(engine))
    run = sale.start_on(engine, Sold(items=2), key="order-1")
    sale.publish_on(engine, Opened(items=2), run=run)
    done = "status = 'completed', finished_at = clock_timestamp(), token = gen_random_uuid()"
    journal.query(shop.database_url, f"UPDATE sagas.saga_step SET {done} RETURNING 1")
    sale.publish_on(engine, Shipped(items=2), run=run)
    assert run.status.is_final

    def purge() -> int:
        before = datetime.now(UTC) + timedelta(days=1)
        return engine.store.purging.oldest(before, after=BEGINNING, keep_keys=False, limit=10).count

    assert purge() == 0
    engine.store.bridges.received("till", [(run.id, 1)])
    assert purge() == 1
    assert journal.query(shop.database_url, "SELECT count(*) FROM sagas.saga_export") == [(0,)]
