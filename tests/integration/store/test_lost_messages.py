"""A backlog is not a loss: a message is sent again where there is evidence that it is lost, and only there."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from tests.conftest import Shop
from tests.support import queues, scripted
from tests.support.bench import QUEUE, Bench


@pytest.fixture
def rows(shop: Shop) -> Bench:
    """The shop's own rows."""
    return Bench(shop.database_url, shop.sagas.engine.store)


def dispatches(rows: Bench, run: UUID) -> int:
    return int(rows.steps(run)[0]["dispatches"])


def test_h5_a_backlog_of_ten_minutes_costs_one_message_a_saga(shop: Shop, rows: Bench) -> None:
    # Given: sagas and no worker
    runs = [shop.start(scripted.three).id for _ in range(30)]

    # When: ten minutes pass, swept every half a minute
    for _ in range(20):
        rows.age(30)
        shop.sagas.sweep()

    # Then
    assert len(queues.queued(shop.sagas)) == len(runs)
    assert {dispatches(rows, run) for run in runs} == {1}


def test_h5_a_message_that_a_later_one_overtook_is_sent_again_at_once(shop: Shop, rows: Bench) -> None:
    # Given: two sagas; the message of the first is lost
    lost = shop.start(scripted.three).id
    rows.age(5)
    shop.sagas.sweep()
    later = shop.start(scripted.three).id
    before = len(queues.queued(shop.sagas))

    # When: the second is claimed
    assert rows.claim(later, sent=rows.store.sweeping.clock()) is not None
    shop.sagas.sweep()

    # Then
    assert len(queues.queued(shop.sagas)) == before + 1
    assert dispatches(rows, lost) == 2


def test_h5_a_young_claim_by_an_old_message_proves_nothing(shop: Shop, rows: Bench) -> None:
    # Given: the messages of two sagas wait side by side
    waits, taken = shop.start(scripted.three).id, shop.start(scripted.three).id
    rows.age(60)
    sent = rows.store.sweeping.clock() - timedelta(seconds=60)

    # When: after a while one of them is claimed
    assert rows.claim(taken, sent=sent) is not None
    shop.sagas.sweep()

    # Then
    assert dispatches(rows, waits) == 1


def test_h5_a_message_whose_consumers_sit_idle_is_sent_again_at_once(shop: Shop, rows: Bench) -> None:
    run = shop.start(scripted.three).id
    rows.age(5)

    rows.beat(uuid4(), queues=(QUEUE,), idle=True)
    shop.sagas.sweep()

    assert dispatches(rows, run) == 2


def test_h5_who_sits_idle_beside_another_queue_proves_nothing(shop: Shop, rows: Bench) -> None:
    run = shop.start(scripted.three).id
    rows.age(5)

    rows.beat(uuid4(), queues=("other",), idle=True)
    shop.sagas.sweep()

    assert dispatches(rows, run) == 1


def test_h5_a_message_that_nobody_can_take_becomes_no_storm(shop: Shop, rows: Bench) -> None:
    """An idle worker is evidence of a loss; from the third time on it must have been idle for longer and longer."""
    shop.start(scripted.three)
    worker = uuid4()
    for _ in range(120):  # ten minutes
        rows.age(5)
        rows.sql("UPDATE {s}.saga_sweep SET swept_at = clock_timestamp()")  # no outage, after which evidence is none
        rows.beat(worker, queues=(QUEUE,), idle=True)
        shop.sagas.sweep()

    assert 5 <= len(queues.queued(shop.sagas)) < 20
