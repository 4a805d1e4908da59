"""Events leave for another service and come back, whatever of the two is killed meanwhile (E7)."""

import random
from typing import Any

import pytest
from redis import Redis

from config.servers import EmbeddedBroker
from sagas import SagaStatus
from tests.integration.bridges.conftest import MakeTrade, Trade, begin, whole
from tests.support.rabbitmq import RabbitMQ
from tests.support.workers import eventually


def make_the_round(trade: Trade) -> None:
    begin(trade)
    trade.sale.bridge()
    trade.till.bridge()

    run = trade.sell(5, key="first")

    assert run.wait(90) is SagaStatus.COMPLETED
    there = trade.till.run_of("first")
    assert there is not None
    assert there.wait(60) is SagaStatus.COMPLETED
    assert trade.booked("first") == whole(5)
    assert trade.sale.shop.effects(run) == ["ring up", "ship"]
    assert there.correlation_id == run.id
    trade.nothing_is_left()
    came = trade.till.query(
        "SELECT name, sent_by, depth, caused_by IS NOT NULL FROM sagas.saga_inbox ORDER BY number LIMIT 2"
    )
    assert came == [("Opened", "bridge:sale", 2, True), ("Item", "bridge:sale", 2, True)]
    # What came never goes back.
    assert trade.till.query("SELECT count(*) FROM sagas.saga_export") == [(1,)]


def test_a_run_goes_to_the_other_service_and_back(make_trade: MakeTrade, bridge_broker: EmbeddedBroker) -> None:
    make_the_round(make_trade(bridge_broker.url_of(0)))


def test_a_run_goes_to_the_other_service_and_back_by_rabbitmq(make_trade: MakeTrade) -> None:
    with RabbitMQ() as broker:
        make_the_round(make_trade(broker.empty_vhost()))


def test_v30_an_hour_without_the_other_service_loses_nothing_and_costs_no_attempts(
    make_trade: MakeTrade, bridge_broker: EmbeddedBroker
) -> None:
    trade = make_trade(bridge_broker.url_of(0))
    begin(trade)
    station = trade.sale.bridge()
    bridge_broker.kill()
    trade.till.kill()

    runs = [trade.sell(4, key=f"hour-{number}") for number in range(3)]
    leaving = "SELECT count(*), coalesce(max(tries), 0) FROM sagas.saga_export WHERE due_at IS NOT NULL"
    eventually(lambda: trade.sale.query(leaving) == [(15, 0)], "all to be about to leave", 60)
    closed = "SELECT closed_until > clock_timestamp() - interval '1 minute', error <> '' FROM sagas.saga_bridge"
    eventually(lambda: trade.sale.query(closed) == [(True, True)], "the bridge to be closed", 60)
    trade.an_hour_passes()
    station.kill()  # and the sender dies, too

    bridge_broker.start()
    trade.till.work()
    trade.till.bridge()
    trade.sale.bridge()

    for run in runs:
        assert run.wait(90) is SagaStatus.COMPLETED
        assert trade.booked(str(run.key)) == whole(4)
        assert trade.sale.shop.effects(run) == ["ring up", "ship"]
    trade.nothing_is_left()


def test_a_broker_that_loses_everything_loses_nothing(make_trade: MakeTrade, bridge_broker: EmbeddedBroker) -> None:
    trade = make_trade(bridge_broker.url_of(0))
    begin(trade)
    station = trade.sale.bridge()
    run = trade.sell(3, key="lost")
    sent = "SELECT count(*) FROM sagas.saga_export WHERE sent_at IS NOT NULL"
    eventually(lambda: trade.sale.query(sent) == [(4,)], "all to be sent", 60)
    station.kill()
    with Redis(unix_socket_path=f"{bridge_broker.directory}/valkey.sock", db=0) as client:
        client.flushdb()

    trade.an_hour_passes()
    trade.sale.bridge()
    trade.till.bridge()

    assert run.wait(90) is SagaStatus.COMPLETED
    assert trade.booked("lost") == whole(3)


def test_v28_a_cancel_reaches_the_other_service_last_and_turns_its_run_back(
    make_trade: MakeTrade, bridge_broker: EmbeddedBroker
) -> None:
    trade = make_trade(bridge_broker.url_of(0))
    begin(trade)
    run = trade.sell(2, key="cancelled")
    eventually(lambda: trade.sale.query("SELECT count(*) FROM sagas.saga_export") == [(3,)], "all to leave", 60)
    run.cancel("changed mind")
    assert run.wait(60) is SagaStatus.COMPENSATED

    trade.sale.bridge()
    trade.till.bridge()

    eventually(lambda: trade.till.run_of("cancelled") and trade.till.run_of("cancelled").status.is_final, "its end", 90)
    there: Any = trade.till.run_of("cancelled")
    assert there.status is SagaStatus.COMPENSATED
    assert "GivenUp" in str(there.error)
    trade.nothing_is_left()


def test_databases_that_cut_every_connection_lose_nothing_and_double_nothing(
    make_trade: MakeTrade, bridge_broker: EmbeddedBroker
) -> None:
    trade = make_trade(bridge_broker.url_of(0))
    begin(trade)
    trade.sale.bridge()
    trade.till.bridge()
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"
    runs = [trade.sell(5, key=f"cut-{number}") for number in range(4)]

    for _ in range(4):
        trade.some_more_is_booked(runs)
        for service in (trade.sale, trade.till):
            service.query(cut)

    for run in runs:
        assert run.wait(120) is SagaStatus.COMPLETED
        assert trade.booked(str(run.key)) == whole(5)
        assert trade.sale.shop.effects(run) == ["ring up", "ship"]
    stations = [process for service in (trade.sale, trade.till) for process in service.processes]
    assert [process.process.poll() for process in stations if process.process] == [None] * 4


@pytest.mark.parametrize("seed", [1])
def test_v31_whoever_is_killed_there_is_one_effect_for_each_event_and_in_its_order(
    make_trade: MakeTrade, bridge_broker: EmbeddedBroker, seed: int
) -> None:
    dice = random.Random(seed)
    trade = make_trade(bridge_broker.url_of(0))
    begin(trade)
    stations = {"sale": trade.sale.bridge(), "till": trade.till.bridge()}
    runs = [trade.sell(6, key=f"kill-{number}") for number in range(8)]

    for _ in range(6):
        name = dice.choice(sorted(stations))
        trade.some_more_is_booked(runs)
        stations[name].kill()
        trade.an_hour_passes()
        stations[name] = getattr(trade, name).bridge()

    for run in runs:
        assert run.wait(120) is SagaStatus.COMPLETED
        assert trade.booked(str(run.key)) == whole(6)
        assert trade.sale.shop.effects(run) == ["ring up", "ship"]
