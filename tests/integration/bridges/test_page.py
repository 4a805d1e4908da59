"""The page's example of a bridge by a function of the application runs as it is printed."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from config.servers import EmbeddedBroker
from sagas.bridges import bridge as bridge_module
from sagas.bridges.envelope import Envelope
from sagas.bridges.sending import Exporter
from sagas.bridges.signing import SIGNATURE, sign
from sagas.bridges.transport import FunctionLine
from sagas.engine import registry
from sagas.engine.registry import current_app
from tests.conftest import Shop
from tests.support import journal
from tests.support.bridged import KEYS
from tests.support.pages import PAGES, blocks


@pytest.fixture
def example(bridge_broker: EmbeddedBroker, shop: Shop) -> Iterator[dict[str, Any]]:
    """The names of the page's two modules; only the address of the server and the key are others."""
    found = {block.partition("\n")[0]: block for block in blocks(PAGES["docs/choreography.md"], "python")}
    server = f"unix://{bridge_broker.directory}/valkey.sock?db=0"
    names: dict[str, Any] = {"BRIDGE_KEY": KEYS[0], "__name__": "page_about_bridges"}
    exec(found["# fulfilment.py"], names)
    exec(found["# by_stream.py"].replace("redis://streams.example/0", server), names)
    with current_app(shop.sagas.app):
        yield names
    names["streams"].close()
    registry._choreographies.discard(names["fulfilment"])
    del bridge_module._bridges["billing"]


def test_what_the_page_hands_over_and_takes_leaves_and_comes(example: dict[str, Any], shop: Shop) -> None:
    engine, fulfilment, streams = shop.sagas.engine, example["fulfilment"], example["streams"]
    exporter = Exporter(example["billing"], engine.store.bridges, engine.store.lines, engine.secrecy)
    engine.store.runs.register(fulfilment.plan(engine))
    order = example["OrderCreated"](order_id="42", total=Decimal("9.90"), currency="EUR")
    run = fulfilment.start_on(engine, order, key="order-42")

    assert exporter.send_batch(FunctionLine(example["billing"])) == 1

    ((_, left),) = streams.xrange("shop-to-billing")
    assert json.loads(left[b"body"])["type"] == "OrderCreated"

    charged = Envelope(
        id=uuid4(),
        type="PaymentCharged",
        source="billing",
        audience="shop",
        time=datetime.now(UTC),
        data={"order_id": "42"},
        run=uuid4(),
        key="order-42",
        index=1,
    ).to_bytes()
    streams.xadd("billing-to-shop", {"body": charged, SIGNATURE: sign(charged, example["billing"].keys)})
    example["take"]()

    assert streams.xlen("billing-to-shop") == 0
    came = "SELECT name FROM sagas.saga_inbox WHERE instance_id = %s ORDER BY number"
    assert journal.query(shop.database_url, came, str(run.id)) == [("OrderCreated",), ("PaymentCharged",)]
