"""`Bridge(publish=…)`: messages go by a function of the application, which refuses, hangs, or dies with its process."""

import time
from copy import copy
from datetime import timedelta
from typing import Any

import pytest

from config.servers import EmbeddedBroker
from sagas import Bridge, ConfigurationError, SagaStatus
from sagas.bridges import acting, sending
from sagas.bridges.sending import Exporter
from sagas.bridges.transport import FunctionLine, NotTaken
from tests.conftest import Shop
from tests.integration.bridges.conftest import MakeTrade, Trade, begin, whole
from tests.support.bridged import KEYS, stream
from tests.support.bridged.sale import Item, Opened, Sold, sale, till_bridge
from tests.support.programs import Program
from tests.support.workers import eventually


@pytest.fixture
def trade(make_trade: MakeTrade, bridge_broker: EmbeddedBroker) -> Trade:
    """Two services with a stream for each way between them, workers, and processes that take from the streams."""
    made = make_trade(f"unix://{bridge_broker.directory}/valkey.sock?db=0")
    begin(made)
    for service in (made.sale, made.till):
        service.carry()
    return made


def has_made_the_round(trade: Trade, key: str, items: int) -> None:
    run = trade.sale.run_of(key)
    assert run is not None
    assert run.wait(90) is SagaStatus.COMPLETED
    assert trade.booked(key) == whole(items)
    assert trade.sale.shop.effects(run) == ["ring up", "ship"]
    trade.nothing_is_left()


def test_v30_what_a_function_does_not_take_leaves_later_and_in_its_order(trade: Trade) -> None:
    stream.tell(*trade.sale.outgoing, "yes", "yes", "no", "no")
    station = trade.sale.bridge()
    trade.sell(4, key="refused")
    eventually(lambda: "the stream is away" in str(standing(trade)["error"]), "the function to refuse", 60)

    trade.till.bridge()

    has_made_the_round(trade, "refused", 4)
    assert stream.count(*trade.sale.outgoing) == 5
    assert standing(trade)["error"] is None
    assert is_alive(station)


def standing(trade: Trade) -> dict[str, Any]:
    """Return how the sale's end of the bridge stands."""
    (found,) = acting.standing(trade.sale.shop.sagas.engine.store.bridges, ["till"])
    return found


def is_alive(station: Program) -> bool:
    return station.process is not None and station.process.poll() is None


def test_v31_a_process_that_dies_once_its_function_has_taken_a_message_sends_it_again(trade: Trade) -> None:
    stream.tell(*trade.sale.outgoing, "yes", "dies")
    station = trade.sale.bridge()
    trade.sell(3, key="killed")
    eventually(lambda: not is_alive(station), "the process to die", 60)
    assert stream.count(*trade.sale.outgoing) == 2

    trade.an_hour_passes()
    trade.sale.bridge()
    trade.till.bridge()

    has_made_the_round(trade, "killed", 3)
    assert stream.count(*trade.sale.outgoing) == 2 + 4


def test_v30_a_function_that_hangs_holds_up_its_own_process_alone(trade: Trade) -> None:
    stream.tell(*trade.sale.outgoing, "hangs")
    hanging = trade.sale.bridge()
    trade.sell(3, key="hanging")
    eventually(lambda: stream.is_hanging(*trade.sale.outgoing), "the function to hang", 60)

    trade.sale.bridge()
    trade.till.bridge()
    trade.an_hour_passes()

    has_made_the_round(trade, "hanging", 3)
    stream.let_go_on(*trade.sale.outgoing)
    eventually(lambda: stream.count(*trade.sale.outgoing) > 4, "one to be handed over twice", 60)
    has_made_the_round(trade, "hanging", 3)
    assert is_alive(hanging)


# -- one end of it, in this process


@pytest.fixture
def exporter(shop: Shop) -> Exporter:
    """The sale's end of the bridge, by which three events are about to leave."""
    engine = shop.sagas.engine
    engine.store.runs.register(sale.plan(engine))
    run = sale.start_on(engine, Sold(items=2), key="order-1")
    for event in (Opened(items=2), Item(number=1, items=2), Item(number=2, items=2)):
        sale.publish_on(engine, event, run=run)
    return Exporter(till_bridge, engine.store.bridges, engine.store.lines, engine.secrecy)


def line_by(publish: Any) -> FunctionLine:
    """Return a way to the till by some function."""
    end = copy(till_bridge)
    end.publish = publish
    return FunctionLine(end)


def test_a_batch_of_a_slow_function_ends_while_its_lease_lasts(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "LEASE", timedelta(seconds=1))
    line = line_by(lambda *_: time.sleep(0.6))

    assert [exporter.send_batch(line) for _ in range(4)] == [1, 1, 1, 0]


def test_a_function_that_returns_before_a_message_is_taken_has_not_taken_it(exporter: Exporter) -> None:
    with pytest.raises(NotTaken, match="returned a coroutine: it must return once the message is taken"):
        exporter.send_batch(line_by(lambda *given: publish_later(*given)))

    assert exporter.send_batch(line_by(lambda *_: None)) == 3


async def publish_later(body: bytes, headers: dict[str, str]) -> None: ...


@pytest.mark.parametrize("publish", ["https://billing.example", publish_later])
def test_what_cannot_publish_is_refused_when_the_bridge_is_declared(publish: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"publish=.* must be a plain function"):
        Bridge("till", source="sale", choreography=sale, publish=publish, types=Opened, keys=KEYS)
