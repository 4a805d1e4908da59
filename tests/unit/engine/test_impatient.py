"""Publishing without keeping anybody waiting: what a broker that hangs or dawdles costs those who send."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from sagas.engine import impatient
from sagas.engine.impatient import ImpatientSender
from sagas.engine.messages import Messages
from sagas.model import Address, Plan, PlanStep

STEP = PlanStep(position=0, name="a", task="tasks.act", compensation=None, timeout=30.0)
PLAN = Plan(saga="s", version=1, steps=(STEP,))
THREADS = 16


class Broker:
    """Takes messages as quickly as it is told to."""

    def __init__(self) -> None:
        self.taken = 0
        self.answers = threading.Event()
        self.answers.set()
        self.dawdles = 0.0
        self.is_away = False

    def impatient_connection(self) -> SimpleNamespace:
        return SimpleNamespace(collect=lambda: None)

    def send(self, *_: Any, **__: Any) -> None:
        if self.is_away:
            raise ConnectionRefusedError
        self.answers.wait()
        time.sleep(self.dawdles)
        self.taken += 1


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = Broker()
    yield made
    made.answers.set()


@pytest.fixture
def send(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[bool, float]]:
    """Sends a message; tells whether it is on its way, and how many seconds that took."""
    sender = ImpatientSender(cast(Messages, broker))
    monkeypatch.setattr(impatient, "PATIENCE", 0.5)
    monkeypatch.setattr(impatient, "BREAKER", 0.0)

    def send() -> tuple[bool, float]:
        began = time.monotonic()
        return sender.send(uuid4(), PLAN, [Address(0)]), time.monotonic() - began

    return send


def at_once(send: Callable[[], tuple[bool, float]]) -> list[tuple[bool, float]]:
    with ThreadPoolExecutor(THREADS) as threads:
        return [call.result() for call in [threads.submit(send) for _ in range(THREADS)]]


def test_many_who_send_at_the_moment_a_broker_hangs_wait_side_by_side_and_not_for_one_another(
    broker: Broker, send: Callable[[], tuple[bool, float]]
) -> None:
    broker.answers.clear()

    calls = at_once(send)

    assert not any(sent for sent, _ in calls)
    assert max(took for _, took in calls) < 4, "sixteen times half a second, one after the other, are eight"


def test_while_a_message_hangs_nobody_waits_behind_it_even_when_it_is_time_to_try_again(
    broker: Broker, send: Callable[[], tuple[bool, float]]
) -> None:
    broker.answers.clear()
    send()

    calls = [send() for _ in range(20)]

    assert not any(sent for sent, _ in calls)
    assert sum(took for _, took in calls) < 4, "each of them waited: ten seconds"


def test_where_the_last_message_was_not_taken_the_next_one_is_tried_but_hardly_waited_for(
    broker: Broker, send: Callable[[], tuple[bool, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(impatient, "PATIENCE", 30.0)
    broker.is_away = True
    assert not send()[0]

    # A transport that reconnects keeps its thread for seconds.
    broker.is_away = False
    broker.answers.clear()
    sent, took = send()

    assert not sent
    assert took < 10


def test_a_broker_that_is_back_is_waited_for_as_before(
    broker: Broker, send: Callable[[], tuple[bool, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(impatient, "PATIENCE", 30.0)
    broker.is_away = True
    assert not send()[0]
    broker.is_away = False
    gives_up_at = time.monotonic() + 30
    while not send()[0]:
        assert time.monotonic() < gives_up_at

    broker.dawdles = 0.5
    assert send()[0]


def test_a_broker_that_wakes_up_gets_the_next_message_and_none_that_was_given_up(
    broker: Broker, send: Callable[[], tuple[bool, float]]
) -> None:
    broker.answers.clear()
    at_once(send)

    broker.answers.set()
    gives_up_at = time.monotonic() + 30
    while not send()[0]:
        assert time.monotonic() < gives_up_at

    assert broker.taken < THREADS, "the one that hung, and this one; the sweep has the others"


def test_a_broker_that_dawdles_keeps_nobody_longer_than_one_that_hangs(
    broker: Broker, send: Callable[[], tuple[bool, float]]
) -> None:
    broker.dawdles = 0.2

    calls = at_once(send)

    assert any(sent for sent, _ in calls)
    assert max(took for _, took in calls) < 2.5, "the last in the queue would have waited more than three seconds"


def test_a_message_is_sent_in_its_callers_context(broker: Broker) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody's")
    seen: list[str] = []
    broker.send = lambda *_, **__: seen.append(tenant.get())  # type: ignore[method-assign]
    sender = ImpatientSender(cast(Messages, broker))

    for name in ("acme", "other"):
        tenant.set(name)
        assert sender.send(uuid4(), PLAN, [Address(0)])

    assert seen == ["acme", "other"]
