"""The process of a bridge, in this process: an outage of its broker does not end it."""

import threading
from copy import copy

import pytest

from sagas.bridges import acting
from sagas.bridges.station import Station
from tests.conftest import Shop
from tests.support.bridged.sale import till_bridge
from tests.support.workers import eventually


@pytest.mark.parametrize("away", ["redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//"])
def test_a_broker_that_is_away_when_it_begins_is_tried_again(shop: Shop, away: str) -> None:
    end = copy(till_bridge)
    end.broker = away
    bridges, stop, raised = shop.sagas.engine.store.bridges, threading.Event(), []

    def run() -> None:
        try:
            Station(shop.sagas.engine, end).run(stop)
        except Exception as error:
            raised.append(error)

    station = threading.Thread(target=run)
    station.start()
    try:
        eventually(lambda: raised or acting.standing(bridges, [end.name])[0]["error"], "the bridge to be closed", 30)
    finally:
        stop.set()
        station.join(30)

    assert raised == []
    assert "refused" in acting.standing(bridges, [end.name])[0]["error"]
