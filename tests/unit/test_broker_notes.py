"""What `check` says of the broker: RabbitMQ ends whoever keeps a message for longer than it allows."""

import re

import pytest
from celery import Celery

from sagas import Saga, Sagas, Step
from sagas.cli.checks import notes

NOWHERE = "postgresql://nobody@/nowhere?host=/nonexistent"


app = Celery("slow", set_as_current=False, broker="redis://localhost")
bound = Sagas(app, database=NOWHERE)


@app.task
def weigh() -> None: ...


slow = Saga("weighing", steps=[Step(weigh, compensation=None, timeout=7 * 24 * 3600)])


def noted(broker: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(app.conf, "broker_url", broker)
    return [note for note in notes(bound) if "consumer_timeout" in note]


@pytest.mark.parametrize("broker", ["amqp://localhost", "pyamqp://localhost//", "redis://localhost;amqp://localhost"])
def test_rabbitmq_has_to_wait_for_the_longest_step(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (note,) = noted(broker, monkeypatch)

    assert "'weighing': step 'weigh' may take" in note
    (milliseconds,) = re.findall(r"consumer_timeout = (\d+) \(milliseconds\) in rabbitmq.conf", note)
    assert int(milliseconds) > 7 * 24 * 3600 * 1000


@pytest.mark.parametrize("broker", ["redis://localhost", "memory://", "sqs://"])
def test_other_brokers_wait(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert noted(broker, monkeypatch) == []
