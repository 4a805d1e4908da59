"""The context of a run: it travels with the run's messages, and by a bridge its trace alone does."""

import json
from typing import Any

import pytest

from sagas.bridges.receiving import Receiver
from sagas.bridges.sending import Exporter
from sagas.bridges.signing import SIGNATURE, sign
from tests.integration.bridges.conftest import MakeTrade, Service, Trade
from tests.support import queues, tenants
from tests.support.bridged.sale import Opened, Sold, sale, till_bridge
from tests.support.bridged.till import sale_bridge
from tests.support.workers import eventually

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "congo=t61rcWkgMzE"}


class Kept:
    """A line that keeps what is sent."""

    confirms = True

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def send(self, body: bytes) -> None:
        self.bodies.append(body)


def add_trace(headers: dict[str, Any], **_: Any) -> None:
    headers |= TRACE


@pytest.fixture
def trade(make_trade: MakeTrade) -> Trade:
    """Two services without a process: the test carries what leaves."""
    made = make_trade("memory://")
    for service in (made.sale, made.till):
        engine = service.shop.sagas.engine
        engine.store.runs.register(service.choreography.plan(engine))
    return made


def left_after_a_start(trade: Trade) -> bytes:
    """Start a run for a tenant within a trace, and return the message of an event that leaves."""
    engine = trade.sale.shop.sagas.engine
    with tenants.connected(tenants.put, add_trace), tenants.of("acme"):
        run = sale.start_on(engine, Sold(items=2), key="order-1")
    sale.publish_on(engine, Opened(items=2), run=run)
    line = Kept()
    exporter = Exporter(till_bridge, engine.store.bridges, engine.store.lines, engine.secrecy)
    assert exporter.send_batch(line) == 1
    return line.bodies[0]


def take(trade: Trade, body: bytes) -> None:
    receiver = Receiver(trade.till.shop.sagas.engine, sale_bridge)
    assert receiver.receive(body, {SIGNATURE: sign(body, sale_bridge.keys)}) is not None


def message_of(service: Service) -> dict[str, Any]:
    """Return the headers of the only message to its workers; on a busy machine the sweep sends it."""
    sagas = service.shop.sagas
    eventually(lambda: queues.queued(sagas) or sagas.sweep(), "a message")
    (message,) = queues.queued(sagas)
    return message


def context_of(message: dict[str, Any]) -> dict[str, str]:
    return {name: message[name] for name in ("tenant", *TRACE) if name in message}


def test_a_run_carries_its_callers_context_and_the_other_service_its_trace_alone(trade: Trade) -> None:
    body = left_after_a_start(trade)
    assert context_of(message_of(trade.sale)) == {"tenant": "acme"} | TRACE
    assert {name: value for name, value in json.loads(body).items() if name in ("tenant", *TRACE)} == TRACE

    take(trade, body)

    assert context_of(message_of(trade.till)) == TRACE
    run = trade.till.run_of("order-1")
    assert run is not None
    assert run.snapshot().headers == sorted(TRACE)


@pytest.mark.parametrize(
    ("said", "carried"),
    [
        ({"tenant": "acme", "headers": {"tenant": "acme"}, "saga_headers": "0", "baggage": "user=1"}, TRACE),
        ({"tracestate": "é"}, {"traceparent": TRACE["traceparent"]}),
        ({"traceparent": "00-" + "0" * 32 + "-b7ad6b7169203331-01"}, {}),
        ({"traceparent": ["tenant"]}, {}),
        ({"traceparent": TRACE["traceparent"] + "\ntenant: acme"}, {}),
    ],
)
def test_v13_a_foreign_service_gives_a_run_no_header_but_those_of_a_trace(
    trade: Trade, said: dict[str, Any], carried: dict[str, str]
) -> None:
    take(trade, json.dumps(json.loads(left_after_a_start(trade)) | said).encode())

    message = message_of(trade.till)
    assert context_of(message) == carried
    assert "acme" not in str(message)
    run = trade.till.run_of("order-1")
    assert run is not None
    assert run.snapshot().headers == sorted(carried)
